//! The whole state as JSON, for a support ticket. No secret is in it: the daemon's state holds none,
//! and of the environment only the settings that [`crate::env`] reads are shown.

use std::path::Path;

use anyhow::{Context, bail};
use holdfast_engine::Dump;
use holdfast_model::config::Config;
use holdfast_model::invariants;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Ledger;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::time::Now;
use holdfast_ports::Clock;
use holdfast_store::Store;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::KernelClock;
use crate::told;

/// Each variable that is read, with its value and where that comes from.
pub(crate) type Settings = Map<String, Value>;

/// Journal entries shown.
const JOURNAL: usize = 4096;

/// How a state is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: all instants by the wall clock.
    Told,
    /// The ledger as it is kept, whose instants count from the boot.
    Raw,
}

/// What every dump begins with.
#[derive(Serialize)]
struct Dumped<'a, S> {
    version: &'static str,
    source: &'static str,
    at: String,
    settings: &'a Settings,
    #[serde(flatten)]
    state: S,
}

fn dumped(
    source: &'static str,
    settings: &Settings,
    now: &Now,
    state: impl Serialize,
) -> anyhow::Result<Value> {
    let at = now.wall.to_string();
    let whole = Dumped { version: env!("CARGO_PKG_VERSION"), source, at, settings, state };
    serde_json::to_value(whole).context("putting the state into JSON")
}

/// Of a running engine.
pub(crate) fn live(settings: &Settings, state: &Dump, form: Form) -> anyhow::Result<Value> {
    let now = KernelClock::new()?.now();
    let mut whole = dumped("daemon", settings, &now, state)?;
    put_ledger(&mut whole, &state.ledger, &state.journal, form, &now)?;
    Ok(whole)
}

/// Of a daemon whose ledger is not open: what there is of it, and why it is not open.
pub(crate) fn without_engine(
    config: &Config,
    settings: &Settings,
    cause: &str,
    form: Form,
) -> anyhow::Result<Value> {
    let now = KernelClock::new()?.now();
    let state = match of_file(&config.ledger.value, form, &now) {
        Ok(mut state) => {
            state["refusing"] = cause.into();
            state
        }
        Err(error) => json!({ "refusing": cause, "ledger_unreadable": format!("{error:#}") }),
    };
    dumped("daemon without ledger", settings, &now, state)
}

/// When no daemon runs: of a copy of the ledger's file.
pub(crate) fn offline(ledger: &Path, settings: &Settings, form: Form) -> anyhow::Result<Value> {
    let now = KernelClock::new()?.now();
    dumped("file", settings, &now, of_file(ledger, form, &now)?)
}

/// What a copy of the ledger's file says.
fn of_file(ledger: &Path, form: Form, now: &Now) -> anyhow::Result<Value> {
    if !ledger.exists() {
        bail!(
            "there is no ledger at {}: no daemon has run with it yet, or HOLDFAST_LEDGER is not what it was started with",
            ledger.display()
        );
    }
    let seen =
        Store::inspect(ledger, JOURNAL).with_context(|| format!("reading a copy of {}", ledger.display()))?;
    let limits = seen.ledger.node.as_ref().and_then(|node| InstanceLimits::of(&node.identity.instance_type));
    let mut state = json!({
        "violations": invariants::check(&seen.ledger, limits.as_ref()),
        "schema": seen.schema,
        "closed_in_order": seen.closed,
    });
    put_ledger(&mut state, &seen.ledger, &seen.journal, form, now)?;
    Ok(state)
}

fn put_ledger(
    state: &mut Value,
    ledger: &Ledger,
    journal: &[JournalEntry],
    form: Form,
    now: &Now,
) -> anyhow::Result<()> {
    let (ledger, journal) = match form {
        Form::Raw => (serde_json::to_value(ledger), json!(journal)),
        Form::Told => {
            let told = |entry: &JournalEntry| json!({ "at": entry.at.to_string(), "what": entry.what });
            (serde_json::to_value(told::tell(ledger, now)), journal.iter().map(told).collect())
        }
    };
    state["ledger"] = ledger.context("putting the ledger into JSON")?;
    state["journal"] = journal;
    Ok(())
}
