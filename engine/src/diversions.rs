//! When the kernel was asked where it sends pods' packets, and whose went elsewhere.

use std::collections::BTreeMap;

use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::BootTime;

/// What was asked.
#[derive(Default)]
pub(crate) struct Diversions {
    pub(crate) asking: bool,
    /// Not before.
    pub(crate) next: Option<BootTime>,
    /// Whose packets went elsewhere, and when last.
    pub(crate) suspected: BTreeMap<SandboxKey, BootTime>,
}
