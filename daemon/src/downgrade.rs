//! `holdfast downgrade`: the ledger of a stopped daemon, for the version before.

use std::path::Path;

use anyhow::Context as _;
use holdfast_store::Store;

/// Brings the ledger back to an older schema, and says what was done.
pub(crate) fn downgrade(ledger: &Path, to: u8) -> anyhow::Result<()> {
    let copy = Store::bring_back(ledger, to, crate::clock::wall()).context("the ledger stays as it is")?;
    crate::print(&match copy {
        Some(copy) => format!(
            "{} is of schema {to} now, with all its leases; as it was, it is kept as {}",
            ledger.display(),
            copy.display()
        ),
        None => format!("{} is of schema {to} already", ledger.display()),
    })
}
