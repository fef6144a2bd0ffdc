//! Views of EC2 that are late, partial or stand still, and ENIs that others take away.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_sim::fault::{Fault, FaultId, FaultKind};
use holdfast_sim::vpc::request::ModifyNetworkInterfaceAttribute;
use holdfast_sim::vpc::{Action, Caller, EniId, ErrorCode, Tags};

use super::{Second, all_are_reached, come, counted, dying_after, given, go, second, taken_away};
use crate::box_of::{one_node, warm};
use crate::disk::Disk;
use crate::node::{Node, Outcome};
use crate::steps::Steps;

/// Metadata remembers for so long. The box keeps no older view than ten minutes.
const REMEMBERED: Duration = Duration::from_secs(500);

/// The node's metadata service does this from now on.
fn metadata(node: &Node, kind: FaultKind) -> FaultId {
    let fault = Fault::new(kind).of_instance(&node.instance);
    node.shared.now(|vpc| vpc.set_fault(fault)).unwrap()
}

/// Whether the fault has ever changed what was told.
fn has_hit(node: &Node, fault: FaultId) -> bool {
    node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied()).unwrap_or(0) > 0
}

/// What this node's daemon asked EC2 to change about an ENI.
fn changes_of(node: &Node, eni: EniId) -> Vec<String> {
    let caller = Caller::instance(&node.instance);
    node.shared.now(|vpc| {
        let changes = vpc.log().by(&caller).filter(|call| !call.action.is_read());
        let words = changes.map(|call| format!("{:?}", call.request));
        words.filter(|words| words.contains(eni.as_str())).collect()
    })
}

#[test]
pub(crate) fn cni_391_no_pod_gets_an_address_of_an_eni_that_somebody_deleted() {
    let node = one_node("m5.large", warm(0, 3, 0), 391);
    node.live(&Steps::default(), async |life| {
        let given = come(&life, &node, "old", 14).await;
        life.quiet().await;
        let eni = second(&node);
        // Some of its addresses rest, and the others are free.
        for (number, address) in
            given.iter().enumerate().filter(|(_, address)| eni.addresses.contains(address))
        {
            life.del(&format!("old{number}")).await;
            assert!(eni.addresses.contains(address));
        }
        taken_away(&node, &eni).await;
        let new = come(&life, &node, "new", 15).await;
        let dead: Vec<&IpAddr> = new.iter().filter(|address| eni.addresses.contains(*address)).collect();
        assert!(dead.is_empty(), "{dead:?} were the deleted ENI's");
        all_are_reached(&node, Duration::from_secs(400)).await;
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}

/// The peer knew nothing but metadata after the reboot: here too, in the second round.
#[test]
pub(crate) fn cni_732_addresses_of_a_half_removed_eni_go_to_nobody_after_a_reboot() {
    for lost in [false, true] {
        let mut node = one_node("m5.large", warm(0, 2, 0), 732);
        let remembers = metadata(&node, FaultKind::ImdsRemembers { for_: REMEMBERED });
        let in_use = ErrorCode::NetworkInterfaceInUse;
        let message = "Network interface is currently in use".to_owned();
        let in_use = Fault::new(FaultKind::ErrorInstead { code: in_use, message });
        let in_use = in_use.on(Action::DeleteNetworkInterface).of_instance(&node.instance);
        let in_use = node.shared.now(|vpc| vpc.set_fault(in_use)).unwrap();
        let mut half = None;
        let outcome = node.live(&dying_after("after DeleteNetworkInterface"), async |life| {
            come(&life, &node, "old", 12).await;
            life.quiet().await;
            half = Some(second(&node));
            go(&life, "old", 12).await;
            std::future::pending::<()>().await;
        });
        assert_eq!(outcome.unwrap(), Outcome::Killed);
        assert!(has_hit(&node, in_use));
        let half = half.unwrap();
        node.reboot();
        if lost {
            node.disk = Disk::default();
        }
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "new", 12).await;
            let ledger = life.engine.dump().await.unwrap().ledger;
            let on_it =
                ledger.leases.values().filter(|lease| lease.faces[0].eni.as_str() == half.id.as_str());
            let on_it: Vec<_> = on_it.collect();
            // It may have been attached again, which EC2 has shown then.
            let attached =
                node.shared.cloud_of(&node.instance).enis.into_iter().any(|eni| eni.id == half.id.as_str());
            assert!(on_it.is_empty() || attached, "lost: {lost}: {on_it:?}");
            all_are_reached(&node, Duration::from_secs(120)).await;
            node.shared.now(|vpc| vpc.clear_fault(in_use));
            all_are_reached(&node, Duration::from_secs(600)).await;
            assert!(has_hit(&node, remembers));
        })
        .unwrap();
        // Who has no ledger lists what hangs about at a start, and else every few hours.
        node.live(&Steps::default(), async |life| {
            all_are_reached(&node, Duration::from_secs(900)).await;
            assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new(), "lost: {lost}");
        })
        .unwrap();
    }
}

/// A node whose second ENI the daemon has deleted, and whose metadata service goes on listing it.
async fn of_a_ghost(node: &Node, life: &crate::node::Life) -> Second {
    come(life, node, "old", 12).await;
    life.quiet().await;
    let ghost = second(node);
    // The first nine are on the primary, and so are the two that stay.
    for number in 2..12 {
        life.del(&format!("old{number}")).await;
    }
    let is_there = || {
        let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces());
        enis.iter().any(|eni| eni.network_interface_id == ghost.id)
    };
    for _ in 0..600 {
        if !is_there() {
            return ghost;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the second ENI was not given back");
}

/// With the ledger, and without it: the peer had none of ENIs.
#[test]
pub(crate) fn cni_1340_a_deleted_eni_in_metadata_is_no_obstacle_to_a_start() {
    for lost in [false, true] {
        let mut node = one_node("m5.large", warm(0, 2, 0), 1340);
        let remembers = metadata(&node, FaultKind::ImdsRemembers { for_: REMEMBERED });
        let mut ghost = None;
        node.live(&Steps::default(), async |life| ghost = Some(of_a_ghost(&node, &life).await)).unwrap();
        let ghost = ghost.unwrap();
        // What is to be refreshed at a start.
        node.shared.now(|vpc| {
            let net = vpc.authoritative().vpcs()[0].vpc_id;
            let group = vpc.add_security_group(&net, "stricter", Tags::new()).unwrap();
            let network_interface_id = vpc.primary_eni(&node.instance).unwrap();
            let groups = vec![group];
            vpc.foreign(ModifyNetworkInterfaceAttribute {
                network_interface_id,
                groups,
                ..ModifyNetworkInterfaceAttribute::default()
            })
            .unwrap();
        });
        if lost {
            node.disk = Disk::default();
        }
        let before = changes_of(&node, ghost.id).len();
        node.live(&Steps::default(), async |life| {
            let asked = tokio::time::Instant::now();
            come(&life, &node, "first", 1).await;
            assert!(asked.elapsed() < Duration::from_secs(5), "lost: {lost}: {:?}", asked.elapsed());
            // On the primary, which is full then, and on an ENI that is made for them.
            come(&life, &node, "new", 9).await;
            all_are_reached(&node, Duration::from_secs(900)).await;
            let asked = &changes_of(&node, ghost.id)[before..];
            assert!(asked.is_empty(), "lost: {lost}: {asked:?}");
            assert!(has_hit(&node, remembers));
            assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new(), "lost: {lost}");
        })
        .unwrap();
    }
}

#[test]
pub(crate) fn cni_1479_a_freed_eni_that_metadata_lists_is_not_taken_back() {
    let node = one_node("m5.large", warm(0, 2, 0), 1479);
    let remembers = metadata(&node, FaultKind::ImdsRemembers { for_: REMEMBERED });
    let mut ghost = None;
    let adopted = |ledger: &holdfast_model::ledger::Ledger, id: EniId| {
        let mut enis = ledger.enis.values().filter(|eni| eni.id.as_str() == id.as_str());
        enis.any(|eni| eni.attachment().is_some())
    };
    node.live(&Steps::default(), async |life| {
        let freed = of_a_ghost(&node, &life).await;
        let called = node.calls();
        // Metadata is looked at every 80 s.
        for _ in 0..18 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let ledger = life.engine.dump().await.unwrap().ledger;
            assert!(!adopted(&ledger, freed.id));
            assert_eq!(counted(&ledger), given(&node).len());
        }
        assert!(node.calls() - called <= 6, "{} calls in six minutes", node.calls() - called);
        assert!(has_hit(&node, remembers));
        ghost = Some(freed);
    })
    .unwrap();
    let ghost = ghost.unwrap();
    node.live(&Steps::default(), async |life| {
        // Its place is free for another one.
        come(&life, &node, "new", 20).await;
        all_are_reached(&node, Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert!(!adopted(&ledger, ghost.id));
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// With the ledger, and without it: then the kernel alone knows of the pods.
#[test]
pub(crate) fn cni_1967_an_eni_that_metadata_lacks_keeps_its_pods() {
    for lost in [false, true] {
        let mut node = one_node("m5.large", warm(0, 2, 0), 1967);
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "old", 12).await;
            life.quiet().await;
        })
        .unwrap();
        let eni = second(&node);
        let before = changes_of(&node, eni.id).len();
        let lacks = metadata(&node, FaultKind::ImdsOmitsEni { eni: Some(eni.id) });
        if lost {
            node.disk = Disk::default();
        }
        node.live(&Steps::default(), async |life| {
            all_are_reached(&node, Duration::from_secs(600)).await;
            assert!(has_hit(&node, lacks));
            node.shared.now(|vpc| vpc.clear_fault(lacks));
            all_are_reached(&node, Duration::from_secs(900)).await;
            let calls = node.calls_by_action();
            for action in [Action::DetachNetworkInterface, Action::DeleteNetworkInterface] {
                assert_eq!(calls.get(&action), None, "lost: {lost}");
            }
            assert_eq!(
                changes_of(&node, eni.id).len(),
                before,
                "lost: {lost}: {:?}",
                changes_of(&node, eni.id)
            );
            come(&life, &node, "new", 15).await;
            let ledger = life.quiet().await;
            assert_eq!((ledger.leases.len(), node.faults(&ledger)), (27, Vec::new()), "lost: {lost}");
        })
        .unwrap();
    }
}

/// What is given back goes to others, so that what comes instead is something else.
fn occupy(node: &Node, addresses: &BTreeSet<std::net::Ipv4Addr>) {
    let addresses: Vec<_> = addresses.iter().copied().collect();
    node.shared.now(|vpc| {
        let subnet = vpc.authoritative().subnets()[0].subnet_id;
        vpc.occupy(&subnet, &addresses).unwrap();
    });
}

#[test]
pub(crate) fn cni_3019_metadata_that_stands_still_with_equal_counts_costs_no_address() {
    let node = one_node("m5.large", warm(0, 2, 0), 3019);
    node.live(&Steps::default(), async |life| {
        come(&life, &node, "old", 6).await;
        life.quiet().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let frozen = metadata(&node, FaultKind::ImdsFrozen);
        let then = given(&node);
        go(&life, "old", 2).await;
        while given(&node).len() == then.len() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        life.quiet().await;
        let ghosts: BTreeSet<_> = then.difference(&given(&node)).copied().collect();
        occupy(&node, &ghosts);
        come(&life, &node, "new", 2).await;
        life.quiet().await;
        let now = given(&node);
        assert_eq!(now.len(), then.len(), "as many as before");
        assert!(now.is_disjoint(&ghosts), "and others");
        for _ in 0..6 {
            all_are_reached(&node, Duration::from_secs(900)).await;
            let ledger = life.engine.dump().await.unwrap().ledger;
            assert_eq!((counted(&ledger), given(&node)), (now.len(), now.clone()));
        }
        assert!(has_hit(&node, frozen));
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
    // Nor does the next process believe it.
    node.live(&Steps::default(), async |life| {
        come(&life, &node, "late", 9).await;
        all_are_reached(&node, Duration::from_secs(900)).await;
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}
