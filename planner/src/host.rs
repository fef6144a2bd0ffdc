//! The host's network: what it should hold, and how to get there (reference: vpc-cni 6.1 to 6.5).

mod diff;
mod unreached;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_model::config::Config;
use holdfast_model::eni::{EniKind, EniRecord};
use holdfast_model::host::{
    EniWiring, HostDesired, LinkAlias, MAIN_TABLE, NatTable, NatWanted, PRIMARY_MARK, PodWiring, Rule,
    SourceNat, Way, priority,
};
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::Family;
use holdfast_model::uses::Use;
use ipnet::Ipv4Net;

pub use diff::{host_diff, set_up_already};
pub(crate) use unreached::borne;
pub use unreached::{UnreachedBy, unreached};

#[cfg(test)]
mod tests;

/// Kernel objects that are neither missing nor orphans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spared {
    /// Links of leases that are being wired or unwired.
    pub links: BTreeSet<LinkAlias>,
    /// Addresses of such leases, and quarantined ones.
    pub addresses: BTreeSet<IpAddr>,
    /// ENIs that are being set up.
    pub enis: BTreeSet<EniId>,
    /// Remove no orphan at all: a sandbox lives that no lease explains. The engine sets it.
    pub all_orphans: bool,
}

/// The wiring of a lease, face by face.
pub fn wirings_of(ledger: &Ledger, config: &Config, lease: &Lease) -> Vec<PodWiring> {
    let wiring = |(number, face): (u8, &Face)| PodWiring {
        alias: LinkAlias::of_face(&lease.sandbox, &face.ifname),
        number,
        host_veth: face.host_veth.clone(),
        host_mac: face.host_mac,
        ifname: face.ifname.clone(),
        address: face.address,
        mtu: face.mtu,
        table: face.place.route_table(),
        ways: {
            let own = ledger.enis.get(&face.eni).map(|eni| eni.mac);
            match face.address {
                IpAddr::V4(_) => ways(ledger, config, own),
                IpAddr::V6(address) => ways_of_ipv6(address, own),
            }
        },
    };
    (0..=u8::MAX).zip(&lease.faces).map(wiring).collect()
}

/// Destinations that stand for all others, from a pod whose ENI has this MAC: in each of the VPC's ranges its resolver, which EC2 gives
/// to nobody, and two that may be somebody's; and some outside. Nothing is sent there. None while the node is not known.
fn ways(ledger: &Ledger, config: &Config, own: Option<MacAddr>) -> Vec<Way> {
    /// One that is nobody's, and two that are in use.
    const OUTSIDE: [Ipv4Addr; 3] =
        [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(9, 9, 9, 9)];
    let Some(node) = &ledger.node else { return Vec::new() };
    let within = |range: &Ipv4Net| {
        let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
        [first.wrapping_add(2), first + (last - first) / 2 + 2, last.wrapping_sub(1)].map(Ipv4Addr::from)
    };
    let ranges = node.identity.vpc_cidrs.iter().zip(1..=u8::MAX);
    let inside = ranges.flat_map(|(range, place)| {
        within(range).map(|to| Way { to: to.into(), marked: false, place, by: own })
    });
    let kept = || node.identity.vpc_cidrs.iter().chain(&config.snat_exclusions.value);
    let outside = OUTSIDE.into_iter().filter(|to| !kept().any(|range| range.contains(to)));
    let marked = !config.external_snat.value;
    let by = if marked { Some(node.identity.primary_mac) } else { own };
    inside.chain(outside.map(|to| Way { to: to.into(), marked, place: 0, by })).collect()
}

/// The same from a pod with an IPv6 address: one that may be somebody's in its own subnet, which is a /64 or has such, and some
/// outside. It leaves as itself, by its own ENI, wherever it goes.
fn ways_of_ipv6(address: Ipv6Addr, own: Option<MacAddr>) -> Vec<Way> {
    /// One that is nobody's (the prefix for documentation), and two that are in use.
    const OUTSIDE: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111),
        Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe),
    ];
    let subnet = u128::from(address) & (u128::MAX << 64);
    let inside = [subnet | 2, subnet | 0xffff_ffff_ffff_fff0].map(|to| (Ipv6Addr::from(to), 1));
    let all = inside.into_iter().chain(OUTSIDE.map(|to| (to, 0)));
    all.filter(|(to, _)| *to != address)
        .map(|(to, place)| Way { to: to.into(), marked: false, place, by: own })
        .collect()
}

/// What is marked leaves by the primary ENI.
fn marked() -> Rule {
    Rule::marked(priority::MARKED, PRIMARY_MARK, MAIN_TABLE)
}

/// What the ledger says must be left alone: what belongs to leases that are being wired or unwired, and to
/// addresses that may be in use although no lease says so.
pub fn spared(ledger: &Ledger) -> Spared {
    let mut spared = Spared::default();
    for lease in ledger.leases.values().filter(|lease| lease.phase != LeasePhase::Active) {
        spared.links.extend(LinkAlias::all_of(lease));
        spared.addresses.extend(lease.addresses());
    }
    let suspects = ledger.uses.iter().filter(|(_, what)| matches!(what, Use::Suspect(_)));
    spared.addresses.extend(suspects.map(|(ip, _)| *ip));
    spared
}

/// All that the host's network namespace should hold of ours. Only wired leases (`Active`) are in it; without
/// the node's identity it is empty and undecided about NAT.
pub fn desired_host(ledger: &Ledger, config: &Config) -> HostDesired {
    let mut enis: Vec<&EniRecord> = ledger.enis.values().filter(|eni| wants_set_up(ledger, eni)).collect();
    enis.sort_by_key(|eni| eni.slot());
    let nat = match &ledger.node {
        None => NatWanted::Undecided,
        Some(_) if !wants_nat(ledger, config) => NatWanted::Absent,
        Some(node) => NatWanted::Table(nat_table(&node.identity, config)),
    };
    HostDesired {
        enis: enis.into_iter().filter_map(|eni| eni_wiring(ledger, eni, config)).collect(),
        pods: ledger
            .leases
            .values()
            .filter(|lease| lease.phase == LeasePhase::Active)
            .flat_map(|lease| wirings_of(ledger, config, lease))
            .collect(),
        nat,
    }
}

/// Pods with IPv4 addresses keep their way out, whatever new ones get.
fn wants_nat(ledger: &Ledger, config: &Config) -> bool {
    let has_ipv4 = || ledger.leases.values().flat_map(Lease::addresses).any(|ip| ip.is_ipv4());
    config.wants_nat_table()
        || (config.family.value == Family::V6 && config.wants_nat_for_ipv4() && has_ipv4())
}

fn nat_table(node: &NodeIdentity, config: &Config) -> NatTable {
    let ranges: BTreeSet<_> = node.vpc_cidrs.iter().chain(&config.snat_exclusions.value).copied().collect();
    let source_nat = SourceNat { vpc_cidrs: ranges.into_iter().collect(), node_ipv4: node.primary_ipv4 };
    NatTable {
        node_ports: config.node_ports.value,
        source_nat: (!config.external_snat.value).then_some(source_nat),
        primary_mac: node.primary_mac,
        veth_prefix: config.veth_prefix.value.clone(),
    }
}

/// Whether the kernel should carry this ENI's set-up: it serves pods, or pods still live on it.
pub(crate) fn wants_set_up(ledger: &Ledger, eni: &EniRecord) -> bool {
    eni.serves_pods()
        || (eni.attachment().is_some()
            && matches!(eni.kind, EniKind::Standard | EniKind::Efa)
            && ledger.leases_on(&eni.id).next().is_some())
}

/// An ENI's set-up; `None` while its subnet's range is not known, or when it has no IPv4 address.
pub(crate) fn eni_wiring(ledger: &Ledger, eni: &EniRecord, config: &Config) -> Option<EniWiring> {
    Some(EniWiring {
        eni: eni.id.clone(),
        mac: eni.mac,
        slot: eni.slot()?,
        primary_ipv4: eni.primary_ipv4?,
        subnet_cidr: ledger.subnets.get(&eni.source.subnet)?.ipv4?,
        mtu: config.eni_mtu.value,
        routes_ipv6: config.family.value == Family::V6 && eni.is_primary(),
    })
}
