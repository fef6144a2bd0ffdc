//! `/v1/enis`: the pool, ENI by ENI, in the Amazon VPC CNI's shape.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::{EniKind, EniRecord, Management};
use holdfast_model::ids::EniId;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;
use ipnet::IpNet;
use serde::Serialize;

#[cfg(test)]
mod tests;

/// What an instant is in Go that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// By number of the network card.
pub(crate) type Cards = BTreeMap<u8, Card>;

#[derive(Debug, Default, Serialize)]
pub(crate) struct Card {
    #[serde(rename = "TotalIPs")]
    total: u64,
    #[serde(rename = "AssignedIPs")]
    assigned: usize,
    #[serde(rename = "ENIs")]
    enis: BTreeMap<EniId, Eni>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Eni {
    #[serde(rename = "ID")]
    id: EniId,
    is_primary: bool,
    is_trunk: bool,
    #[serde(rename = "IsEFA")]
    is_efa: bool,
    device_number: u16,
    #[serde(rename = "AvailableIPv4Cidrs")]
    ipv4: BTreeMap<IpNet, Cidr>,
    #[serde(rename = "IPv6Cidrs")]
    ipv6: BTreeMap<IpNet, Cidr>,
    #[serde(rename = "IsExcludedForPodIPs")]
    is_excluded: bool,
    #[serde(rename = "RouteTableID")]
    route_table: u32,
    #[serde(rename = "SubnetID")]
    subnet: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Cidr {
    cidr: Net,
    #[serde(rename = "IPAddresses")]
    addresses: BTreeMap<IpAddr, Address>,
    is_prefix: bool,
    /// Always empty there.
    address_family: &'static str,
}

/// As Go writes a `net.IPNet`.
#[derive(Debug, Serialize)]
struct Net {
    #[serde(rename = "IP")]
    ip: IpAddr,
    #[serde(rename = "Mask")]
    mask: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    address: IpAddr,
    #[serde(rename = "IPAMKey")]
    key: Key,
    #[serde(rename = "IPAMMetadata")]
    pod: Pod,
    assigned_time: String,
    unassigned_time: String,
}

/// The sandbox, as which nobody may pose: it is blanked there too, but for the network.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    network_name: String,
    #[serde(rename = "containerID")]
    container_id: &'static str,
    if_name: &'static str,
}

#[derive(Debug, Default, Serialize)]
struct Pod {
    #[serde(rename = "k8sPodNamespace", skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(rename = "k8sPodName", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What is attached and not others'. The first card is always there.
pub(crate) fn cards(ledger: &Ledger, now: &Now) -> Cards {
    let mut cards = Cards::from([(0, Card::default())]);
    let ours = |eni: &&EniRecord| eni.attachment().is_some() && eni.management != Management::Unmanaged;
    for eni in ledger.enis.values().filter(ours) {
        let Some(slot) = eni.slot() else { continue };
        let card = cards.entry(slot.card).or_default();
        let is_excluded = eni.management == Management::Excluded;
        let held = || ledger.blocks_on(&eni.id).filter(|block| block.state == BlockState::Held);
        if !is_excluded {
            card.total += held().map(addresses_in).sum::<u64>();
            let uses = held().flat_map(|block| ledger.uses_in(block.net));
            card.assigned += uses.filter(|(_, what)| matches!(what, Use::Leased(_))).count();
        }
        let cidrs = |is_ipv4: bool| {
            let of_family = held().filter(|block| block.net.addr().is_ipv4() == is_ipv4);
            of_family.map(|block| (block.net, cidr(block, ledger, now))).collect()
        };
        let told = Eni {
            id: eni.id.clone(),
            is_primary: eni.is_primary(),
            is_trunk: eni.kind == EniKind::Trunk,
            is_efa: matches!(eni.kind, EniKind::Efa | EniKind::EfaOnly),
            device_number: slot.device,
            ipv4: cidrs(true),
            ipv6: cidrs(false),
            is_excluded,
            route_table: eni.place.route_table(),
            subnet: eni.source.subnet.to_string(),
        };
        card.enis.insert(eni.id.clone(), told);
    }
    cards
}

fn addresses_in(block: &Block) -> u64 {
    let bits = block.net.max_prefix_len() - block.net.prefix_len();
    1_u64.checked_shl(bits.into()).unwrap_or(u64::MAX)
}

fn cidr(block: &Block, ledger: &Ledger, now: &Now) -> Cidr {
    let mask = match block.net.netmask() {
        IpAddr::V4(mask) => STANDARD.encode(mask.octets()),
        IpAddr::V6(mask) => STANDARD.encode(mask.octets()),
    };
    let used = ledger.uses_in(block.net).map(|(ip, what)| (ip, address(ip, what, ledger, now)));
    Cidr {
        cidr: Net { ip: block.net.addr(), mask },
        addresses: used.collect(),
        is_prefix: !block.is_host(),
        address_family: "",
    }
}

fn address(ip: IpAddr, what: &Use, ledger: &Ledger, now: &Now) -> Address {
    let never = || NEVER.to_owned();
    let unused = |unassigned_time| Address {
        address: ip,
        key: Key::default(),
        pod: Pod::default(),
        assigned_time: never(),
        unassigned_time,
    };
    match what {
        Use::Leased(sandbox) => {
            let lease = ledger.leases.get(sandbox);
            let pod = lease.map(|lease| Pod {
                namespace: Some(lease.pod.namespace.clone()),
                name: Some(lease.pod.name.clone()),
            });
            Address {
                key: Key { network_name: sandbox.network.clone(), ..Key::default() },
                pod: pod.unwrap_or_default(),
                assigned_time: lease.map_or_else(never, |lease| lease.created.to_string()),
                ..unused(never())
            }
        }
        // Of another boot nobody knows when that was.
        Use::Cooling(rest) if rest.boot == now.boot && rest.since != BootTime(0) => {
            unused(now.wall_at(rest.since).to_string())
        }
        Use::Cooling(_) | Use::Suspect(_) => unused(never()),
    }
}
