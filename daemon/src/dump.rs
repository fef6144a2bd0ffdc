//! `holdfast dump`: the whole state as JSON, for a support ticket. No secret is in it: the daemon's state holds none.

use std::path::Path;

use anyhow::Context;
use holdfast_model::config::Config;
use holdfast_model::invariants;
use holdfast_model::limits::InstanceLimits;
use holdfast_store::Store;
use serde_json::json;

use crate::admin;

/// Journal entries shown.
const JOURNAL: usize = 4096;

/// From the running daemon; from a copy of the file when none runs.
pub(crate) fn dump(config: &Config, ledger: &Path) -> anyhow::Result<()> {
    match admin::ask(config, "dump") {
        Ok(state) => {
            println!("{state}");
            Ok(())
        }
        Err(unreachable) => {
            eprintln!("holdfast: {unreachable:#}; reading a copy of {}", ledger.display());
            let seen = Store::inspect(ledger, JOURNAL)
                .with_context(|| format!("reading a copy of {}", ledger.display()))?;
            let limits =
                seen.ledger.node.as_ref().and_then(|node| InstanceLimits::of(&node.identity.instance_type));
            let state = json!({
                "violations": invariants::check(&seen.ledger, limits.as_ref()),
                "ledger": seen.ledger,
                "journal": seen.journal,
                "schema": seen.schema,
                "closed_in_order": seen.closed,
            });
            println!("{}", serde_json::to_string_pretty(&state)?);
            Ok(())
        }
    }
}
