//! Links of nodes that will be called otherwise in a moment.

use std::time::{Duration, Instant};

use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings};

use super::{FabricError, Namespace};

/// A link and its last name.
#[derive(Debug, Clone)]
pub(super) struct Rename {
    pub(super) namespace: Namespace,
    pub(super) index: u32,
    pub(super) name: String,
}

/// Those whose time has not come.
#[derive(Debug, Default)]
pub(super) struct Renames(Vec<(Instant, Rename)>);

impl Renames {
    /// Renames a link later, or at once if that is now.
    pub(super) fn add(&mut self, rename: Rename, after: Duration) -> Result<(), FabricError> {
        if after.is_zero() {
            return rename.carry_out();
        }
        self.0.push((Instant::now() + after, rename));
        Ok(())
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(due, _)| *due).min()
    }

    /// Renames those that are due. All are tried; the failures are returned.
    pub(super) fn carry_out(&mut self, now: Instant) -> Vec<FabricError> {
        let (due, later): (Vec<_>, Vec<_>) = self.0.drain(..).partition(|(due, _)| *due <= now);
        self.0 = later;
        due.iter().filter_map(|(_, rename)| rename.carry_out().err()).collect()
    }
}

impl Rename {
    fn carry_out(&self) -> Result<(), FabricError> {
        let settings = LinkSettings { name: Some(self.name.clone()), ..LinkSettings::default() };
        match self.namespace.socket()?.apply(&Change::SetLink(LinkRef::Index(self.index), settings)) {
            // Gone meanwhile: none to rename.
            Err(error) if !error.is_absent() => Err(self.namespace.refused(error)),
            _ => Ok(()),
        }
    }
}
