//! How long addresses rest, by what the runtime itself asked for and was told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;

/// The addresses of a node that pods had.
#[derive(Debug)]
pub(crate) struct Rests {
    rest: Duration,
    /// When the DEL of the last pod of each was asked for: its rest began then at the earliest.
    freed: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl Rests {
    /// Each must rest so long.
    pub(crate) fn of(rest: Duration) -> Self {
        Self { rest, freed: Mutex::default() }
    }

    /// A DEL is asked for, of a pod with this address.
    pub(crate) fn begins(&self, address: IpAddr) {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        freed.insert(address, Instant::now());
    }

    /// An ADD was answered with this address.
    pub(crate) fn ends(&self, address: IpAddr) -> anyhow::Result<()> {
        let freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        let Some(rested) = freed.map(|freed| freed.elapsed()) else { return Ok(()) };
        ensure!(
            rested >= self.rest,
            "{address} was given again {} ms after the DEL of the pod that had it, where it rests for {} ms",
            rested.as_millis(),
            self.rest.as_millis()
        );
        Ok(())
    }
}
