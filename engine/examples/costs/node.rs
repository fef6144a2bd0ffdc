//! Nodes of any size, as ledger and kernel have them.

use std::net::IpAddr;

use holdfast_model::block::Block;
use holdfast_model::config::Config;
use holdfast_model::eni::{EniKind, EniPhase, EniPlace, EniRecord, EniSlot, EniSource, Management};
use holdfast_model::host::{
    HostObserved, LinkAlias, LinkSeen, MAIN_TABLE, NatSeen, PodWiring, Route, Rule, priority,
};
use holdfast_model::ids::{
    AttachmentId, BootId, EniId, InstanceId, MacAddr, SecurityGroupId, SubnetId, VpcId,
};
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::node::{NodeIdentity, NodeRecord};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_model::uses::Use;
use holdfast_planner::desired_host;
use ipnet::{IpNet, Ipv4Net};

pub(crate) fn now() -> Now {
    Now { boot: BootId::new("b"), boottime: BootTime(10_000_000), wall: WallTime(0) }
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

fn subnet_cidr() -> Ipv4Net {
    Ipv4Net::new_assert([10, 0, 0, 0].into(), 16)
}

pub(crate) fn node() -> NodeRecord {
    let identity = NodeIdentity {
        instance: InstanceId::new("i-1"),
        instance_type: "z9.huge".to_owned(),
        region: "eu-central-1".to_owned(),
        zone: "eu-central-1a".to_owned(),
        vpc: VpcId::new("vpc-1"),
        vpc_cidrs: vec![subnet_cidr()],
        primary_mac: mac(0),
        primary_ipv4: [10, 0, 0, 4].into(),
        subnet: SubnetId::new("subnet-1"),
        subnet_cidr: subnet_cidr(),
        security_groups: vec![SecurityGroupId::new("sg-1")],
    };
    NodeRecord { identity, boot: now().boot }
}

fn eni(device: u16) -> EniRecord {
    EniRecord {
        id: EniId::new(format!("eni-{device:04}")),
        mac: mac(u32::from(device)),
        place: EniPlace::Device(EniSlot { card: 0, device }),
        kind: EniKind::Standard,
        management: Management::Managed,
        phase: EniPhase::Attached { attachment: AttachmentId::new("at"), delete_on_termination: true },
        source: EniSource { subnet: SubnetId::new("subnet-1"), security_groups: None },
        primary_ipv4: Some(std::net::Ipv4Addr::from(0x0a00_0004 + u32::from(device))),
        created_by: None,
        since: BootTime(0),
        changed: BootTime(0),
    }
}

/// As a runtime draws them: they differ from the first digit on.
pub(crate) fn container_id(number: u32) -> String {
    format!("{:08x}{number:056x}", number.wrapping_mul(0x9e37_79b1))
}

fn lease(number: u32, eni: &EniRecord, address: IpAddr) -> Lease {
    let sandbox = SandboxKey::from(SandboxNames {
        container_id: container_id(number),
        ifname: "eth0".to_owned(),
        network: "aws-cni".to_owned(),
    });
    Lease {
        pod: PodRef { namespace: "default".to_owned(), name: format!("web-{number}"), uid: None },
        netns: NetnsRef { path: format!("/run/netns/cni-{number}"), inode: u64::from(number) },
        faces: vec![Face {
            ifname: sandbox.ifname.clone(),
            address,
            eni: eni.id.clone(),
            place: eni.place.clone(),
            host_veth: format!("eni{number:011x}"),
            host_mac: mac(1_000_000 + number),
            mtu: 9001,
        }],
        sandbox,
        phase: LeasePhase::Active,
        created: WallTime(0),
    }
}

/// What makes a node with so many ENIs of so many addresses, the first `leased` of them under pods.
pub(crate) fn changes(enis: u16, per_eni: u32, leased: u32) -> Vec<Change> {
    let mut changes = vec![Change::PutNode(node())];
    let id = SubnetId::new("subnet-1");
    changes.push(Change::PutSubnet(SubnetRecord { id, ipv4: Some(subnet_cidr()), ipv6: None }));
    let mut number = 0;
    for device in 0..enis {
        let eni = eni(device);
        changes.push(Change::PutEni(eni.clone()));
        for _ in 0..per_eni {
            let ip = IpAddr::V4((0x0a00_1000 + number).into());
            changes.push(Change::PutBlock(Block::held(IpNet::from(ip), eni.id.clone(), BootTime(1))));
            if number < leased {
                let lease = lease(number, &eni, ip);
                changes.push(Change::PutUse(ip, Use::Leased(lease.sandbox.clone())));
                changes.push(Change::PutLease(lease));
            }
            number += 1;
        }
    }
    changes
}

/// The same, made.
pub(crate) fn ledger(enis: u16, per_eni: u32, leased: u32) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply_all(&changes(enis, per_eni, leased));
    ledger
}

/// The kernel as it should be.
pub(crate) fn kernel(ledger: &Ledger, config: &Config) -> HostObserved {
    let desired = desired_host(ledger, config);
    let mut seen =
        HostObserved { nat: NatSeen::AsWritten, forwarding: Some(true), ..HostObserved::default() };
    let link = |index, name: String, mac, alias: Option<LinkAlias>| LinkSeen {
        index,
        name,
        mac: Some(mac),
        mtu: 9001,
        up: true,
        rp_filter: Some(PodWiring::RP_FILTER).filter(|_| alias.is_some()),
        alias,
        ..LinkSeen::default()
    };
    let mut index = 2;
    for eni in &desired.enis {
        let mut own = link(index, format!("ens{index}"), eni.mac, None);
        if eni.slot != EniSlot::PRIMARY {
            own.addresses =
                Ipv4Net::new(eni.primary_ipv4, eni.subnet_cidr.prefix_len()).into_iter().collect();
            let (table, gateway) = (eni.slot.route_table(), IpAddr::V4(eni.gateway()));
            seen.routes.push(Route::on_link(table, gateway.into(), index));
            seen.routes.push(Route::default_via(table, gateway, index));
            let from = Some(IpNet::from(IpAddr::V4(eni.primary_ipv4)));
            seen.rules.push(Rule { priority: priority::FROM_ENI, from, to: None, mark: None, table });
        }
        seen.links.push(own);
        index += 1;
    }
    let mark = Some((holdfast_model::host::PRIMARY_MARK, holdfast_model::host::PRIMARY_MARK));
    seen.rules.push(Rule { priority: priority::MARKED, from: None, to: None, mark, table: MAIN_TABLE });
    for pod in &desired.pods {
        let alias: Option<LinkAlias> = Some(pod.alias.clone());
        seen.links.push(link(index, pod.host_veth.clone(), pod.host_mac, alias));
        let address = IpNet::from(pod.address);
        seen.routes.push(Route::on_link(MAIN_TABLE, address, index));
        let to = Some(address);
        let rule = Rule { priority: priority::TO_POD, from: None, to, mark: None, table: MAIN_TABLE };
        seen.rules.push(rule);
        if pod.table != MAIN_TABLE {
            let table = pod.table;
            seen.rules.push(Rule { priority: priority::FROM_POD, from: to, to: None, mark: None, table });
        }
        index += 1;
    }
    seen
}
