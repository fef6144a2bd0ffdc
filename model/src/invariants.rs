//! The invariants that the ledger alone can show (design, section 2). The same checker runs in the planner's
//! property tests, in the simulator after each event, in the crash tests after each restart, and on a live
//! node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::address::AddressState;
use crate::cloud::CloudChange;
use crate::eni::EniPhase;
use crate::ids::EniId;
use crate::ledger::Ledger;
use crate::limits::InstanceLimits;

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
    let mut found = Vec::new();
    let mut broken = |invariant: &'static str, detail: String| found.push(Violation { invariant, detail });

    let mut holders: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (key, lease) in &ledger.leases {
        *holders.entry(lease.address).or_default() += 1;
        if key != &lease.sandbox {
            broken("SANDBOX-IDENTITY", format!("lease of {} is filed under {key}", lease.sandbox));
        }
        match ledger.addresses.get(&lease.address) {
            None => broken("SAFE-INUSE", format!("{} leased to {key} is not in the ledger", lease.address)),
            Some(address) if address.state != AddressState::Leased => {
                broken("SAFE-INUSE", format!("{} leased to {key} is {:?}", lease.address, address.state));
            }
            Some(address) if address.eni != lease.eni => broken(
                "SAFE-INUSE",
                format!("{} leased to {key} on {} is on {}", lease.address, lease.eni, address.eni),
            ),
            Some(_) => {}
        }
        if let Some(eni) = ledger.enis.get(&lease.eni)
            && matches!(eni.phase, EniPhase::Available | EniPhase::Detached)
        {
            broken("SAFE-INUSE", format!("{key} is on {}, which is {:?}", lease.eni, eni.phase));
        }
    }
    for (address, count) in holders.iter().filter(|(_, count)| **count > 1) {
        broken("UNIQUE", format!("{address} has {count} leases"));
    }

    let mut on_eni: BTreeMap<&EniId, u32> = BTreeMap::new();
    for (ip, address) in &ledger.addresses {
        if address.occupies() {
            *on_eni.entry(&address.eni).or_default() += 1;
        }
        if address.state == AddressState::Leased && !holders.contains_key(ip) {
            broken("POOL-ACCOUNT", format!("{ip} is marked leased and nobody holds it"));
        }
        match ledger.enis.get(&address.eni) {
            None => broken("POOL-ACCOUNT", format!("{ip} is on {}, which the ledger lacks", address.eni)),
            Some(eni) if eni.primary_ipv4.is_some_and(|own| IpAddr::V4(own) == *ip) => {
                broken("POOL-ACCOUNT", format!("{ip} is the ENI's own address and in the pool"));
            }
            Some(_) => {}
        }
        if let AddressState::Departing(intent) = &address.state {
            let named = ledger.intents.get(intent).is_some_and(|intent| {
                matches!(&intent.change, CloudChange::UnassignAddresses { addresses, .. } if addresses.contains(ip))
            });
            if !named {
                broken("NO-ORPHAN", format!("{ip} departs by intent {intent}, which does not name it"));
            }
        }
    }

    for intent in ledger.intents.values() {
        match &intent.change {
            CloudChange::UnassignAddresses { addresses, .. } => {
                for ip in addresses.iter().filter(|ip| holders.contains_key(ip)) {
                    broken("SAFE-INUSE", format!("intent {} unassigns {ip}, which is leased", intent.id));
                }
            }
            CloudChange::DetachEni { eni, .. } | CloudChange::DeleteEni { eni } => {
                for lease in ledger.leases.values().filter(|lease| &lease.eni == eni) {
                    broken(
                        "SAFE-INUSE",
                        format!("intent {} removes {eni} under {}", intent.id, lease.sandbox),
                    );
                }
            }
            _ => {}
        }
    }

    let mut slots: BTreeMap<_, &EniId> = BTreeMap::new();
    for (id, eni) in &ledger.enis {
        if !eni.holds_slot() {
            continue;
        }
        if let Some(other) = slots.insert(eni.slot, id) {
            broken("ID-UNIQUE", format!("{other} and {id} both claim {:?}", eni.slot));
        }
    }
    if let Some(limits) = limits {
        for (eni, count) in on_eni {
            if count > limits.pod_addresses_per_eni() {
                broken(
                    "POOL-ACCOUNT",
                    format!("{eni} carries {count} addresses, its type {}", limits.pod_addresses_per_eni()),
                );
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
