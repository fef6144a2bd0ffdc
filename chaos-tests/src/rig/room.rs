//! Namespaces for the calling thread: a network of its own, and a file system in memory that nobody else sees.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Covered by a file system of ours: it exists everywhere, and nothing below it is needed.
const PLACE: &str = "/run";

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Moves the thread, and with it all that it starts, into namespaces of its own; gives a folder for its files. A
/// second call on the same thread changes nothing.
pub(super) fn enter() -> anyhow::Result<PathBuf> {
    let place = PathBuf::from(PLACE);
    if INSIDE.get() {
        return Ok(place);
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("making namespaces (this needs root, if only of a user namespace)")?;
    let none: Option<&Path> = None;
    // Otherwise the mounts to come would show up outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=512m"))
        .with_context(|| format!("mounting a file system in memory on {PLACE}"))?;
    INSIDE.set(true);
    Ok(place)
}
