//! A life without troubles of note: the pool grows, pods come and go, the pool shrinks; a link that will not go, a rule that is lost.

use std::time::Duration;

use crate::box_of::{one_node, warm};
use crate::node::Outcome;
use crate::steps::Steps;

#[test]
fn a_fresh_node_serves_pods_and_settles() {
    let node = one_node("m5.large", warm(1, 0, 0), 1);
    let outcome = node
        .live(&Steps::default(), async |life| {
            for number in 0..12 {
                life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
            }
            for number in 0..4 {
                life.del(&format!("c{number}")).await;
            }
            let ledger = life.quiet().await;
            assert_eq!(ledger.leases.len(), 8);
            assert_eq!(node.faults(&ledger), Vec::<String>::new());
        })
        .unwrap();
    assert_eq!(outcome, Outcome::Finished);
}

#[test]
fn add_is_held_while_addresses_are_on_their_way_and_idempotent() {
    let node = one_node("m5.large", warm(1, 0, 0), 2);
    node.live(&Steps::default(), async |life| {
        let first = life.add("web-0", "c0").await.unwrap();
        let again = life.add_again("c0").await.unwrap();
        assert_eq!(first.faces, again.faces);
        for _ in 0..10 {
            life.del("c0").await;
        }
        let ledger = life.quiet().await;
        assert!(ledger.leases.is_empty());
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn a_full_instance_refuses_with_the_true_cause() {
    let node = one_node("t3.nano", warm(1, 0, 0), 3);
    node.live(&Steps::default(), async |life| {
        // Two ENIs with one pod address each.
        life.add("a", "a").await.unwrap();
        life.add("b", "b").await.unwrap();
        let refused = life.add("c", "c").await.unwrap_err();
        assert!(refused.to_string().contains("t3.nano"), "{refused}");
    })
    .unwrap();
}

#[test]
fn the_disk_soon_has_what_nobody_waits_for() {
    let node = one_node("m5.large", warm(0, 2, 0), 12);
    node.live(&Steps::default(), async |life| {
        for number in 0..4 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        tokio::join!(life.del("c0"), life.del("c1"));
        life.add("late", "late").await.unwrap();
        // The pool may still be at work; what it does is a matter of seconds.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let memory = life.engine.dump().await.unwrap().ledger;
            assert_eq!(node.disk.ledger_after_power_cut(), memory);
        }
    })
    .unwrap();
}

#[test]
fn what_goes_missing_while_something_else_is_put_right_is_back_soon() {
    let node = one_node("m5.large", warm(1, 0, 0), 11);
    node.live(&Steps::default(), async |life| {
        let address = life.add("a", "a").await.unwrap().faces[0].address;
        life.quiet().await;
        node.kernel.remove_nat();
        // Signs of drift are given half a second to gather; then the table is being put back for almost a second.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!node.kernel.has_nat());
        node.kernel.remove_rules_to(address);
        assert_eq!(node.kernel.reaches(address), None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(node.kernel.has_nat());
        assert!(node.kernel.reaches(address).is_some());
    })
    .unwrap();
}

/// A link that does not want to go is its own sandbox's affair.
#[test]
fn one_link_that_will_not_go_keeps_no_other_pod_from_going() {
    let node = one_node("m5.large", warm(1, 0, 0), 21);
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        node.kernel.stick(Some(node.pods()["c0"].netns.inode));
        // Else its link would go with its namespace.
        life.del_and_linger("c0").await;
        for number in 1..6 {
            life.del_and_linger(&format!("c{number}")).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        let left: Vec<_> = ledger.leases.keys().map(|key| key.container_id.clone()).collect();
        assert_eq!(left, ["c0"]);
        node.kernel.stick(None);
        tokio::time::sleep(Duration::from_secs(15)).await;
        let ledger = life.quiet().await;
        assert!(ledger.leases.is_empty());
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// What is begun in the kernel is carried to its end, or the next start finds it half done.
#[test]
fn a_stop_waits_for_what_is_being_done_in_the_kernel() {
    let node = one_node("m5.large", warm(1, 0, 0), 22);
    let mut netns = None;
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        // Answered before the link is gone, whose namespace somebody holds open.
        netns = life.del_and_linger("a").await;
        let inode = netns.as_ref().unwrap().inode;
        assert!(node.kernel.host_link_of(inode, "eth0").is_some());
    })
    .unwrap();
    assert_eq!(node.kernel.host_link_of(netns.unwrap().inode, "eth0"), None);
}
