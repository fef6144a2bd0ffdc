//! redb's errors, sorted by what follows from them.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Damage;

/// What stopped an operation on the database.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The disk refused.
    Io(io::Error),
    /// The content is wrong.
    Damage(Damage),
    /// Another process has the file open.
    Locked,
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::Io(error),
            error @ redb::Error::PreviousIo => Self::Io(io::Error::other(error.to_string())),
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::Locked,
            redb::Error::UpgradeRequired(version) => Self::Damage(Damage::Foreign(format!(
                "a redb file of format {version}, which no version of this program wrote"
            ))),
            error => Self::Damage(Damage::Broken(error.to_string())),
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// Runs an operation on the database, and makes a panic in it a fault.
///
/// redb promises an error for most damage, not for all: its own documentation says that an open of an altered
/// file may panic, and debug builds assert on what release builds report. A ledger must not be able to stop the
/// daemon, so the panic ends here. What the operation touched must be dropped afterwards, never used again.
pub(crate) fn guarded<T>(operation: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(operation))
        .unwrap_or_else(|payload| Err(Fault::Damage(Damage::Broken(words(payload.as_ref())))))
}

fn words(payload: &(dyn Any + Send)) -> String {
    let words = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    format!("the database panicked: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_fault() {
        let fault = guarded::<()>(|| panic!("page {} is odd", 7)).unwrap_err();
        assert!(matches!(fault, Fault::Damage(Damage::Broken(words)) if words.contains("page 7 is odd")));
    }
}
