//! The ledger in memory: what we own, what we meant to do, what was done.
//!
//! It changes only by [`Change`]s. The store applies the same changes to its tables in one transaction, so the
//! two never differ in shape, only in time: memory runs ahead of the disk, and effects and answers wait for
//! the disk.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::AddressRecord;
use crate::eni::EniRecord;
use crate::ids::{EniId, IntentId};
use crate::intent::Intent;
use crate::journal::JournalEntry;
use crate::lease::Lease;
use crate::node::NodeRecord;
use crate::sandbox::SandboxKey;

/// All that the daemon remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Whose ledger this is; `None` until the node's identity was learnt.
    pub node: Option<NodeRecord>,
    /// ENIs by id.
    pub enis: BTreeMap<EniId, EniRecord>,
    /// Addresses, ENIs' primary addresses excepted.
    pub addresses: BTreeMap<IpAddr, AddressRecord>,
    /// Leases by sandbox.
    #[serde(with = "by_value")]
    pub leases: BTreeMap<SandboxKey, Lease>,
    /// Open intents.
    pub intents: BTreeMap<IntentId, Intent>,
}

/// One step of the ledger. Steps that belong together are committed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Write the node's page.
    PutNode(NodeRecord),
    /// Write an ENI.
    PutEni(EniRecord),
    /// Forget an ENI.
    DropEni(EniId),
    /// Write an address.
    PutAddress(AddressRecord),
    /// Forget an address.
    DropAddress(IpAddr),
    /// Write a lease.
    PutLease(Lease),
    /// Forget a lease.
    DropLease(SandboxKey),
    /// Open an intent.
    PutIntent(Intent),
    /// Close an intent.
    DropIntent(IntentId),
    /// Note what happened. Kept by the store only.
    Journal(JournalEntry),
}

impl Ledger {
    /// Takes one step.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutNode(node) => self.node = Some(node.clone()),
            Change::PutEni(eni) => {
                self.enis.insert(eni.id.clone(), eni.clone());
            }
            Change::DropEni(id) => {
                self.enis.remove(id);
            }
            Change::PutAddress(address) => {
                self.addresses.insert(address.ip, address.clone());
            }
            Change::DropAddress(ip) => {
                self.addresses.remove(ip);
            }
            Change::PutLease(lease) => {
                self.leases.insert(lease.sandbox.clone(), lease.clone());
            }
            Change::DropLease(key) => {
                self.leases.remove(key);
            }
            Change::PutIntent(intent) => {
                self.intents.insert(intent.id, intent.clone());
            }
            Change::DropIntent(id) => {
                self.intents.remove(id);
            }
            Change::Journal(_) => {}
        }
    }

    /// Takes all steps, in order.
    pub fn apply_all<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            self.apply(change);
        }
    }

    /// The addresses on one ENI, in order.
    pub fn addresses_on<'a>(&'a self, eni: &'a EniId) -> impl Iterator<Item = &'a AddressRecord> {
        self.addresses.values().filter(move |address| &address.eni == eni)
    }

    /// The open intents that name this ENI.
    pub fn intents_on<'a>(&'a self, eni: &'a EniId) -> impl Iterator<Item = &'a Intent> {
        self.intents.values().filter(move |intent| intent.change.eni() == Some(eni))
    }

    /// The lease that holds an address.
    pub fn lease_of(&self, address: IpAddr) -> Option<&Lease> {
        self.leases.values().find(|lease| lease.address == address)
    }
}

/// JSON wants text as keys, so leases are written as a list.
mod by_value {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::lease::Lease;
    use crate::sandbox::SandboxKey;

    pub(super) fn serialize<S: Serializer>(
        leases: &BTreeMap<SandboxKey, Lease>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(leases.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<SandboxKey, Lease>, D::Error> {
        let leases = Vec::<Lease>::deserialize(deserializer)?;
        Ok(leases.into_iter().map(|lease| (lease.sandbox.clone(), lease)).collect())
    }
}
