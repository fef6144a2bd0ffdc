//! `holdfast dump`.

use std::path::Path;

use holdfast_model::config::Config;

use crate::admin;
use crate::state::{Form, Settings, offline};

/// From the running daemon; from a copy of the file when none runs.
pub(crate) fn dump(config: &Config, settings: &Settings, ledger: &Path, form: Form) -> anyhow::Result<()> {
    let word = match form {
        Form::Told => admin::DUMP,
        Form::Raw => admin::DUMP_RAW,
    };
    let state = match admin::ask(config, word) {
        Ok(state) => state,
        Err(unreachable) => {
            crate::complain(&format!("{unreachable:#}; reading a copy of {}", ledger.display()));
            offline(ledger, settings, form)?
        }
    };
    crate::print_json(&state)
}
