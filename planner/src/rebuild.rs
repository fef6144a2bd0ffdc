//! Leases that the ledger lost, read back from the kernel: a link of ours names its sandbox, the route over it the
//! address.
//!
//! A lease is durable before its link is made, and ends after its link is gone. So a link of ours that no lease explains
//! says one thing only: the ledger has lost something, and a sandbox lives there. Such a link is never removed; it goes
//! with its sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_model::block::BlockState;
use holdfast_model::host::{HostObserved, LinkAlias, LinkSeen, MAIN_TABLE};
use holdfast_model::ids::MacAddr;
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::Now;
use holdfast_model::uses::Use;

use crate::draft::Draft;
use crate::observed::Observed;
use crate::traces::Traces;

/// What of the kernel's links no lease explains. `before` are the links of the leases that there were as the look
/// began: one that has ended meanwhile may be seen still.
///
/// A rule alone is no trace: it outlives its sandbox, a link does not.
pub fn traces_of(ledger: &Ledger, before: &BTreeSet<LinkAlias>, observed: &HostObserved) -> Traces {
    let known: BTreeSet<LinkAlias> = ledger.leases.values().flat_map(LinkAlias::all_of).collect();
    let suspects: BTreeMap<u32, &LinkSeen> = observed
        .links
        .iter()
        .filter(|link| {
            link.alias.as_ref().is_some_and(|alias| !known.contains(alias) && !before.contains(alias))
        })
        .map(|link| (link.index, link))
        .collect();
    let routes = observed
        .routes
        .iter()
        .filter(|route| route.table == MAIN_TABLE && route.to.prefix_len() == route.to.max_prefix_len());
    Traces {
        looked: true,
        in_use: routes
            .filter_map(|route| Some((route.to.addr(), (*suspects.get(&route.link_index)?).clone())))
            .collect(),
        links: suspects.values().filter_map(|link| link.alias.clone()).collect(),
    }
}

/// Leases for sandboxes that live in the kernel and that the ledger has forgotten: their addresses must be in the
/// ledger, on an ENI, leased to nobody; and EC2 was read since it is known that the ledger has lost something: what it has of
/// an address may be of another day.
///
/// Where the sandbox's namespace is, and which pod it was, is lost: such a lease ends with a DEL, or when its link is
/// gone.
pub fn rebuild_leases(ledger: &Ledger, observed: &Observed, now: &Now) -> Vec<Change> {
    if observed.reads.ledger_is_doubted() {
        return Vec::new();
    }
    let mut draft = Draft::of(ledger, now);
    for (sandbox, links) in sandboxes(&observed.traces) {
        // All its addresses or none: with some of them it would have a lease, and lack what the rest are for.
        let faces: Option<Vec<Face>> =
            links.iter().map(|(address, link)| face(&draft.ledger, *address, link)).collect();
        let Some(faces) = faces else { continue };
        let lease = Lease {
            pod: PodRef { namespace: String::new(), name: String::new(), uid: None },
            netns: NetnsRef { path: String::new(), inode: 0 },
            faces,
            phase: LeasePhase::Active,
            created: now.wall,
            sandbox,
        };
        for address in lease.addresses() {
            draft.note(format!("{address} is held by {}, as the kernel shows", lease.sandbox));
            draft.put_use(address, Use::Leased(lease.sandbox.clone()));
        }
        draft.push(Change::PutLease(lease));
    }
    draft.into_changes()
}

/// The interface that this link is the host end of; `None` while its address is not to be leased.
fn face(ledger: &Ledger, address: IpAddr, link: &LinkSeen) -> Option<Face> {
    // One that EC2 took away may be on another ENI by now: a read tells.
    let block = ledger.block_of(address).filter(|block| block.state == BlockState::Held)?;
    if matches!(ledger.uses.get(&address), Some(Use::Leased(_))) {
        return None;
    }
    let eni = ledger.enis.get(&block.eni)?;
    Some(Face {
        ifname: link.alias.as_ref()?.sandbox()?.ifname.clone(),
        address,
        eni: eni.id.clone(),
        place: eni.place.clone(),
        host_veth: link.name.clone(),
        host_mac: link.mac.unwrap_or(MacAddr([0; 6])),
        mtu: link.mtu,
    })
}

/// Links and their addresses, by the sandbox that they are of, in the order of its interfaces. Of one of which not all is seen
/// yet nothing is said.
fn sandboxes(traces: &Traces) -> BTreeMap<SandboxKey, Vec<(IpAddr, &LinkSeen)>> {
    let (mut own, mut further) = (BTreeMap::new(), Vec::new());
    for (&address, link) in &traces.in_use {
        let Some(key) = link.alias.as_ref().and_then(LinkAlias::sandbox) else { continue };
        match Face::number_of(&key.ifname) {
            None => drop(own.insert(key, vec![(address, link)])),
            Some(number) => further.push((number, key, address, link)),
        }
    }
    further.sort_by_key(|(number, ..)| *number);
    let mut torn = BTreeSet::new();
    for (number, key, address, link) in further {
        // Of several attachments of one container the one that was made last before it.
        let same =
            |other: &SandboxKey| (&other.container_id, &other.network) == (&key.container_id, &key.network);
        let made_before = own.iter_mut().filter(|(other, links): &(&SandboxKey, &mut Vec<_>)| {
            same(other)
                && links.first().is_some_and(|(_, first): &(IpAddr, &LinkSeen)| first.index < link.index)
        });
        let Some((owner, links)) =
            made_before.max_by_key(|(_, links)| links.first().map(|(_, first)| first.index))
        else {
            continue;
        };
        if links.len() == number {
            links.push((address, link));
        } else {
            torn.insert(owner.clone());
        }
    }
    // A link that no address leads to yet.
    let led_to: BTreeSet<&LinkAlias> =
        traces.in_use.values().filter_map(|link| link.alias.as_ref()).collect();
    for alias in traces.links.iter().filter(|alias| !led_to.contains(alias)) {
        let Some(key) = alias.sandbox() else { continue };
        let of_it =
            |other: &&SandboxKey| (&other.container_id, &other.network) == (&key.container_id, &key.network);
        torn.extend(own.keys().filter(of_it).cloned());
    }
    own.retain(|key, _| !torn.contains(key));
    own
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use holdfast_model::block::Block;
    use holdfast_model::eni::{EniKind, EniPhase, EniPlace, EniRecord, EniSlot, EniSource, Management};
    use holdfast_model::host::Route;
    use holdfast_model::ids::{AttachmentId, BootId, EniId, SubnetId};
    use holdfast_model::invariants;
    use holdfast_model::sandbox::SandboxNames;
    use holdfast_model::time::{BootTime, WallTime};
    use holdfast_model::uses::Suspicion;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    fn now() -> Now {
        Now { boot: BootId::new("b"), boottime: BootTime(1), wall: WallTime(1) }
    }

    fn with(traces: Traces) -> Observed {
        Observed { traces, ..Observed::default() }
    }

    fn traces(ledger: &Ledger, observed: &HostObserved) -> Traces {
        traces_of(ledger, &BTreeSet::new(), observed)
    }

    fn sandbox() -> SandboxKey {
        SandboxKey::from(SandboxNames {
            container_id: "c".into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        })
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply(&Change::PutEni(EniRecord {
            id: EniId::new("eni-a"),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            place: EniPlace::Device(EniSlot { card: 0, device: 1 }),
            kind: EniKind::Standard,
            management: Management::Managed,
            phase: EniPhase::Attached { attachment: AttachmentId::new("a"), delete_on_termination: true },
            source: EniSource { subnet: SubnetId::new("s"), security_groups: None },
            primary_ipv4: None,
            created_by: None,
            since: BootTime(0),
            changed: BootTime(0),
        }));
        ledger.apply(&Change::PutBlock(Block::held(ADDRESS.into(), EniId::new("eni-a"), BootTime(0))));
        ledger.apply(&Change::PutUse(ADDRESS, Use::Suspect(Suspicion::MaybeInUse)));
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
                alias: Some(LinkAlias::of(&sandbox())),
                ..LinkSeen::default()
            }],
            routes: vec![Route::on_link(MAIN_TABLE, ADDRESS.into(), 7)],
            ..HostObserved::default()
        }
    }

    #[test]
    fn a_live_sandbox_gets_its_lease_back_once() {
        let mut ledger = ledger();
        let traces = traces(&ledger, &observed());
        assert_eq!(traces.in_use.keys().collect::<Vec<_>>(), [&ADDRESS]);
        ledger.apply_all(&rebuild_leases(&ledger, &with(traces.clone()), &now()));
        let lease = &ledger.leases[&sandbox()];
        let face = &lease.faces[0];
        assert_eq!((face.address, face.host_veth.as_str(), face.place.route_table()), (ADDRESS, "eni0", 2));
        assert_eq!(invariants::check(&ledger, None), []);
        assert_eq!(rebuild_leases(&ledger, &with(traces.clone()), &now()), []);
        assert!(super::traces_of(&ledger, &BTreeSet::new(), &observed()).is_empty());
    }

    #[test]
    fn a_link_whose_lease_has_ended_since_the_look_began_is_no_trace() {
        let before = BTreeSet::from([LinkAlias::of(&sandbox())]);
        assert!(traces_of(&ledger(), &before, &observed()).is_empty());
    }

    #[test]
    fn a_rule_or_route_without_a_link_of_ours_is_no_sandbox() {
        let mut seen = observed();
        seen.links[0].alias = None;
        assert!(traces(&ledger(), &seen).is_empty());
    }

    /// A pod's route leads to one address, from the main table.
    #[test]
    fn other_routes_over_a_pods_link_tell_no_address() {
        let net = |net: &str| net.parse().unwrap();
        for (table, to, told) in [
            (MAIN_TABLE, ADDRESS.into(), true),
            (7, ADDRESS.into(), false),
            (MAIN_TABLE, net("10.0.0.0/24"), false),
        ] {
            let mut seen = observed();
            seen.routes = vec![Route::on_link(table, to, 7)];
            let traces = traces(&ledger(), &seen);
            assert_eq!(traces.in_use.len(), usize::from(told), "{to} in {table}");
            assert_eq!(traces.links.len(), 1, "a sandbox lives there all the same");
        }
    }

    #[test]
    fn an_address_that_ec2_has_not_shown_is_not_leased() {
        let mut ledger = ledger();
        ledger.apply(&Change::DropBlock(ADDRESS.into()));
        let traces = traces(&ledger, &observed());
        assert!(!traces.is_empty());
        assert_eq!(rebuild_leases(&ledger, &with(traces.clone()), &now()), []);
    }

    /// A second interface of the same sandbox, made after the first.
    fn with_a_further(seen: &mut HostObserved) -> IpAddr {
        let further = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 10));
        let link = seen.links[0].clone();
        let alias = LinkAlias::of_face(&sandbox(), "mNicIf1");
        seen.links.push(LinkSeen { index: 8, name: "eni1".into(), alias: Some(alias), ..link });
        seen.routes.push(Route::on_link(MAIN_TABLE, further.into(), 8));
        further
    }

    /// Its pod counts on all of them.
    #[test]
    fn a_sandbox_with_several_addresses_gets_one_lease_on_all_of_them_or_none() {
        let (mut ledger, mut seen) = (ledger(), observed());
        let further = with_a_further(&mut seen);
        let lost = traces(&ledger, &seen);
        assert_eq!(rebuild_leases(&ledger, &with(lost.clone()), &now()), [], "EC2 has not shown the second");
        ledger.apply(&Change::PutBlock(Block::held(further.into(), EniId::new("eni-a"), BootTime(0))));

        // A third interface, to which no address leads yet.
        let mut more = seen.clone();
        let alias = LinkAlias::of_face(&sandbox(), "mNicIf2");
        more.links.push(LinkSeen { index: 9, alias: Some(alias), ..seen.links[0].clone() });
        assert_eq!(rebuild_leases(&ledger, &with(traces(&ledger, &more)), &now()), []);
        // One of the middle is missing.
        let mut torn = seen.clone();
        torn.links[1].alias = Some(LinkAlias::of_face(&sandbox(), "mNicIf2"));
        assert_eq!(rebuild_leases(&ledger, &with(traces(&ledger, &torn)), &now()), []);

        ledger.apply_all(&rebuild_leases(&ledger, &with(lost), &now()));
        let lease = &ledger.leases[&sandbox()];
        assert_eq!(lease.addresses().collect::<Vec<_>>(), [ADDRESS, further]);
        assert_eq!(invariants::check(&ledger, None), []);
        assert!(super::traces_of(&ledger, &BTreeSet::new(), &seen).is_empty(), "all is explained");
    }

    /// Another attachment of the same container was made later: the further interface is not its.
    #[test]
    fn a_further_interface_is_of_the_attachment_that_was_made_before_it() {
        let (mut ledger, mut seen) = (ledger(), observed());
        let further = with_a_further(&mut seen);
        let late = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11));
        let other = SandboxKey::from(SandboxNames { ifname: "net1".into(), ..(*sandbox()).clone() });
        let link = seen.links[0].clone();
        seen.links.push(LinkSeen { index: 9, alias: Some(LinkAlias::of(&other)), ..link });
        seen.routes.push(Route::on_link(MAIN_TABLE, late.into(), 9));
        for address in [further, late] {
            ledger.apply(&Change::PutBlock(Block::held(address.into(), EniId::new("eni-a"), BootTime(0))));
        }
        ledger.apply_all(&rebuild_leases(&ledger, &with(traces(&ledger, &seen)), &now()));
        assert_eq!(ledger.leases[&sandbox()].addresses().collect::<Vec<_>>(), [ADDRESS, further]);
        assert_eq!(ledger.leases[&other].addresses().collect::<Vec<_>>(), [late]);
    }

    #[test]
    fn before_ec2_was_read_nothing_of_a_ledger_that_is_old_is_built_on() {
        let ledger = ledger();
        let mut seen = with(traces(&ledger, &observed()));
        seen.ledger_lost(&now());
        assert_eq!(rebuild_leases(&ledger, &seen, &now()), []);
    }
}
