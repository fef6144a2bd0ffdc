//! The whole state as JSON, for a support ticket. No secret is in it: the daemon's state holds none,
//! and of the environment only the settings that [`crate::env`] reads are shown.

use std::path::Path;

use anyhow::{Context, bail};
use holdfast_engine::Dump;
use holdfast_model::config::Config;
use holdfast_model::invariants;
use holdfast_model::limits::InstanceLimits;
use holdfast_store::Store;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Each variable that is read, with its value and where that comes from.
pub(crate) type Settings = Map<String, Value>;

/// Journal entries shown.
const JOURNAL: usize = 4096;

/// What every dump begins with.
#[derive(Serialize)]
struct Dumped<'a, S> {
    version: &'static str,
    source: &'static str,
    settings: &'a Settings,
    #[serde(flatten)]
    state: S,
}

/// A dump of this source.
pub(crate) fn dumped(
    source: &'static str,
    settings: &Settings,
    state: impl Serialize,
) -> anyhow::Result<Value> {
    let whole = Dumped { version: env!("CARGO_PKG_VERSION"), source, settings, state };
    serde_json::to_value(whole).context("putting the state into JSON")
}

/// Of a running engine.
pub(crate) fn live(settings: &Settings, state: &Dump) -> anyhow::Result<Value> {
    dumped("daemon", settings, state)
}

/// Of a daemon whose ledger is not open: what there is of it, and why it is not open.
pub(crate) fn without_engine(config: &Config, settings: &Settings, cause: &str) -> anyhow::Result<Value> {
    let state = match of_file(&config.ledger.value) {
        Ok(mut state) => {
            state["refusing"] = cause.into();
            state
        }
        Err(error) => json!({ "refusing": cause, "ledger_unreadable": format!("{error:#}") }),
    };
    dumped("daemon without ledger", settings, state)
}

/// What a copy of the ledger's file says.
pub(crate) fn of_file(ledger: &Path) -> anyhow::Result<Value> {
    if !ledger.exists() {
        bail!(
            "there is no ledger at {}: no daemon has run with it yet, or HOLDFAST_LEDGER is not what it was started with",
            ledger.display()
        );
    }
    let seen =
        Store::inspect(ledger, JOURNAL).with_context(|| format!("reading a copy of {}", ledger.display()))?;
    let limits = seen.ledger.node.as_ref().and_then(|node| InstanceLimits::of(&node.identity.instance_type));
    Ok(json!({
        "violations": invariants::check(&seen.ledger, limits.as_ref()),
        "ledger": seen.ledger,
        "journal": seen.journal,
        "schema": seen.schema,
        "closed_in_order": seen.closed,
    }))
}
