//! What the disk does not take: while it is full or hangs, and what no ledger takes.

use std::time::Duration;

use holdfast_engine::{AddError, Status};
use holdfast_model::refusal::Refusal;

use crate::box_of::{one_node, warm};
use crate::node::Life;
use crate::steps::Steps;

#[test]
fn pods_go_while_the_disk_is_full_and_nothing_is_forgotten_whether_it_has_room_again_or_the_daemon_restarts()
{
    for restart in [false, true] {
        let node = one_node("m5.large", warm(1, 0, 0), 13);
        let after = async |life: Life| {
            tokio::time::sleep(Duration::from_secs(10)).await;
            life.add_again("new").await.unwrap();
            let ledger = life.quiet().await;
            assert_eq!(node.faults(&ledger), Vec::<String>::new());
            assert_eq!(ledger.leases.len(), 2);
        };
        node.live(&Steps::default(), async |life| {
            for number in 0..4 {
                life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
            }
            life.quiet().await;
            node.disk.set_full(true);
            let refused = life.add("new", "new").await.unwrap_err();
            assert!(matches!(refused, AddError::Ledger { .. }), "{refused}");
            tokio::join!(life.del("c0"), life.del("c1"));
            tokio::time::sleep(Duration::from_secs(5)).await;
            life.del("c2").await;
            assert_eq!(node.pods().len(), 2, "every DEL succeeds");
            if !restart {
                node.disk.set_full(false);
                after(life).await;
            }
        })
        .unwrap();
        node.disk.set_full(false);
        if restart {
            node.live(&Steps::default(), after).unwrap();
        }
    }
}

#[test]
fn with_a_disk_that_hangs_pods_go_and_none_come_and_the_daemon_answers() {
    let node = one_node("m5.large", warm(1, 0, 0), 14);
    node.live(&Steps::default(), async |life| {
        for number in 0..4 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        node.disk.set_stuck(true);
        let soon = Duration::from_secs(5);
        let refused = tokio::time::timeout(soon, life.add("new", "new")).await.unwrap().unwrap_err();
        assert!(refused.to_string().contains("the disk has not answered"), "{refused}");
        tokio::time::timeout(soon, life.del("c0")).await.unwrap();
        assert!(!node.pods().contains_key("c0"));
        tokio::time::timeout(soon, life.add_again("new")).await.unwrap().unwrap_err();
        tokio::time::timeout(soon, life.del("c1")).await.unwrap();
        let told = tokio::time::timeout(soon, life.engine.status()).await.unwrap().unwrap();
        assert!(matches!(told, Status::Refusing(Refusal::LedgerClosed { .. })), "{told:?}");
        tokio::time::timeout(soon, life.engine.dump()).await.unwrap().unwrap();
        node.disk.set_stuck(false);
        tokio::time::sleep(Duration::from_secs(2)).await;
        life.add_again("new").await.unwrap();
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        assert_eq!(ledger.leases.len(), 3);
    })
    .unwrap();
}

/// One client's names are no other's affair, nor a reason to read EC2 anew.
#[test]
fn names_that_no_ledger_takes_fail_alone() {
    let node = one_node("m5.large", warm(1, 0, 0), 12);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        let called = node.calls();
        let long = "c".repeat(70_000);
        for number in 0..5 {
            let (name, id) = (format!("b{number}"), format!("b{number}"));
            let (refused, served) = tokio::join!(life.add("long", &long), life.add(&name, &id));
            assert!(matches!(refused, Err(AddError::Unkeepable { .. })), "{refused:?}");
            served.unwrap();
        }
        assert_eq!(life.engine.status().await, Ok(Status::Ready));
        assert!(node.calls() - called <= 2, "{} calls", node.calls() - called);
        let ledger = life.quiet().await;
        assert_eq!(ledger.leases.len(), 6);
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// Settings that make a creation larger than any record: nothing else fails for that, and it is said.
#[test]
fn a_creation_that_no_ledger_takes_fails_alone() {
    let mut config = warm(0, 1, 0);
    config.extra_tags.value = [("note".to_owned(), "x".repeat(70_000))].into();
    let node = one_node("m5.large", config, 19);
    node.live(&Steps::default(), async |life| {
        // All that the primary carries.
        for number in 0..9 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        let refused = life.add("one-more", "one-more").await.unwrap_err();
        assert!(matches!(refused, AddError::NoAddress { .. } | AddError::HeldTooLong { .. }), "{refused}");
        assert!(refused.to_string().contains("record"), "{refused}");
        life.del("one-more").await;
        let ledger = life.quiet().await;
        assert_eq!(ledger.leases.len(), 9);
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}
