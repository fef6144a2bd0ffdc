//! Leases that the ledger lost, read back from the kernel: a link of ours names its sandbox, the route over it the
//! address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::address::AddressState;
use holdfast_model::eni::EniRecord;
use holdfast_model::host::{HostObserved, LinkAlias, LinkSeen, MAIN_TABLE};
use holdfast_model::ids::MacAddr;
use holdfast_model::lease::{Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::sandbox::{NetnsRef, PodRef};
use holdfast_model::time::Now;

use crate::draft::Draft;
use crate::quarantine::Traces;

/// The addresses that lead to a link of ours which no lease explains: a sandbox may live behind each.
///
/// A rule alone is no trace: it outlives its sandbox, a link does not.
pub fn traces_of(ledger: &Ledger, observed: &HostObserved) -> Traces {
    Traces { in_use: unexplained(ledger, observed).into_keys().collect(), rebuilding: false }
}

/// Whether the ledger was lost under running pods and is not rebuilt yet: the kernel holds a link of ours that no lease
/// explains, and the ledger is incomplete.
///
/// The node alone does not make it complete: it is known at once, the ENIs only when EC2 has shown them; and while an
/// address is in quarantine, that link may be why. A process that dies in between must not leave its successor to
/// take the pods' links for leftovers.
pub fn needs_rebuilding(ledger: &Ledger, observed: &HostObserved) -> bool {
    let known: BTreeSet<LinkAlias> = ledger.leases.keys().map(LinkAlias::of).collect();
    let mut aliases = observed.links.iter().filter_map(|link| link.alias.as_ref());
    let incomplete = ledger.node.is_none()
        || !ledger.enis.values().any(EniRecord::is_primary)
        || ledger.addresses.values().any(|address| matches!(address.state, AddressState::Quarantined(_)));
    incomplete && aliases.any(|alias| !known.contains(alias))
}

/// Leases for sandboxes that live in the kernel and that the ledger has forgotten: their addresses must be in the
/// ledger, on an ENI, leased to nobody.
///
/// Where the sandbox's namespace is, and which pod it was, is lost: such a lease ends with a DEL, or when its link is
/// gone.
pub fn rebuild_leases(ledger: &Ledger, observed: &HostObserved, now: &Now) -> Vec<Change> {
    let mut draft = Draft::of(ledger, now);
    for (address, link) in unexplained(ledger, observed) {
        let Some(sandbox) = link.alias.as_ref().and_then(LinkAlias::sandbox) else { continue };
        let known = draft.ledger.addresses.get(&address);
        let Some(record) = known.filter(|record| record.occupies() && record.state != AddressState::Leased)
        else {
            continue;
        };
        let Some(eni) = draft.ledger.enis.get(&record.eni) else { continue };
        let lease = Lease {
            pod: PodRef { namespace: String::new(), name: String::new(), uid: None },
            netns: NetnsRef { path: String::new(), inode: 0 },
            address,
            eni: eni.id.clone(),
            slot: eni.slot,
            host_veth: link.name.clone(),
            host_mac: link.mac.unwrap_or(MacAddr([0; 6])),
            mtu: link.mtu,
            phase: LeasePhase::Active,
            created: now.wall,
            sandbox,
        };
        draft.note(format!("{address} is held by {}, as the kernel shows", lease.sandbox));
        draft.set_state(address, AddressState::Leased);
        draft.push(Change::PutLease(lease));
    }
    draft.into_changes()
}

fn unexplained<'a>(ledger: &Ledger, observed: &'a HostObserved) -> BTreeMap<IpAddr, &'a LinkSeen> {
    let known: BTreeSet<LinkAlias> = ledger.leases.keys().map(LinkAlias::of).collect();
    let suspects: BTreeMap<u32, &LinkSeen> = observed
        .links
        .iter()
        .filter(|link| link.alias.as_ref().is_some_and(|alias| !known.contains(alias)))
        .map(|link| (link.index, link))
        .collect();
    observed
        .routes
        .iter()
        .filter(|route| route.table == MAIN_TABLE && route.to.prefix_len() == route.to.max_prefix_len())
        .filter_map(|route| Some((route.to.addr(), *suspects.get(&route.link_index)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use holdfast_model::address::{AddressRecord, QuarantineReason};
    use holdfast_model::eni::{EniKind, EniPhase, EniSlot, Management};
    use holdfast_model::host::RouteSeen;
    use holdfast_model::ids::{AttachmentId, BootId, EniId, SubnetId};
    use holdfast_model::invariants;
    use holdfast_model::sandbox::SandboxKey;
    use holdfast_model::time::{BootTime, WallTime};

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    fn now() -> Now {
        Now { boot: BootId::new("b"), boottime: BootTime(1), wall: WallTime(1) }
    }

    fn sandbox() -> SandboxKey {
        SandboxKey { container_id: "c".into(), ifname: "eth0".into(), network: "aws-cni".into() }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply(&Change::PutEni(EniRecord {
            id: EniId::new("eni-a"),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            slot: EniSlot { card: 0, device: 1 },
            kind: EniKind::Standard,
            management: Management::Managed,
            phase: EniPhase::Attached { attachment: AttachmentId::new("a"), delete_on_termination: true },
            subnet: SubnetId::new("s"),
            subnet_cidr: None,
            primary_ipv4: None,
            created_by: None,
            since: BootTime(0),
            changed: BootTime(0),
        }));
        ledger.apply(&Change::PutAddress(AddressRecord {
            ip: ADDRESS,
            eni: EniId::new("eni-a"),
            state: AddressState::Quarantined(QuarantineReason::MaybeInUse),
            assigned: true,
        }));
        ledger
    }

    fn observed() -> HostObserved {
        HostObserved {
            links: vec![LinkSeen {
                index: 7,
                name: "eni0".into(),
                mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
                mtu: 9001,
                up: true,
                strict: false,
                alias: Some(LinkAlias::of(&sandbox())),
                addresses: Vec::new(),
                connected: Vec::new(),
            }],
            routes: vec![RouteSeen { table: MAIN_TABLE, to: ADDRESS.into(), via: None, link_index: 7 }],
            ..HostObserved::default()
        }
    }

    #[test]
    fn a_live_sandbox_gets_its_lease_back_once() {
        let mut ledger = ledger();
        assert_eq!(traces_of(&ledger, &observed()).in_use, BTreeSet::from([ADDRESS]));
        ledger.apply_all(&rebuild_leases(&ledger, &observed(), &now()));
        let lease = &ledger.leases[&sandbox()];
        assert_eq!((lease.address, lease.host_veth.as_str(), lease.slot.device), (ADDRESS, "eni0", 1));
        assert_eq!(invariants::check(&ledger, None), []);
        assert_eq!(rebuild_leases(&ledger, &observed(), &now()), []);
        assert!(!needs_rebuilding(&ledger, &observed()));
        assert!(traces_of(&ledger, &observed()).in_use.is_empty());
    }

    #[test]
    fn a_rule_or_route_without_a_link_of_ours_is_no_sandbox() {
        let mut seen = observed();
        seen.links[0].alias = None;
        assert!(traces_of(&ledger(), &seen).in_use.is_empty());
        assert_eq!(rebuild_leases(&ledger(), &seen, &now()), []);
    }

    #[test]
    fn an_address_that_ec2_has_not_shown_is_not_leased() {
        let mut ledger = ledger();
        ledger.apply(&Change::DropAddress(ADDRESS));
        assert_eq!(rebuild_leases(&ledger, &observed(), &now()), []);
    }
}
