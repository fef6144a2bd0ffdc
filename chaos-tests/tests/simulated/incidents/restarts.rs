//! Restarts: what the next process knows of pods, rests and what went back.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::uses::Use;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;
use tokio::time::Instant;

use super::{all_are_reached, come, given, go};
use crate::box_of::{one_node, warm};
use crate::crash::quiet_deaths;
use crate::disk::Disk;
use crate::node::Outcome;
use crate::steps::Steps;

/// What an m5.large carries.
const FULL: usize = 27;

/// With the ledger and without it: the peer had none.
#[test]
pub(crate) fn cni_711_a_restart_with_an_empty_list_of_pods_gives_no_live_address_again() {
    for lost in [false, true] {
        let mut node = one_node("m5.large", warm(1, 0, 0), 1711);
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "old", 6).await;
            life.quiet().await;
        })
        .unwrap();
        if lost {
            node.disk = Disk::default();
        }
        node.live(&Steps::default(), async |life| {
            life.engine.gc("aws-cni".to_owned(), BTreeSet::new()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            life.gc().await;
            tokio::time::sleep(Duration::from_secs(90)).await;
            come(&life, &node, "new", FULL - 6).await;
            all_are_reached(&node, Duration::from_secs(60)).await;
            let refused = life.add("more", "more").await.unwrap_err().to_string();
            assert!(refused.contains("m5.large"), "{refused}");
            life.del("more").await;
            let ledger = life.quiet().await;
            assert_eq!((ledger.leases.len(), node.faults(&ledger)), (FULL, Vec::new()), "lost: {lost}");
        })
        .unwrap();
    }
}

#[test]
pub(crate) fn cni_712_what_was_in_use_at_a_restart_serves_again_after_its_del() {
    let node = one_node("m5.large", warm(1, 0, 0), 1712);
    node.live(&Steps::default(), async |life| {
        come(&life, &node, "pod0-", FULL).await;
        life.quiet().await;
    })
    .unwrap();
    let had = given(&node);
    for round in 0..3 {
        node.live(&Steps::default(), async |life| {
            go(&life, &format!("pod{round}-"), FULL).await;
            let begun = Instant::now();
            come(&life, &node, &format!("pod{}-", round + 1), FULL).await;
            assert!(
                begun.elapsed() < Duration::from_secs(45),
                "no longer than the rest: {:?}",
                begun.elapsed()
            );
            let ledger = life.quiet().await;
            assert_eq!((ledger.leases.len(), node.faults(&ledger)), (FULL, Vec::new()), "round {round}");
            assert_eq!(given(&node), had, "EC2 was asked for nothing");
            assert!(!ledger.uses.values().any(|what| matches!(what, Use::Suspect(_))), "{:?}", ledger.uses);
        })
        .unwrap();
    }
}

/// How the daemon goes, a second after the pod has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    InOrder,
    Killed,
    WithTheNode,
}

/// The type has two addresses for pods, so that the next pod gets the one that rests.
#[test]
pub(crate) fn cni_1127_an_address_rests_in_full_whatever_becomes_of_the_daemon() {
    quiet_deaths();
    for goes in [Goes::InOrder, Goes::Killed, Goes::WithTheNode] {
        let mut node = one_node("t3.nano", warm(1, 0, 0), 11270);
        let steps = Steps::default();
        let mut freed = None;
        let outcome = node.live(&steps, async |life| {
            let had = come(&life, &node, "old", 2).await;
            life.quiet().await;
            life.del("old0").await;
            freed = Some((had[0], Instant::now()));
            tokio::time::sleep(Duration::from_secs(1)).await;
            if goes != Goes::InOrder {
                steps.kill();
                std::future::pending::<()>().await;
            }
        });
        assert_eq!(outcome.unwrap() == Outcome::Killed, goes != Goes::InOrder);
        if goes == Goes::WithTheNode {
            node.reboot();
        }
        let (address, at) = freed.unwrap();
        node.live(&Steps::default(), async |life| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let wanted = if goes == Goes::WithTheNode { 2 } else { 1 };
            let mut got = Vec::new();
            for number in 0..wanted {
                let lease = life.add("new", &format!("new{number}")).await.unwrap();
                got.push(lease.faces[0].address);
                assert!(
                    lease.faces[0].address != address || at.elapsed() >= Duration::from_secs(30),
                    "{goes:?}"
                );
            }
            assert!(got.contains(&address), "{goes:?}: there is no other: {got:?}");
            assert!(
                at.elapsed() < Duration::from_secs(62),
                "{goes:?}: nor is it kept longer: {:?}",
                at.elapsed()
            );
            assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new(), "{goes:?}");
        })
        .unwrap();
    }
}

/// The last of the releases has the file or has none, as where the one before never wrote it.
#[test]
pub(crate) fn cni_e150b8e04_two_releases_over_a_quiet_node_forget_no_pod() {
    quiet_deaths();
    for lost in [false, true] {
        let mut node = one_node("m5.large", warm(1, 0, 0), 15008);
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "old", 12).await;
            life.quiet().await;
        })
        .unwrap();
        // A release that sees no pod come or go, and ends as releases end.
        let steps = Steps::default();
        let outcome = node.live(&steps, async |_| {
            all_are_reached(&node, Duration::from_secs(300)).await;
            steps.kill();
            std::future::pending::<()>().await;
        });
        assert_eq!(outcome.unwrap(), Outcome::Killed);
        node.disk.lose_power();
        assert_eq!(node.disk.ledger_after_power_cut().leases.len(), 12);
        if lost {
            node.disk = Disk::default();
        }
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "new", FULL - 12).await;
            all_are_reached(&node, Duration::from_secs(300)).await;
            let ledger = life.quiet().await;
            assert_eq!((ledger.leases.len(), node.faults(&ledger)), (FULL, Vec::new()), "lost: {lost}");
        })
        .unwrap();
    }
}

/// With the ledger, which knows what went back, and without it.
#[test]
pub(crate) fn cni_3887_after_a_restart_no_pod_gets_an_address_that_was_given_back() {
    for lost in [false, true] {
        let mut node = one_node("m5.large", warm(0, 2, 0), 13887);
        let remembers = Fault::new(FaultKind::ImdsRemembers { for_: Duration::from_secs(500) })
            .of_instance(&node.instance);
        let fault = node.shared.now(|vpc| vpc.set_fault(remembers)).unwrap();
        let mut ghosts = BTreeSet::new();
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "old", 7).await;
            let had = given(&node);
            go(&life, "old", 5).await;
            while !node.calls_by_action().contains_key(&Action::UnassignPrivateIpAddresses) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            ghosts = had.difference(&given(&node)).copied().collect();
            assert!(ghosts.len() >= 3, "{ghosts:?}");
            // EC2 has other uses for them.
            let taken: Vec<_> = ghosts.iter().copied().collect();
            node.shared.now(|vpc| {
                let subnet = vpc.authoritative().subnets()[0].subnet_id;
                vpc.occupy(&subnet, &taken).unwrap();
            });
        })
        .unwrap();
        if lost {
            node.disk = Disk::default();
        }
        node.live(&Steps::default(), async |life| {
            // At once: nothing but metadata can have been seen.
            for address in come(&life, &node, "new", 12).await {
                assert!(!ghosts.iter().any(|ghost| address == *ghost), "lost: {lost}: {address}");
            }
            all_are_reached(&node, Duration::from_secs(300)).await;
            assert!(node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied()).unwrap_or(0) > 0);
            assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new(), "lost: {lost}");
            assert_eq!(life.engine.status().await, Ok(Status::Ready));
        })
        .unwrap();
    }
}
