//! The metadata service shows what EC2 does not: an address that EC2 does not show on the ENI is never leased, and what
//! the metadata service leaves out is never taken for gone.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, RunningPod, scenario};
use holdfast_chaos_tests::sabotage;
use holdfast_model::ledger::Ledger;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::request::{AssignPrivateIpAddresses, UnassignPrivateIpAddresses};

/// A little longer than the planner's own figure (`adopt::ABSENCE_BELIEVED_AFTER`, 30 s).
const ABSENCE_BELIEVED_AFTER: Duration = Duration::from_secs(31);

/// Seconds, and longer than it takes until what a new ledger is first shown by EC2 is proven.
const PROVEN_AFTER: &str = "45";

fn one_node() -> (Rig, NodeUnderTest) {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("HOLDFAST_ADD_HOLD", "5").set("IP_COOLDOWN_PERIOD", "1");
    (rig, node)
}

/// The secondary addresses of the node's ENIs, in truth.
fn truth(rig: &Rig, node: &NodeUnderTest) -> BTreeSet<Ipv4Addr> {
    let enis = rig.admin().enis_of(node.instance()).unwrap();
    enis.iter().flat_map(|eni| eni.secondary_ips().collect::<Vec<_>>()).collect()
}

/// What the metadata service shows.
fn shown(rig: &Rig, node: &NodeUnderTest) -> BTreeSet<Ipv4Addr> {
    let view = rig.admin().imds_view(node.instance()).unwrap();
    view.interfaces.iter().flat_map(|interface| interface.local_ipv4s.clone()).collect()
}

/// Adds pods until the instance is full, each checked as it comes.
fn add_until_full(rig: &Rig, node: &NodeUnderTest, most: usize) -> Vec<RunningPod> {
    let runner = node.runner();
    let mut pods: Vec<RunningPod> = Vec::new();
    for n in 0..most {
        let pod = rig.run_pod(&runner, &format!("pod-{n}")).unwrap();
        assert!(truth(rig, node).contains(&pod.address), "{} is not on an ENI of the node", pod.address);
        // What EC2 does not know is unreachable: the router proves it too.
        if let Some(first) = pods.first() {
            assert_eq!(pod.ask(first.address).unwrap(), pod.address);
        }
        pods.push(pod);
    }
    pods
}

/// Somebody takes three addresses away and assigns three others, so that the counts are equal.
fn swap(rig: &Rig, node: &NodeUnderTest) -> BTreeSet<Ipv4Addr> {
    let enis = rig.admin().enis_of(node.instance()).unwrap();
    let primary = enis.iter().find(|eni| eni.attachment.as_ref().unwrap().device_index == 0).unwrap();
    let taken: Vec<Ipv4Addr> = primary.secondary_ips().take(3).collect();
    assert_eq!(taken.len(), 3);
    rig.admin()
        .foreign(UnassignPrivateIpAddresses {
            network_interface_id: primary.network_interface_id,
            private_ip_addresses: taken.clone(),
            ..UnassignPrivateIpAddresses::default()
        })
        .unwrap();
    rig.admin()
        .foreign(AssignPrivateIpAddresses {
            network_interface_id: primary.network_interface_id,
            secondary_private_ip_address_count: Some(3),
            ..AssignPrivateIpAddresses::default()
        })
        .unwrap();
    let taken: BTreeSet<_> = taken.into_iter().collect();
    assert!(taken.is_disjoint(&truth(rig, node)), "the box gave other addresses");
    taken
}

/// F04, seen by a daemon that starts with nothing but the metadata service's old picture.
#[test]
fn a_frozen_metadata_service_gives_no_address_at_a_first_start() {
    let (rig, mut node) = one_node();
    node.start_ready().unwrap();
    node.wait_state("warm", |ledger| ledger.intents.is_empty() && ledger.blocks.len() >= 9).unwrap();
    assert!(node.terminate().unwrap().success());
    let begun = Instant::now();
    while !truth(&rig, &node).is_subset(&shown(&rig, &node)) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the metadata service lags for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    rig.admin().set_fault(&Fault::new(FaultKind::ImdsFrozen).of_instance(node.instance())).unwrap();
    let swapped = swap(&rig, &node);
    assert!(swapped.is_subset(&shown(&rig, &node)), "the metadata service still shows them");
    fs::remove_file(node.ledger()).unwrap();
    node.set("HOLDFAST_ADD_HOLD", PROVEN_AFTER);

    node.start_serving().unwrap();
    let pods = add_until_full(&rig, &node, 20);
    assert!(pods.iter().all(|pod| !swapped.contains(&pod.address)));
    // EC2's first answer may have been late, too: what it showed is given to nobody, and gone when that is surely over.
    let knows = |ledger: &Ledger| swapped.iter().any(|gone| ledger.block_of(IpAddr::V4(*gone)).is_some());
    node.wait_state("told by EC2", |ledger| !knows(ledger)).unwrap();
}

/// F04, seen by a daemon that starts with a ledger from before: what it held proven is looked at anew.
#[test]
fn a_swap_behind_the_daemons_back_is_seen_at_the_next_start() {
    let (rig, mut node) = one_node();
    node.start_ready().unwrap();
    node.wait_state("warm", |ledger| ledger.intents.is_empty() && ledger.blocks.len() >= 9).unwrap();
    assert!(node.terminate().unwrap().success());
    rig.admin().set_fault(&Fault::new(FaultKind::ImdsFrozen).of_instance(node.instance())).unwrap();
    let swapped = swap(&rig, &node);
    // Describes lag: that an address is missing is believed only some time after the daemon's own last change.
    std::thread::sleep(ABSENCE_BELIEVED_AFTER);
    node.start_serving().unwrap();
    node.wait_state("told by EC2", |ledger| !swapped.iter().any(|gone| ledger.is_held(IpAddr::V4(*gone))))
        .unwrap();
    let pods = add_until_full(&rig, &node, 12);
    assert!(pods.iter().all(|pod| !swapped.contains(&pod.address)));
}

/// F03: what the daemon itself gave back goes on being shown.
#[test]
fn an_address_given_back_stays_given_back_although_the_metadata_service_remembers_it() {
    let (rig, mut node) = one_node();
    node.set("WARM_IP_TARGET", "6").set("MINIMUM_IP_TARGET", "8");
    node.start_ready().unwrap();
    node.wait_state("warm", |ledger| ledger.intents.is_empty() && ledger.blocks.len() >= 8).unwrap();
    assert!(node.terminate().unwrap().success());
    let had = truth(&rig, &node);
    // With the lag and the lingering of the metadata service in life this is within what the box keeps.
    let remembers = FaultKind::ImdsRemembers { for_: Duration::from_secs(500) };
    rig.admin().set_fault(&Fault::new(remembers).of_instance(node.instance())).unwrap();
    node.set("WARM_IP_TARGET", "1").set("MINIMUM_IP_TARGET", "2");
    node.start_serving().unwrap();
    let released =
        |rig: &Rig, node: &NodeUnderTest| had.difference(&truth(rig, node)).copied().collect::<BTreeSet<_>>();
    node.wait_state("shrunk", |ledger| ledger.intents.is_empty() && !released(&rig, &node).is_empty())
        .unwrap();
    let given_back = released(&rig, &node);
    assert!(given_back.is_subset(&shown(&rig, &node)), "the metadata service still shows them");
    // The daemon forgets all it knew, and hears of them from the metadata service only.
    node.kill().unwrap();
    fs::remove_file(node.ledger()).unwrap();
    node.set("HOLDFAST_ADD_HOLD", PROVEN_AFTER);
    node.start_serving().unwrap();
    let pods = add_until_full(&rig, &node, 12);
    // EC2 may well assign one of them anew: then it shows it, which add_until_full has seen to.
    assert_eq!(pods.len(), 12);
}

/// F02: an attached ENI is left out.
#[test]
fn what_the_metadata_service_leaves_out_is_not_taken_for_gone() {
    let (rig, mut node) = one_node();
    node.start_ready().unwrap();
    let pods = add_until_full(&rig, &node, 14);
    let before =
        node.wait_state("warm", |ledger| ledger.intents.is_empty() && ledger.enis.len() == 3).unwrap();
    let omits = Fault::new(FaultKind::ImdsOmitsEni { eni: None }).of_instance(node.instance());
    rig.admin().set_fault(&omits).unwrap();
    let view = rig.admin().imds_view(node.instance()).unwrap();
    assert!(view.interfaces.len() < before.enis.len(), "the fault does not hit: {view:?}");
    rig.admin().reset().unwrap();
    node.kill().unwrap();
    node.start_serving().unwrap();
    // Its own look at EC2, at the start, is over when this is answered.
    node.wait_until("in touch with EC2", |_| !rig.admin().counts().unwrap().ec2.is_empty()).unwrap();
    // Until then an absence is not believed, whoever tells of it.
    std::thread::sleep(ABSENCE_BELIEVED_AFTER);
    assert!(!rig.admin().counts().unwrap().imds.is_empty(), "the metadata service was never asked");
    let after = node.state().unwrap();
    assert_eq!(after.enis.keys().collect::<Vec<_>>(), before.enis.keys().collect::<Vec<_>>());
    assert_eq!(after.leases, before.leases);
    let destructive: Vec<_> =
        rig.admin().calls().unwrap().into_iter().filter(|call| !call.action.is_read()).collect();
    assert!(destructive.is_empty(), "{destructive:#?}");
    for pod in &pods[1..] {
        assert_eq!(pod.ask(pods[0].address).unwrap(), pod.address);
    }
}

/// What a broken program makes of these tests.
#[test]
fn broken_programs_are_found() {
    sabotage::each_is_found(
        env!("CARGO_BIN_EXE_saboteur"),
        env!("CARGO_TARGET_TMPDIR"),
        &[(
            "a_frozen_metadata_service_gives_no_address_at_a_first_start",
            sabotage::GIVES_AN_UNKNOWN_ONE,
            &["is not on an ENI of the node"],
        )],
    );
}
