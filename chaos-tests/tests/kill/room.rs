//! Namespaces for a thread of the test.

use std::path::Path;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves the calling thread, and with it all that it starts, into mount and network namespaces of its own: what it
/// mounts is seen by nobody else and gone with it. Needs root, if only of a user namespace.
pub(crate) fn enter_own_namespaces() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("making namespaces (this needs root, if only of a user namespace)")?;
    let none: Option<&Path> = None;
    // Otherwise the sandboxes' mounts would show up outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")
}
