//! A ledger that has lost something, under running pods: none loses its path, no address is given twice or before it has
//! rested, and in the end all is right again.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_ports::Clock;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;

use crate::box_of::{one_node, warm};
use crate::disk::Disk;
use crate::node::{Life, Node};
use crate::steps::Steps;

const REST: Duration = Duration::from_secs(30);

async fn six_pods(life: &Life) {
    for number in 0..6 {
        life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
    }
    life.quiet().await;
}

/// Pods keep their paths for the next quarter of an hour; in the end everything is as it should be.
async fn all_keep_their_paths(life: &Life, node: &Node) {
    for second in 0..900 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let broken = node.broken_promises();
        assert!(broken.is_empty(), "after {second} s: {broken:?}");
    }
    let ledger = life.quiet().await;
    assert_eq!(node.faults(&ledger), Vec::<String>::new());
}

#[test]
fn describes_that_lag_behind_a_lost_ledger_cost_no_pod_its_path() {
    let mut node = one_node("m5.large", warm(0, 2, 0), 41);
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
    })
    .unwrap();
    node.disk = Disk::default();
    let lag = Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(10) });
    node.shared.now(|vpc| vpc.set_fault(lag)).unwrap();
    node.live(&Steps::default(), async |life| {
        life.add("new", "new").await.unwrap();
        all_keep_their_paths(&life, &node).await;
    })
    .unwrap();
}

/// Of this type the daemon must ask EC2, which does not tell for a while, or never.
#[test]
fn limits_that_are_not_told_cost_no_pod_its_path() {
    for times in [Some(3), None] {
        let mut node = one_node("z9.large", warm(0, 2, 0), 42);
        node.live(&Steps::default(), async |life| six_pods(&life).await).unwrap();
        node.disk = Disk::default();
        let deaf = Fault::new(FaultKind::Throttle).on(Action::DescribeInstanceTypes);
        let deaf = times.map_or(deaf.clone(), |times| deaf.times(times));
        let fault = node.shared.now(|vpc| vpc.set_fault(deaf)).unwrap();
        node.live(&Steps::default(), async |life| {
            for second in 0..300 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let broken = node.broken_promises();
                assert!(broken.is_empty(), "after {second} s: {broken:?}");
            }
            assert_eq!(life.engine.dump().await.unwrap().ledger.leases.len(), 6);
            node.shared.now(|vpc| vpc.clear_fault(fault));
            all_keep_their_paths(&life, &node).await;
        })
        .unwrap();
    }
}

/// Every address that was a pod's rests in full, although nobody knows any more that it was.
#[test]
fn an_address_rests_although_the_ledger_that_knew_it_is_lost() {
    let mut node = one_node("m5.large", warm(1, 0, 0), 43);
    let mut freed = None;
    node.live(&Steps::default(), async |life| {
        six_pods(&life).await;
        let address = node.pods()["c0"].address;
        life.del("c0").await;
        freed = address.map(|address| (address, node.clock.now().boottime));
    })
    .unwrap();
    let (freed, at): (IpAddr, _) = freed.unwrap();
    node.disk = Disk::default();
    node.live(&Steps::default(), async |life| {
        let mut again = None;
        for number in 0..20 {
            let lease = life.add(&format!("n{number}"), &format!("n{number}")).await.unwrap();
            if lease.faces[0].address == freed {
                again = Some(node.clock.now().boottime.since(at));
            }
        }
        assert!(again.is_none_or(|after| after >= REST), "{freed} was given again after {again:?}");
        all_keep_their_paths(&life, &node).await;
    })
    .unwrap();
}

/// A restored volume, or the copy that a downgrade goes back to: the newest pods are not in it.
#[test]
fn an_old_ledger_costs_no_pod_its_path_and_gives_no_address_twice() {
    let mut node = one_node("m5.large", warm(0, 2, 0), 44);
    let mut old = None;
    node.live(&Steps::default(), async |life| {
        six_pods(&life).await;
        old = Some(node.disk.copy());
        life.del("c1").await;
        life.add("newest", "newest").await.unwrap();
        life.add("newer", "newer").await.unwrap();
    })
    .unwrap();
    node.disk = old.unwrap();
    node.live(&Steps::default(), async |life| {
        for number in 0..5 {
            life.add(&format!("n{number}"), &format!("n{number}")).await.unwrap();
            assert_eq!(node.broken_promises(), Vec::<String>::new());
        }
        all_keep_their_paths(&life, &node).await;
    })
    .unwrap();
}
