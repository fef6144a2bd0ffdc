//! `holdfast dump`.

use std::path::Path;

use holdfast_model::config::Config;

use crate::admin;
use crate::state::{Settings, dumped, of_file};

/// From the running daemon; from a copy of the file when none runs.
pub(crate) fn dump(config: &Config, settings: &Settings, ledger: &Path) -> anyhow::Result<()> {
    let state = match admin::ask(config, "dump") {
        Ok(state) => state,
        Err(unreachable) => {
            crate::complain(&format!("{unreachable:#}; reading a copy of {}", ledger.display()));
            dumped("file", settings, of_file(ledger)?)?
        }
    };
    crate::print_json(&state)
}
