//! What cannot be seen is neither taken for gone nor for sound.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_engine::AddError;
use holdfast_model::lease::LeasePhase;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;

use crate::box_of::{nodes, one_node, warm};
use crate::crash::quiet_deaths;
use crate::node::Outcome;
use crate::steps::Steps;

#[test]
fn garbage_collection_spares_a_pod_whose_path_is_gone_and_whose_link_is_there() {
    let node = one_node("m5.large", warm(1, 0, 0), 20);
    node.live(&Steps::default(), async |life| {
        let lease = life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.kernel.unbind(lease.netns.inode);
        life.engine.gc("aws-cni".to_owned(), BTreeSet::new()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        assert!(ledger.leases.contains_key(&lease.sandbox));
        assert!(node.kernel.reaches(lease.faces[0].address).is_some());
    })
    .unwrap();
}

#[test]
fn a_lease_that_cannot_be_compared_with_the_kernel_is_compared_again() {
    quiet_deaths();
    let recorded = Steps::default();
    let node = || one_node("m5.large", warm(1, 0, 0), 21);
    node().live(&recorded, async |life| drop(life.add("a", "a").await.unwrap())).unwrap();
    let wired = recorded.names().iter().position(|name| name == "after wiring").unwrap();
    let node = node();
    let died = node.live(&Steps::dying_at(Some(wired)), async |life| {
        drop(life.add("a", "a").await);
        std::future::pending::<()>().await;
    });
    assert_eq!(died.unwrap(), Outcome::Killed);
    node.kernel.set_unreadable(true);
    node.live(&Steps::default(), async |life| {
        let phase = async || {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let ledger = life.engine.dump().await.unwrap().ledger;
            ledger.leases.values().next().map(|lease| lease.phase)
        };
        assert_eq!(phase().await, Some(LeasePhase::Pending));
        node.kernel.set_unreadable(false);
        assert_eq!(phase().await, Some(LeasePhase::Active));
    })
    .unwrap();
}

#[test]
fn an_add_for_another_namespace_than_the_one_under_way_is_refused() {
    let node = one_node("m5.large", warm(1, 0, 0), 22);
    node.live(&Steps::default(), async |life| {
        let throttle = Fault::new(FaultKind::Throttle).on(Action::AssignPrivateIpAddresses);
        node.shared.now(|vpc| vpc.set_fault(throttle)).unwrap();
        let held = tokio::spawn({
            let life = life.clone();
            async move { life.add("a", "a").await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = life.add("a", "a").await.unwrap_err();
        assert!(matches!(refused, AddError::TwoNamespaces { .. }), "{refused}");
        assert!(!held.is_finished());
    })
    .unwrap();
}

#[test]
fn an_eni_whose_link_is_gone_serves_nobody() {
    let node = one_node("m5.large", warm(0, 2, 0), 23);
    node.live(&Steps::default(), async |life| {
        for number in 0..10 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        let ledger = life.quiet().await;
        let second = ledger.enis.values().find(|eni| !eni.is_primary()).unwrap();
        let ready = async || life.engine.dump().await.unwrap().ready_enis.contains(&second.id.to_string());
        assert!(ready().await);
        node.kernel.unplug(second.mac);
        // Any sign of drift.
        node.kernel.remove_nat();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!ready().await);
    })
    .unwrap();
}

/// A metadata service that answers for another instance, at a restart within the boot: the kernel knows better.
#[test]
fn another_instances_metadata_takes_no_pod_its_network() {
    let two = nodes(2, "m5.large", warm(1, 0, 0), 24);
    let other = two[1].instance;
    let node = &two[0];
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
    })
    .unwrap();
    let own = node.instance;
    node.mistake_for(other);
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        let dump = life.engine.dump().await.unwrap();
        assert_eq!(dump.ledger.leases.len(), 6);
        assert!(!dump.identified);
        life.add("new", "new").await.unwrap();
    })
    .unwrap();
    node.mistake_for(own);
    node.live(&Steps::default(), async |life| {
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        assert!(life.engine.dump().await.unwrap().identified);
    })
    .unwrap();
}

/// An answer without ENIs is no proof that a node has none.
#[test]
fn an_empty_answer_to_a_full_read_costs_nothing() {
    let node = one_node("m5.large", warm(0, 2, 0), 390);
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
    })
    .unwrap();
    let body = "<DescribeNetworkInterfacesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                <requestId>8f7724cf-496f-496e-8fe3-000000000000</requestId><networkInterfaceSet/>\
                </DescribeNetworkInterfacesResponse>";
    let empty = FaultKind::AnswerReplaced { status: 200, body: body.to_owned() };
    let empty = Fault::new(empty).on(Action::DescribeNetworkInterfaces);
    let fault = node.shared.now(|vpc| vpc.set_fault(empty)).unwrap();
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(300)).await;
        let hits = node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied());
        assert!(hits.is_some_and(|hits| hits > 0), "{hits:?}");
        let ledger = life.engine.dump().await.unwrap().ledger;
        let held = ledger.enis.values().filter(|eni| eni.attachment().is_some()).count();
        assert_eq!(held, node.shared.cloud_of(&node.instance).enis.len(), "{ledger:#?}");
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        life.add("new", "new").await.unwrap();
    })
    .unwrap();
}
