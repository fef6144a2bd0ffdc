//! What decisions cost: `cargo run --release -p holdfast-planner --example decisions`.
//!
//! Medians of one run on nodes of 735 pods (an m5.24xlarge) and of 2,450 addresses. Ends with 1 when an aim is missed by
//! more than half of it: that much the machines that this runs on may differ.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use holdfast_model::block::Block;
use holdfast_model::cloud::CloudRead;
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
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::{NodeIdentity, NodeRecord};
use holdfast_model::pool::PoolKey;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_model::uses::Use;
use holdfast_planner::{
    Desired, Observed, Reading, desired_host, free_addresses, host_diff, plan, report, spared,
};
use ipnet::{IpNet, Ipv4Net};

const REPEATS: usize = 51;

fn now() -> Now {
    Now { boot: BootId::new("b"), boottime: BootTime(10_000_000), wall: WallTime(0) }
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

fn subnet_cidr() -> Ipv4Net {
    Ipv4Net::new_assert([10, 0, 0, 0].into(), 16)
}

fn node() -> NodeRecord {
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

fn lease(number: u32, eni: &EniRecord, address: IpAddr) -> Lease {
    let sandbox = SandboxKey {
        container_id: format!("{number:064x}"),
        ifname: "eth0".to_owned(),
        network: "aws-cni".to_owned(),
    };
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

/// A node with so many ENIs of so many addresses, the first `leased` of them under pods.
fn ledger(enis: u16, per_eni: u32, leased: u32) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply(&Change::PutNode(node()));
    let id = SubnetId::new("subnet-1");
    ledger.apply(&Change::PutSubnet(SubnetRecord { id, ipv4: Some(subnet_cidr()), ipv6: None }));
    let mut number = 0;
    for device in 0..enis {
        let eni = eni(device);
        ledger.apply(&Change::PutEni(eni.clone()));
        for _ in 0..per_eni {
            let ip = IpAddr::V4((0x0a00_1000 + number).into());
            ledger.apply(&Change::PutBlock(Block::held(IpNet::from(ip), eni.id.clone(), BootTime(1))));
            if number < leased {
                let lease = lease(number, &eni, ip);
                ledger.apply(&Change::PutUse(ip, Use::Leased(lease.sandbox.clone())));
                ledger.apply(&Change::PutLease(lease));
            }
            number += 1;
        }
    }
    ledger
}

/// The kernel as it should be.
fn kernel(ledger: &Ledger, config: &Config) -> HostObserved {
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

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[REPEATS / 2]
}

/// Prints a figure beside its aim; false when it is missed by more than half.
fn told(what: &str, took: Duration, aim: Option<Duration>) -> bool {
    match aim {
        Some(aim) => println!("{what:<58} {took:>12.1?}   aim {aim:?}"),
        None => println!("{what:<58} {took:>12.1?}"),
    }
    aim.is_none_or(|aim| took <= aim + aim / 2)
}

fn main() -> ExitCode {
    let config = Config::default();
    let mut met = true;
    for (enis, per_eni, waiting, plan_aim, turn_aim, diff_aim) in
        [(15, 49, 400, 200, 2000, Some(2000)), (50, 49, 1000, 1000, 2000, None)]
    {
        let all = u32::from(enis) * per_eni;
        let full = ledger(enis, per_eni, all);
        let half = ledger(enis, per_eni, all - waiting / 2);
        let limits = Some(InstanceLimits { enis: vec![enis.into()], ipv4_per_eni: per_eni + 1 });
        let desired = Desired { config: &config, limits };
        let mut observed = Observed {
            waiting: BTreeMap::from([(PoolKey::DEFAULT, waiting)]),
            ready_enis: full.enis.keys().cloned().collect(),
            ..Observed::default()
        };
        let instance = InstanceId::new("i-1");
        let reads =
            [CloudRead::InstanceEnis { instance: instance.clone() }, CloudRead::AvailableEnis { instance }];
        for read in &reads {
            observed.read_adopted(&full, Reading { read, views: &[], began: now().boottime });
        }
        let now = now();
        let micros = Duration::from_micros;

        let planned = median(|| drop(black_box(plan(&desired, &full, &observed, &now))));
        met &= told(&format!("plan, {all} pods, {waiting} wait"), planned, Some(micros(plan_aim)));
        let decided = median(|| {
            let free = free_addresses(PoolKey::DEFAULT, &half, &observed, &now);
            assert_eq!(free.len(), waiting as usize / 2);
            let planned = plan(&desired, &half, &observed, &now);
            let report = &planned.reports[&PoolKey::DEFAULT];
            drop(black_box((free, report.shortage(config.add_hold.value, &now))));
        });
        met &= told(
            &format!("a turn's decisions, {all} addresses, {waiting} wait"),
            decided,
            Some(micros(turn_aim)),
        );
        let said = median(|| drop(black_box(report(PoolKey::DEFAULT, &desired, &full, &observed, &now))));
        met &= told(&format!("STATUS of a full node, {all} pods"), said, None);

        let (wanted, seen, spared) = (desired_host(&full, &config), kernel(&full, &config), spared(&full));
        assert_eq!(host_diff(&wanted, &seen, &spared), [], "nothing is to be done");
        let compared = median(|| drop(black_box(host_diff(&wanted, &seen, &spared))));
        met &= told(&format!("host_diff without a difference, {all} pods"), compared, diff_aim.map(micros));
        let cloned = median(|| drop(black_box(full.clone())));
        met &= told(&format!("a copy of the ledger, {all} pods"), cloned, None);
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
