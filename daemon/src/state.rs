//! The whole state as JSON, for a support ticket. No secret is in it: the daemon's state holds none,
//! and of the environment only the settings that [`crate::settings`] reads are shown.

use std::path::Path;

use anyhow::{Context, bail};
use holdfast_engine::Dump;
use holdfast_model::config::Config;
use holdfast_model::invariants;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::Now;
use holdfast_ports::Clock;
use holdfast_store::{Inspected, Store};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::clock::KernelClock;
use crate::told::{Lines, Told};

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

/// All that is said, written as it is read: of a full node that is megabytes.
fn dumped(
    source: &'static str,
    settings: &Settings,
    now: &Now,
    state: impl Serialize,
) -> anyhow::Result<String> {
    let at = now.wall.to_string();
    let whole = Dumped { version: env!("CARGO_PKG_VERSION"), source, at, settings, state };
    serde_json::to_string(&whole).context("putting the state into JSON")
}

/// Of a running engine.
pub(crate) fn live(settings: &Settings, state: &Dump, form: Form) -> anyhow::Result<String> {
    let now = KernelClock::new()?.now();
    let kept = Kept { ledger: &state.ledger, journal: &state.journal, form, now: &now };
    dumped("daemon", settings, &now, State { said: state, kept })
}

/// Of a daemon whose ledger is not open: what there is of it, and why it is not open. Reads its file, on whose disk it may
/// hang.
pub(crate) fn without_engine(
    config: &Config,
    settings: &Settings,
    cause: &str,
    form: Form,
) -> anyhow::Result<String> {
    let now = KernelClock::new()?.now();
    let source = "daemon without ledger";
    match read(&config.ledger.value) {
        Ok(seen) => {
            let mut said = said_of(&seen);
            said["refusing"] = cause.into();
            dumped(source, settings, &now, State { said, kept: Kept::of(&seen, form, &now) })
        }
        Err(error) => unread(settings, cause, &format!("{error:#}")),
    }
}

/// Of a daemon whose ledger is not open, and cannot be read either.
pub(crate) fn unread(settings: &Settings, cause: &str, why: &str) -> anyhow::Result<String> {
    let now = KernelClock::new()?.now();
    let said = json!({ "refusing": cause, "ledger_unreadable": why });
    dumped("daemon without ledger", settings, &now, said)
}

/// When no daemon runs: of a copy of the ledger's file.
pub(crate) fn offline(ledger: &Path, settings: &Settings, form: Form) -> anyhow::Result<String> {
    let now = KernelClock::new()?.now();
    let seen = read(ledger)?;
    dumped("file", settings, &now, State { said: said_of(&seen), kept: Kept::of(&seen, form, &now) })
}

/// A copy of the ledger's file.
fn read(ledger: &Path) -> anyhow::Result<Inspected> {
    if !ledger.exists() {
        bail!(
            "there is no ledger at {}: no daemon has run with it yet, or HOLDFAST_LEDGER is not what it was started with",
            ledger.display()
        );
    }
    Store::inspect(ledger, JOURNAL).with_context(|| format!("reading a copy of {}", ledger.display()))
}

fn said_of(seen: &Inspected) -> Value {
    let limits = seen.ledger.limits();
    json!({
        "violations": invariants::check(&seen.ledger, limits.as_ref()),
        "schema": seen.schema,
        "closed_in_order": seen.closed,
    })
}

#[derive(Serialize)]
struct State<'a, S> {
    #[serde(flatten)]
    said: S,
    #[serde(flatten)]
    kept: Kept<'a>,
}

/// The ledger and what happened to it.
struct Kept<'a> {
    ledger: &'a Ledger,
    journal: &'a [JournalEntry],
    form: Form,
    now: &'a Now,
}

impl<'a> Kept<'a> {
    fn of(seen: &'a Inspected, form: Form, now: &'a Now) -> Self {
        Self { ledger: &seen.ledger, journal: &seen.journal, form, now }
    }
}

impl Serialize for Kept<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { ledger, journal, form, now } = *self;
        let mut kept = serializer.serialize_struct("Kept", 2)?;
        match form {
            Form::Raw => {
                kept.serialize_field("ledger", ledger)?;
                kept.serialize_field("journal", journal)?;
            }
            Form::Told => {
                let told = |entry: &JournalEntry| json!({ "at": entry.at.to_string(), "what": entry.what });
                kept.serialize_field("ledger", &Told { ledger, now })?;
                kept.serialize_field("journal", &Lines(|| journal.iter().map(told)))?;
            }
        }
        kept.end()
    }
}
