//! Ledgers and scripts of changes to test with, deterministic from a seed.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use holdfast_model::block::{Ask, Block, BlockState, Unit};
use holdfast_model::cloud::CloudChange;
use holdfast_model::eni::{EniKind, EniPhase, EniPlace, EniRecord, EniSlot, EniSource, Management};
use holdfast_model::ids::{
    AttachmentId, BootId, EniId, InstanceId, IntentId, MacAddr, SecurityGroupId, SubnetId, VpcId,
};
use holdfast_model::intent::{Intent, Sending};
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::{Face, Lease, LeasePhase};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::limits::{Hypervisor, InstanceLimits, ToldLimits};
use holdfast_model::node::{NodeIdentity, NodeRecord};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::settings::{ClusterSettings, SettingText, SettingsLayer, SettingsPlace};
use holdfast_model::subnet::SubnetRecord;
use holdfast_model::time::{BootTime, WallTime};
use holdfast_model::uses::{Cooldown, Suspicion, Use};
use holdfast_store::OpenOptions;
use ipnet::IpNet;

/// The wall clock of all tests.
pub(crate) const NOW: WallTime = WallTime(1_795_000_000_000);

pub(crate) fn options() -> OpenOptions {
    OpenOptions::at(NOW)
}

/// Random numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

pub(crate) fn sandbox(number: u64) -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: format!("{number:064x}"),
        ifname: "eth0".to_owned(),
        network: "aws-cni".to_owned(),
    })
}

pub(crate) fn ip(number: u64) -> IpAddr {
    let number = u16::try_from(number).expect("small");
    if number.is_multiple_of(7) {
        IpAddr::V6(Ipv6Addr::new(0x2600, 0x1f13, 0, 0, 0, 0, 0, number))
    } else {
        IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | u32::from(number)))
    }
}

pub(crate) fn eni_id(number: u64) -> EniId {
    EniId::new(format!("eni-{number:017x}"))
}

pub(crate) fn intent_id(number: u64) -> IntentId {
    IntentId(uuid::Uuid::from_u128(u128::from(number) << 64 | 7))
}

fn slot(number: u64) -> EniSlot {
    EniSlot { card: u8::try_from(number % 3).expect("small"), device: u16::try_from(number).expect("small") }
}

fn place(number: u64) -> EniPlace {
    match number {
        5 => EniPlace::Branch { trunk: eni_id(4), vlan: 17 },
        _ => EniPlace::Device(slot(number)),
    }
}

fn mac(number: u64) -> MacAddr {
    let [_, _, low @ ..] = number.to_be_bytes();
    MacAddr::local_from(low)
}

pub(crate) fn node(number: u64) -> NodeRecord {
    NodeRecord {
        identity: NodeIdentity {
            instance: InstanceId::new("i-0123456789abcdef0"),
            instance_type: "m5.large".to_owned(),
            region: "eu-central-1".to_owned(),
            zone: "eu-central-1a".to_owned(),
            vpc: VpcId::new("vpc-1"),
            vpc_cidrs: vec![
                "10.0.0.0/16".parse().expect("a range"),
                "100.64.0.0/10".parse().expect("a range"),
            ],
            primary_mac: mac(1),
            primary_ipv4: Ipv4Addr::new(10, 0, 0, 5),
            subnet: SubnetId::new("subnet-1"),
            subnet_cidr: "10.0.0.0/20".parse().expect("a range"),
            security_groups: vec![SecurityGroupId::new("sg-1"), SecurityGroupId::new("sg-2")],
        },
        boot: BootId::new(format!("boot-{number}")),
    }
}

pub(crate) fn eni(number: u64, dice: &mut Dice) -> EniRecord {
    let attachment = AttachmentId::new(format!("eni-attach-{number}"));
    EniRecord {
        id: eni_id(number),
        mac: mac(number),
        place: place(number),
        kind: [EniKind::Standard, EniKind::Trunk, EniKind::Efa, EniKind::EfaOnly][dice.below(4) as usize],
        management: [Management::Managed, Management::Unmanaged, Management::Excluded]
            [dice.below(3) as usize],
        phase: match dice.below(5) {
            0 => EniPhase::Available,
            1 => EniPhase::Attached { attachment, delete_on_termination: dice.coin() },
            2 => EniPhase::Draining { attachment },
            3 => EniPhase::Detached,
            _ => EniPhase::Gone,
        },
        source: EniSource {
            subnet: SubnetId::new("subnet-1"),
            security_groups: dice.coin().then(|| [SecurityGroupId::new("sg-1")].into()),
        },
        primary_ipv4: dice
            .coin()
            .then(|| Ipv4Addr::from(0x0a00_1000 + u32::try_from(number).expect("small"))),
        created_by: dice.coin().then(|| intent_id(dice.next())),
        since: BootTime(dice.next()),
        changed: BootTime(dice.below(1000)),
    }
}

pub(crate) fn subnet(number: u64, dice: &mut Dice) -> SubnetRecord {
    SubnetRecord {
        id: SubnetId::new(format!("subnet-{number}")),
        ipv4: dice.coin().then(|| "10.0.0.0/20".parse().expect("a range")),
        ipv6: dice.coin().then(|| "2600:1f13::/64".parse().expect("a range")),
    }
}

pub(crate) fn net(number: u64) -> IpNet {
    let ip = ip(number);
    match (number % 5, ip) {
        (0, IpAddr::V4(_)) => IpNet::new(ip, 28).expect("a length").trunc(),
        (0, IpAddr::V6(_)) => IpNet::new(ip, 80).expect("a length").trunc(),
        _ => IpNet::from(ip),
    }
}

pub(crate) fn block(number: u64, dice: &mut Dice) -> Block {
    Block {
        net: net(number),
        eni: eni_id(number % 8),
        state: match dice.below(4) {
            0 => BlockState::Held,
            1 => BlockState::Withdrawn,
            2 => BlockState::Leaving(intent_id(dice.next())),
            _ => BlockState::Gone(BootTime(dice.next())),
        },
        shown: BootTime(dice.next()),
    }
}

pub(crate) fn what(number: u64, dice: &mut Dice) -> Use {
    match dice.below(4) {
        0 => Use::Leased(sandbox(number)),
        1 => Use::Cooling(Cooldown {
            boot: BootId::new("boot-0"),
            since: BootTime(dice.next()),
            period_ms: 30_000,
        }),
        2 => Use::Suspect(Suspicion::MaybeInUse),
        _ => Use::Suspect(Suspicion::LedgerRebuilt),
    }
}

pub(crate) fn lease(number: u64, dice: &mut Dice) -> Lease {
    Lease {
        sandbox: sandbox(number),
        pod: PodRef {
            namespace: "kube-system".to_owned(),
            name: format!("coredns-{number}"),
            uid: dice.coin().then(|| format!("uid-{number}")),
        },
        netns: NetnsRef { path: format!("/run/netns/cni-{number}"), inode: dice.next() },
        faces: (0..=number / 30).map(|card| face(number + card)).collect(),
        phase: [LeasePhase::Pending, LeasePhase::Active, LeasePhase::Releasing][dice.below(3) as usize],
        created: WallTime(dice.next()),
    }
}

fn face(number: u64) -> Face {
    Face {
        ifname: "eth0".to_owned(),
        address: ip(number),
        eni: eni_id(number % 8),
        place: place(number % 8),
        host_veth: format!("eni{number:011x}"),
        host_mac: mac(number),
        mtu: 9001,
    }
}

fn ask(dice: &mut Dice) -> Ask {
    let unit = if dice.coin() { Unit::Prefix } else { Unit::Address };
    // Nobody asks for nothing.
    Ask { unit, count: 1 + u32::try_from(dice.below(50)).expect("small") }
}

pub(crate) fn intent(number: u64, dice: &mut Dice) -> Intent {
    let eni = eni_id(number % 8);
    let attachment = AttachmentId::new("eni-attach-1");
    let tags: BTreeMap<String, String> = (0..dice.below(4))
        .map(|tag| (format!("tag-{tag}"), format!("\u{e4}\u{f6} {}", dice.next())))
        .collect();
    Intent {
        id: intent_id(number),
        change: match dice.below(7) {
            0 => CloudChange::CreateEni {
                subnet: SubnetId::new("subnet-1"),
                security_groups: vec![SecurityGroupId::new("sg-1")],
                ask: ask(dice),
                slot: slot(number % 8),
                description: "aws-K8S-i-0123456789abcdef0".to_owned(),
                tags,
            },
            1 => CloudChange::AttachEni { eni, instance: InstanceId::new("i-1"), slot: slot(number % 8) },
            2 => CloudChange::SetDeleteOnTermination { eni, attachment },
            3 => CloudChange::Assign { eni, ask: ask(dice) },
            4 => CloudChange::Unassign { eni, nets: (0..dice.below(9)).map(net).collect() },
            5 => CloudChange::DetachEni { eni, attachment },
            _ => CloudChange::DeleteEni { eni },
        },
        sending: [Sending::MaybeSent, Sending::NeverSent, Sending::Unanswered][dice.below(3) as usize],
        planned: WallTime(dice.next()),
    }
}

pub(crate) fn settings(number: u64) -> ClusterSettings {
    let layer = |place| SettingsLayer {
        place,
        values: (0..number % 5)
            .map(|nth| {
                (
                    format!("VARIABLE_{nth}"),
                    SettingText { key: format!("key-{nth}"), text: number.to_string() },
                )
            })
            .collect(),
    };
    let groups = (0..number % 3).map(|nth| layer(SettingsPlace::NodeGroup(format!("group-{nth}"))));
    let of_all = layer(SettingsPlace::ConfigMap("amazon-vpc-cni".to_owned()));
    ClusterSettings { layers: std::iter::once(of_all).chain(groups).collect() }
}

pub(crate) fn type_limits(number: u64) -> ToldLimits {
    let figure = u32::try_from(number).expect("small");
    let limits = InstanceLimits {
        enis: (0..figure % 5).collect(),
        ipv4_per_eni: figure,
        ipv6_per_eni: (figure % 3 != 0).then_some(figure),
        hypervisor: [None, Some(Hypervisor::Nitro), Some(Hypervisor::Xen), Some(Hypervisor::BareMetal)]
            [number as usize % 4],
    };
    ToldLimits { instance_type: format!("z{number}.large"), limits }
}

/// One change of any kind, over few enough keys that later ones meet earlier ones.
pub(crate) fn change(dice: &mut Dice) -> Change {
    let number = dice.below(40);
    match dice.below(16) {
        0 => Change::PutNode(node(number)),
        1 => Change::PutEni(eni(number % 8, dice)),
        2 => Change::DropEni(eni_id(number % 8)),
        3 => Change::PutBlock(block(number, dice)),
        4 => Change::DropBlock(net(number)),
        5 => Change::PutLease(lease(number, dice)),
        6 => Change::DropLease(sandbox(number)),
        7 => Change::PutIntent(intent(number, dice)),
        8 => Change::DropIntent(intent_id(number)),
        9 => Change::PutSubnet(subnet(number % 8, dice)),
        10 => Change::DropSubnet(SubnetId::new(format!("subnet-{}", number % 8))),
        11 => Change::PutUse(ip(number), what(number, dice)),
        12 => Change::DropUse(ip(number)),
        13 => Change::PutSettings(settings(number)),
        14 => Change::PutTypeLimits(type_limits(number)),
        _ => Change::Journal(JournalEntry { at: NOW, what: format!("event {number}") }),
    }
}

/// Commits of one to six changes.
pub(crate) fn script(seed: u64, commits: usize) -> Vec<Vec<Change>> {
    let mut dice = Dice(seed);
    (0..commits).map(|_| (0..=dice.below(6)).map(|_| change(&mut dice)).collect()).collect()
}

/// The changes that make a node with three ENIs and this many leased pods.
pub(crate) fn full_node(pods: u64) -> Vec<Change> {
    let mut dice = Dice(pods);
    let mut changes = vec![Change::PutNode(node(0))];
    changes.extend((0..3).map(|number| Change::PutEni(eni(number, &mut dice))));
    for pod in 0..pods {
        let lease = lease(pod, &mut dice);
        changes.push(Change::PutBlock(Block { net: ip(pod).into(), ..block(pod, &mut dice) }));
        changes.push(Change::PutUse(ip(pod), Use::Leased(lease.sandbox.clone())));
        changes.push(Change::PutLease(lease));
    }
    changes
}

/// What changes add up to.
pub(crate) fn ledger_of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.apply_all(changes);
    ledger
}

/// The journal entries among changes.
pub(crate) fn journal_of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Vec<JournalEntry> {
    changes
        .into_iter()
        .filter_map(|change| match change {
            Change::Journal(entry) => Some(entry.clone()),
            _ => None,
        })
        .collect()
}

/// A folder in memory where there is one: for tests that open thousands of files and prove nothing by syncing.
pub(crate) fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_none| tempfile::tempdir()).expect("a folder")
}
