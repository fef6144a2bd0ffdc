//! `holdfast dump`.

use std::path::Path;

use anyhow::bail;
use holdfast_model::config::Config;

use crate::admin;
use crate::state::{Form, Settings, offline};

/// From the running daemon; from a copy of the file when none runs. One that runs and does not answer may wait for the very disk
/// that the file is on.
pub(crate) fn dump(config: &Config, settings: &Settings, ledger: &Path, form: Form) -> anyhow::Result<()> {
    let word = match form {
        Form::Told => admin::DUMP,
        Form::Raw => admin::DUMP_RAW,
    };
    let state = match admin::ask(config, word)? {
        Ok(state) if state.get("unknown").is_some() => {
            bail!("the daemon that runs is an older one and does not know that question");
        }
        Ok(state) => state,
        Err(nobody) => {
            crate::complain(&format!("{nobody}; reading a copy of {}", ledger.display()));
            serde_json::from_str(&offline(ledger, settings, form)?)?
        }
    };
    crate::print_json(&state)
}
