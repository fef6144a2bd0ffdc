//! `holdfast dump`.

use std::path::Path;

use anyhow::Context;
use holdfast_model::config::Config;

use crate::admin;
use crate::state::{Form, Settings, offline};

/// From the running daemon; from a copy of the file when none runs.
pub(crate) fn dump(config: &Config, settings: &Settings, ledger: &Path, form: Form) -> anyhow::Result<()> {
    let word = match form {
        Form::Told => admin::DUMP,
        Form::Raw => admin::DUMP_RAW,
    };
    let asked = admin::ask(config, word).and_then(|state| {
        let knows = state.get("unknown").is_none();
        knows.then_some(state).context("the daemon that runs is an older one and does not know that question")
    });
    let state = match asked {
        Ok(state) => state,
        Err(unreachable) => {
            crate::complain(&format!("{unreachable:#}; reading a copy of {}", ledger.display()));
            serde_json::from_str(&offline(ledger, settings, form)?)?
        }
    };
    crate::print_json(&state)
}
