//! The invariants that the ledger alone can show (design, section 2). The same checker runs in the planner's
//! property tests, in the simulator after each event, in the crash tests after each restart, and on a live
//! node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::block::{Block, BlockState};
use crate::cloud::CloudChange;
use crate::eni::EniPhase;
use crate::ids::EniId;
use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::limits::InstanceLimits;
use crate::pool::Family;
use crate::uses::Use;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    /// The invariant's id in the design.
    pub invariant: &'static str,
    /// What breaks it, with the objects named.
    pub detail: String,
}

/// Checks a ledger. `limits` binds the sums where the instance's type is known.
pub fn check(ledger: &Ledger, limits: Option<&InstanceLimits>) -> Vec<Violation> {
    let mut check = Check { ledger, found: Vec::new() };
    check.leases();
    check.uses();
    check.blocks();
    check.intents();
    check.slots();
    if let Some(limits) = limits {
        check.room(limits);
    }
    check.found
}

struct Check<'a> {
    ledger: &'a Ledger,
    found: Vec<Violation>,
}

impl Check<'_> {
    fn broken(&mut self, invariant: &'static str, detail: String) {
        self.found.push(Violation { invariant, detail });
    }

    /// Each address of a lease is used by it, and by no other lease: a use names one holder.
    fn leases(&mut self) {
        let ledger = self.ledger;
        let mut holders: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (key, lease) in &ledger.leases {
            if key != &lease.sandbox {
                self.broken("SANDBOX-IDENTITY", format!("lease of {} is filed under {key}", lease.sandbox));
            }
            if lease.faces.is_empty() {
                self.broken("POOL-ACCOUNT", format!("the lease of {key} has no address"));
            }
            for face in &lease.faces {
                let ip = face.address;
                *holders.entry(ip).or_default() += 1;
                if ledger.uses.get(&ip) != Some(&Use::Leased(key.clone())) {
                    self.broken("SAFE-INUSE", format!("{ip} leased to {key} is {:?}", ledger.standing(ip)));
                }
                self.proven(lease, ip, &face.eni);
                let place = ledger.enis.get(&face.eni).map(|eni| &eni.place);
                if place.is_some_and(|place| *place != face.place) {
                    let (eni, there) = (&face.eni, &face.place);
                    self.broken(
                        "ADD-MEANS-REACHABLE",
                        format!("{ip} of {key} is wired for {eni} at {there:?}, not {place:?}"),
                    );
                }
            }
        }
        for (address, count) in holders.iter().filter(|(_, count)| **count > 1) {
            self.broken("UNIQUE", format!("{address} has {count} leases"));
        }
    }

    /// An address under a lease is one that EC2 showed on that ENI, and that nothing of ours takes away.
    fn proven(&mut self, lease: &Lease, ip: IpAddr, on: &EniId) {
        let key = &lease.sandbox;
        match self.ledger.block_of(ip) {
            None => self.broken("PROVEN-ASSIGNED", format!("{ip} leased to {key} is in no block")),
            Some(block) if &block.eni != on => {
                self.broken("PROVEN-ASSIGNED", format!("{ip} leased to {key} on {on} is on {}", block.eni));
            }
            Some(Block { state: BlockState::Leaving(_) | BlockState::Gone(_), net, .. }) => {
                self.broken("SAFE-INUSE", format!("{ip} leased to {key} is in {net}, which is given back"));
            }
            Some(_) => {}
        }
        if let Some(eni) = self.ledger.enis.get(on)
            && matches!(eni.phase, EniPhase::Available | EniPhase::Detached)
        {
            self.broken("SAFE-INUSE", format!("{key} is on {on}, which is {:?}", eni.phase));
        }
    }

    fn uses(&mut self) {
        let ledger = self.ledger;
        for (ip, what) in &ledger.uses {
            if let Use::Leased(key) = what
                && !ledger.leases.get(key).is_some_and(|lease| lease.addresses().any(|held| held == *ip))
            {
                self.broken(
                    "POOL-ACCOUNT",
                    format!("{ip} is marked leased to {key}, which does not hold it"),
                );
            }
        }
    }

    fn blocks(&mut self) {
        let ledger = self.ledger;
        let mut before: Option<&IpNet> = None;
        for (net, block) in &ledger.blocks {
            if net != &block.net {
                self.broken("ID-UNIQUE", format!("block {} is filed under {net}", block.net));
            }
            if let Some(before) = before.filter(|before| before.contains(net) || net.contains(*before)) {
                self.broken("POOL-ACCOUNT", format!("blocks {before} and {net} overlap"));
            }
            // One that contains others is compared with each of them.
            before = before.filter(|before| before.contains(net)).or(Some(net));
            let eni = ledger.enis.get(&block.eni);
            if eni.is_none() {
                self.broken("POOL-ACCOUNT", format!("{net} is on {}, which the ledger lacks", block.eni));
            }
            if eni.is_some_and(|eni| eni.primary_ipv4.is_some_and(|own| net.contains(&IpAddr::V4(own)))) {
                self.broken("POOL-ACCOUNT", format!("{net} has the ENI's own address and is in the pool"));
            }
            if let BlockState::Leaving(intent) = block.state {
                self.leaving(block, intent);
            }
        }
    }

    fn leaving(&mut self, block: &Block, intent: crate::ids::IntentId) {
        let net = block.net;
        let named = self.ledger.intents.get(&intent).is_some_and(
            |intent| matches!(&intent.change, CloudChange::Unassign { nets, .. } if nets.contains(&net)),
        );
        if !named {
            self.broken("NO-ORPHAN", format!("{net} leaves by intent {intent}, which does not name it"));
        }
    }

    fn intents(&mut self) {
        let ledger = self.ledger;
        for intent in ledger.intents.values() {
            match &intent.change {
                CloudChange::Unassign { nets, .. } => {
                    let leased = |(ip, what)| matches!(what, &Use::Leased(_)).then_some(ip);
                    for ip in nets.iter().flat_map(|net| ledger.uses_in(*net)).filter_map(leased) {
                        self.broken(
                            "SAFE-INUSE",
                            format!("intent {} unassigns {ip}, which is leased", intent.id),
                        );
                    }
                }
                CloudChange::DetachEni { eni, .. } | CloudChange::DeleteEni { eni } => {
                    for lease in ledger.leases_on(eni) {
                        self.broken(
                            "SAFE-INUSE",
                            format!("intent {} removes {eni} under {}", intent.id, lease.sandbox),
                        );
                    }
                }
                _ => {}
            }
        }
    }

    fn slots(&mut self) {
        let mut slots: BTreeMap<_, &EniId> = BTreeMap::new();
        for (id, eni) in self.ledger.enis.iter().filter(|(_, eni)| eni.holds_slot()) {
            if let Some(slot) = eni.slot()
                && let Some(other) = slots.insert(slot, id)
            {
                self.broken("ID-UNIQUE", format!("{other} and {id} both claim {slot:?}"));
            }
        }
    }

    /// What EC2 has on an ENI is no more than its type carries.
    fn room(&mut self, limits: &InstanceLimits) {
        for (eni, family) in self.ledger.enis.keys().flat_map(|eni| Family::ALL.map(|family| (eni, family))) {
            let Some(most) = limits.blocks_per_eni(family) else { continue };
            let of_family = |block: &&Block| block.occupies() && block.family() == family;
            let count = self.ledger.blocks_on(eni).filter(of_family).count();
            if u32::try_from(count).is_ok_and(|count| count > most) {
                let detail = format!("{eni} carries {count} blocks of {family}, its type {most}");
                self.broken("POOL-ACCOUNT", detail);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
