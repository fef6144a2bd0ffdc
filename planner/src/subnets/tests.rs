use holdfast_model::config::{Config, Setting};
use holdfast_model::ids::InstanceId;
use holdfast_model::ledger::Change;
use holdfast_model::time::BootTime;

use super::*;
use crate::PauseScope;
use crate::toy::subnet::tagged;
use crate::toy::{identity, now_at};

fn view(id: &str, free: u32, tags: &[(&str, &str)]) -> SubnetView {
    let ipv4 = Some("10.0.0.0/18".parse().unwrap());
    SubnetView { id: SubnetId::new(id), ipv4, free, tags: tagged(tags) }
}

fn seen(views: &[SubnetView]) -> Observed {
    let mut observed = Observed::default();
    observed.subnets.take(views, BootTime(1000), false);
    observed
}

fn found(views: &[SubnetView], cluster: Option<&str>) -> (Vec<String>, Vec<String>) {
    let cluster = Setting::from_environment(cluster.map(str::to_owned));
    let config = Config { cluster, ..Config::default() };
    let desired = Desired { config: &config, limits: None };
    match Tagged::of(&desired, &seen(views), &identity("m5.large"), &now_at(2000)) {
        Tagged::Seen { usable, excluded } => (
            usable.iter().map(|candidate| candidate.subnet.to_string()).collect(),
            excluded.iter().map(ToString::to_string).collect(),
        ),
        other => panic!("{other:?}"),
    }
}

/// The table of the reference, 2.5: the role's tag, tags for clusters, our cluster's name; then whether the node's own subnet
/// serves, and whether another one does.
#[test]
fn tags_say_which_subnets_are_for_pods() {
    const OURS: (&str, &str) = ("cni.networking.k8s.aws/cluster/ours", "whatever");
    const THEIRS: (&str, &str) = ("cni.networking.k8s.aws/cluster/theirs", "1");
    let role = |value: &'static str| ("kubernetes.io/role/cni", value);
    for (tags, cluster, own, other) in [
        (vec![], Some("ours"), true, false),
        (vec![role("")], Some("ours"), true, false),
        (vec![THEIRS], Some("ours"), true, false),
        (vec![role("0")], Some("ours"), false, false),
        (vec![role("0"), OURS], Some("ours"), false, false),
        (vec![role("1")], Some("ours"), true, true),
        (vec![role("1")], None, true, true),
        (vec![role("1"), OURS], Some("ours"), true, true),
        (vec![role("1"), OURS, THEIRS], Some("ours"), true, true),
        (vec![role("yes"), THEIRS], Some("ours"), false, false),
        (vec![role("1"), THEIRS], None, true, true),
    ] {
        // One that serves in any case.
        let third = view("subnet-3", 1, &[role("1")]);
        let (usable, excluded) = found(&[view("subnet-1", 50, &tags), third.clone()], cluster);
        assert_eq!(usable.contains(&"subnet-1".to_owned()), own, "own, {tags:?} {cluster:?}");
        assert_eq!(excluded.contains(&"subnet-1".to_owned()), !own, "own, {tags:?} {cluster:?}");
        let (usable, _) = found(&[view("subnet-1", 9, &[]), view("subnet-2", 50, &tags), third], cluster);
        assert_eq!(usable.contains(&"subnet-2".to_owned()), other, "other, {tags:?} {cluster:?}");
    }
}

#[test]
fn the_one_with_most_free_addresses_comes_first_and_a_tie_is_decided() {
    let role = [("kubernetes.io/role/cni", "1")];
    let views = [
        view("subnet-1", 50, &[]),
        view("subnet-3", 900, &role),
        view("subnet-2", 900, &role),
        view("subnet-4", 70, &role),
    ];
    assert_eq!(found(&views, None).0, ["subnet-2", "subnet-3", "subnet-4", "subnet-1"]);
}

/// As where it is of another account: nobody said that it is not to be used.
#[test]
fn the_nodes_own_subnet_serves_when_ec2_does_not_show_it() {
    assert_eq!(found(&[], None).0, ["subnet-1"]);
}

#[test]
fn before_subnets_were_read_it_is_not_known_and_without_leave_they_are_not_asked_for() {
    let config = Config::default();
    let desired = Desired { config: &config, limits: None };
    let node = identity("m5.large");
    let mut observed = Observed::default();
    let of = |observed: &Observed| Tagged::of(&desired, observed, &node, &now_at(10));
    assert_eq!(of(&observed), Tagged::Unread(Refusal::NotReadYet));
    let read = read_of(&node);
    let throttled = Some(crate::Fault::Throttled { retry_after: Some(Duration::from_secs(3)) });
    observed.read_failed(&read, BootTime(9000), throttled, "slow", &now_at(10), 7);
    assert_eq!(of(&observed), Tagged::Unread(Refusal::Throttled { api: Api::DescribeSubnets }));
    let mut observed = Observed::default();
    observed.read_failed(&read, BootTime(9000), Some(crate::Fault::Denied), "no", &now_at(10), 7);
    assert_eq!(of(&observed), Tagged::NotAllowed);
}

#[test]
fn a_subnet_is_left_while_it_has_some() {
    let of = |length: u8, free: u32| {
        let ipv4 = Some(format!("10.0.0.0/{length}").parse().unwrap());
        Candidate::of(&SubnetView { ipv4, ..view("subnet-2", free, &[]) }, true)
    };
    for (length, kept) in [(28, 16), (24, 16), (20, 256), (18, 512), (16, 512)] {
        assert!(of(length, kept + 9).runs_low(10), "/{length}");
        assert!(!of(length, kept + 10).runs_low(10), "/{length}");
    }
    assert!(!Candidate::unseen(SubnetId::new("subnet-1")).runs_low(u32::MAX), "nobody told");
}

#[test]
fn an_older_answer_that_comes_late_is_not_taken_in() {
    let mut observed = seen(&[view("subnet-1", 50, &[])]);
    let before = observed.clone();
    observed.subnets.take(&[], BootTime(500), false);
    assert_eq!(observed, before);
}

/// When it is old, and another ENI is being made; and while one is full, at growing distances.
#[test]
fn it_is_read_again_when_there_is_a_reason() {
    let node = identity("m5.large");
    assert_eq!(node.instance, InstanceId::new("i-1"));
    let config = Config::default();
    let desired = Desired { config: &config, limits: None };
    let two = [view("subnet-1", 50, &[]), view("subnet-2", 9, &[])];
    let mut observed = seen(&two);
    let mut ledger = Ledger::default();
    let boot = now_at(1).boot;
    ledger.apply(&Change::PutNode(holdfast_model::node::NodeRecord { identity: node.clone(), boot }));
    let due = |observed: &Observed, ledger: &Ledger, seconds: u64| {
        let now = now_at(seconds);
        let period = Duration::from_secs(6 * 3600);
        let agenda = &mut Agenda::new(&now);
        read_due(&desired, ledger, observed, period, false, &now, agenda).is_some()
    };
    assert!(!due(&observed, &ledger, 21_600) && due(&observed, &ledger, 21_601), "with the periodic reads");
    let full = crate::Setback::of(
        Api::CreateNetworkInterface,
        PauseScope::Api,
        Some(&crate::Fault::SubnetFull),
        "full",
        Some(&SubnetId::new("subnet-1")),
    );
    let mut began = 1;
    for distance in [60, 120, 240, 480, 960, 1800, 1800] {
        let at = now_at(began + 30);
        observed.pauses.setback(&full, at.boottime, &at, 0);
        assert!(!due(&observed, &ledger, began + distance - 1), "after {distance}");
        assert!(due(&observed, &ledger, began + distance), "after {distance}");
        began += distance;
        observed.subnets_shown(&read_of(&node), &two, now_at(began).boottime, &ledger);
    }
    assert!(!due(&observed, &ledger, began + 1900), "none was full since");
    let created = holdfast_model::intent::Intent {
        id: holdfast_model::ids::IntentId(uuid::Uuid::from_u128(1)),
        change: CloudChange::CreateEni {
            subnet: SubnetId::new("subnet-1"),
            security_groups: Vec::new(),
            ask: holdfast_model::block::Ask::addresses(1),
            slot: holdfast_model::eni::EniSlot { card: 0, device: 1 },
            description: String::new(),
            tags: BTreeMap::new(),
        },
        sending: holdfast_model::intent::Sending::MaybeSent,
        planned: holdfast_model::time::WallTime(0),
    };
    ledger.apply(&holdfast_model::ledger::Change::PutIntent(created));
    assert!(due(&observed, &ledger, began + 60) && !due(&observed, &ledger, began + 59));
    observed.subnets.take(&two[..1], now_at(began).boottime, false);
    assert!(!due(&observed, &ledger, began + 60), "there is nothing to choose");
}

/// All of them are named, and while one gives nothing is.
#[test]
fn several_that_are_full_are_all_named() {
    let candidates = ["subnet-1", "subnet-2"].map(|id| Candidate::unseen(SubnetId::new(id)));
    let mut observed = Observed::default();
    let now = now_at(10);
    for candidate in &candidates {
        assert_eq!(all_full(&candidates, &observed, &now), None);
        let api = Api::CreateNetworkInterface;
        let full = Some(crate::Fault::SubnetFull);
        let setback =
            crate::Setback::of(api, PauseScope::Api, full.as_ref(), "full", Some(&candidate.subnet));
        observed.pauses.setback(&setback, now.boottime, &now, 1000);
    }
    let subnets = candidates.clone().map(|candidate| candidate.subnet).to_vec();
    assert_eq!(all_full(&candidates, &observed, &now), Some(Refusal::SubnetsFull { subnets }));
    assert_eq!(all_full(&candidates[..1], &observed, &now), None, "one says it by itself");
}
