//! The ledger in memory: what EC2 gave, what we do with it, what we meant to do.
//!
//! It changes only by [`Change`]s. The store applies the same changes to its tables in one transaction, so the
//! two never differ in shape, only in time: memory runs ahead of the disk, and effects and answers wait for
//! the disk.

mod standing;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::block::{self, Block, BlockState};
use crate::eni::{EniRecord, Management};
use crate::ids::{EniId, IntentId, SubnetId};
use crate::intent::Intent;
use crate::journal::JournalEntry;
use crate::lease::Lease;
use crate::limits::{InstanceLimits, ToldLimits};
use crate::node::NodeRecord;
use crate::sandbox::SandboxKey;
use crate::settings::ClusterSettings;
use crate::subnet::SubnetRecord;
use crate::time::Now;
use crate::uses::Use;

pub use standing::Standing;
pub use table::Table;

/// All that the daemon remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Pages")]
pub struct Ledger {
    /// Whose ledger this is; `None` until the node's identity was learnt.
    pub node: Option<NodeRecord>,
    /// What the cluster said last of the settings.
    pub settings: ClusterSettings,
    /// What EC2 said that this instance's type can carry, if it had to be asked.
    pub type_limits: Option<ToldLimits>,
    /// Subnets by id.
    pub subnets: Table<SubnetId, SubnetRecord>,
    /// ENIs by id.
    pub enis: Table<EniId, EniRecord>,
    /// What EC2 gave, ENIs' own addresses excepted.
    pub blocks: Table<IpNet, Block>,
    /// What addresses are used for.
    pub uses: Table<IpAddr, Use>,
    /// Leases by sandbox.
    #[serde(serialize_with = "table::values")]
    pub leases: Table<SandboxKey, Lease>,
    /// Open intents.
    pub intents: Table<IntentId, Intent>,
    /// The blocks on each ENI.
    #[serde(skip)]
    on_eni: BTreeMap<EniId, BTreeSet<IpNet>>,
    /// Whose host link bears a name.
    #[serde(skip)]
    veths: BTreeMap<String, BTreeSet<SandboxKey>>,
}

/// One step of the ledger. Steps that belong together are committed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Write the node's page.
    PutNode(NodeRecord),
    /// Write what the cluster says of the settings.
    PutSettings(ClusterSettings),
    /// Write what EC2 said of the instance's type.
    PutTypeLimits(ToldLimits),
    /// Write a subnet.
    PutSubnet(SubnetRecord),
    /// Forget a subnet.
    DropSubnet(SubnetId),
    /// Write an ENI.
    PutEni(EniRecord),
    /// Forget an ENI.
    DropEni(EniId),
    /// Write a block.
    PutBlock(Block),
    /// Forget a block.
    DropBlock(IpNet),
    /// Write what an address is used for.
    PutUse(IpAddr, Use),
    /// The address is used for nothing any more.
    DropUse(IpAddr),
    /// Write a lease.
    PutLease(Lease),
    /// Forget a lease.
    DropLease(SandboxKey),
    /// Open an intent, or write what became of it.
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
            Change::PutSettings(settings) => self.settings = settings.clone(),
            Change::PutTypeLimits(told) => self.type_limits = Some(told.clone()),
            Change::PutSubnet(subnet) => self.subnets.put(subnet.id.clone(), subnet.clone()),
            Change::DropSubnet(id) => drop(self.subnets.take(id)),
            Change::PutEni(eni) => self.enis.put(eni.id.clone(), eni.clone()),
            Change::DropEni(id) => drop(self.enis.take(id)),
            Change::PutBlock(block) => {
                self.unlist(&block.net);
                self.on_eni.entry(block.eni.clone()).or_default().insert(block.net);
                self.blocks.put(block.net, block.clone());
            }
            Change::DropBlock(net) => {
                self.unlist(net);
                self.blocks.take(net);
            }
            Change::PutUse(ip, what) => self.uses.put(*ip, what.clone()),
            Change::DropUse(ip) => drop(self.uses.take(ip)),
            Change::PutLease(lease) => {
                self.forget_names(&lease.sandbox);
                for face in &lease.faces {
                    self.veths.entry(face.host_veth.clone()).or_default().insert(lease.sandbox.clone());
                }
                self.leases.put(lease.sandbox.clone(), lease.clone());
            }
            Change::DropLease(key) => {
                self.forget_names(key);
                self.leases.take(key);
            }
            Change::PutIntent(intent) => self.intents.put(intent.id, intent.clone()),
            Change::DropIntent(id) => drop(self.intents.take(id)),
            Change::Journal(_) => {}
        }
    }

    /// Takes all steps, in order.
    pub fn apply_all<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        for change in changes {
            self.apply(change);
        }
    }

    /// What the node's type can carry: known by heart, or as EC2 said. `None` while nobody told, or the node is not known.
    pub fn limits(&self) -> Option<InstanceLimits> {
        let name = &self.node.as_ref()?.identity.instance_type;
        let told = || self.type_limits.as_ref().filter(|told| told.instance_type == *name);
        InstanceLimits::of(name).or_else(|| told().map(|told| told.limits.clone()))
    }

    /// The blocks on one ENI, in order.
    pub fn blocks_on(&self, eni: &EniId) -> impl Iterator<Item = &Block> {
        self.on_eni.get(eni).into_iter().flatten().filter_map(|net| self.blocks.get(net))
    }

    /// The block that an address is in.
    pub fn block_of(&self, ip: IpAddr) -> Option<&Block> {
        block::candidates(ip).iter().find_map(|net| self.blocks.get(net))
    }

    /// The blocks that share an address with a network. Of blocks that EC2 has for us there is one at most that contains
    /// it, or else those that it contains.
    pub fn blocks_over(&self, net: IpNet) -> impl Iterator<Item = &Block> {
        let wider = block::candidates(net.addr())
            .into_iter()
            .filter(move |other| other.prefix_len() < net.prefix_len() && other.contains(&net));
        let most = net.max_prefix_len();
        let first = IpNet::new_assert(net.network(), net.prefix_len());
        let last = IpNet::new_assert(net.broadcast(), most);
        let within = self.blocks.range(first..=last).map(|(_, block)| block);
        wider.filter_map(|net| self.blocks.get(&net)).chain(within)
    }

    /// What the addresses of a network are used for.
    pub fn uses_in(&self, net: IpNet) -> impl Iterator<Item = (IpAddr, &Use)> {
        self.uses.range(net.network()..=net.broadcast()).map(|(ip, what)| (*ip, what))
    }

    /// Whether nothing in the block is used at this instant, so that it may be given back.
    pub fn is_idle(&self, block: &Block, now: &Now) -> bool {
        block.state == BlockState::Held && self.uses_in(block.net).all(|(_, what)| what.is_over(now))
    }

    /// Whether an address of the block is, or may be, a sandbox's.
    pub fn is_somebodys(&self, block: &Block) -> bool {
        self.uses_in(block.net).any(|(_, what)| matches!(what, Use::Leased(_) | Use::Suspect(_)))
    }

    /// The open intents that name this ENI.
    pub fn intents_on<'a>(&'a self, eni: &'a EniId) -> impl Iterator<Item = &'a Intent> {
        self.intents.values().filter(move |intent| intent.change.eni() == Some(eni))
    }

    /// The lease that holds an address.
    pub fn lease_of(&self, ip: IpAddr) -> Option<&Lease> {
        match self.uses.get(&ip)? {
            Use::Leased(sandbox) => self.leases.get(sandbox),
            Use::Cooling(_) | Use::Suspect(_) => None,
        }
    }

    /// The lease whose host link bears this name; there should be no two.
    pub fn lease_by_veth(&self, name: &str) -> Option<&Lease> {
        self.leases.get(self.veths.get(name)?.first()?)
    }

    /// The leases with an address on this ENI.
    pub fn leases_on<'a>(&'a self, eni: &'a EniId) -> impl Iterator<Item = &'a Lease> {
        self.leases.values().filter(move |lease| lease.is_on(eni))
    }

    /// Whether EC2 has shown that an ENI is not attached here any more, and it is kept because pods still live on it.
    pub fn is_known_gone(&self, eni: &EniRecord) -> bool {
        eni.management == Management::Excluded
            && !eni.is_primary()
            && self.blocks_on(&eni.id).all(|block| block.state != BlockState::Held)
    }

    fn forget_names(&mut self, key: &SandboxKey) {
        let faces = self.leases.get(key).into_iter().flat_map(|lease| &lease.faces);
        for name in faces.map(|face| &face.host_veth) {
            if let Some(bearers) = self.veths.get_mut(name) {
                bearers.remove(key);
                if bearers.is_empty() {
                    self.veths.remove(name);
                }
            }
        }
    }

    fn unlist(&mut self, net: &IpNet) {
        if let Some(block) = self.blocks.get(net)
            && let Some(nets) = self.on_eni.get_mut(&block.eni)
        {
            nets.remove(net);
            if nets.is_empty() {
                self.on_eni.remove(&block.eni);
            }
        }
    }
}

/// The ledger as it is written for people.
#[derive(Deserialize)]
struct Pages {
    node: Option<NodeRecord>,
    #[serde(default)]
    settings: ClusterSettings,
    #[serde(default)]
    type_limits: Option<ToldLimits>,
    subnets: BTreeMap<SubnetId, SubnetRecord>,
    enis: BTreeMap<EniId, EniRecord>,
    blocks: BTreeMap<IpNet, Block>,
    uses: BTreeMap<IpAddr, Use>,
    leases: Vec<Lease>,
    intents: BTreeMap<IntentId, Intent>,
}

impl From<Pages> for Ledger {
    fn from(pages: Pages) -> Self {
        let mut ledger = Self { settings: pages.settings, type_limits: pages.type_limits, ..Self::default() };
        pages.node.into_iter().map(Change::PutNode).for_each(|change| ledger.apply(&change));
        let records = (pages.subnets.into_values().map(Change::PutSubnet))
            .chain(pages.enis.into_values().map(Change::PutEni))
            .chain(pages.blocks.into_values().map(Change::PutBlock))
            .chain(pages.uses.into_iter().map(|(ip, what)| Change::PutUse(ip, what)))
            .chain(pages.leases.into_iter().map(Change::PutLease))
            .chain(pages.intents.into_values().map(Change::PutIntent));
        records.for_each(|change| ledger.apply(&change));
        ledger
    }
}

#[cfg(test)]
mod tests;
