//! A start after whatever: EC2 or the metadata service away, a ledger that is lost or another's, a boot, other settings.

use std::time::Duration;

use holdfast_model::block::Block;
use holdfast_model::ledger::Standing;
use holdfast_model::uses::Use;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc as sim;
use holdfast_sim::vpc::request::UnassignPrivateIpAddresses;
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::disk::Disk;
use crate::steps::Steps;

#[test]
fn a_restart_with_the_cloud_away_serves_from_what_is_proven() {
    let mut node = one_node("m5.large", warm(1, 0, 0), 4);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
    })
    .unwrap();
    node.cut_off = true;
    node.live(&Steps::default(), async |life| {
        life.add("b", "b").await.unwrap();
        life.del("a").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ledger = life.engine.dump().await.unwrap().ledger;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        assert_eq!(ledger.leases.len(), 1);
    })
    .unwrap();
}

#[test]
fn a_lost_ledger_is_rebuilt_and_no_live_address_is_given_twice() {
    let mut node = one_node("m5.large", warm(1, 0, 0), 5);
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
    })
    .unwrap();
    node.disk = Disk::default();
    node.live(&Steps::default(), async |life| {
        for number in 6..14 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.del("c0").await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        assert_eq!(ledger.leases.len(), 13);
        let kept = |what: &&Use| matches!(what, Use::Suspect(_));
        assert_eq!(ledger.uses.values().find(kept), None, "what nobody uses is of use again");
    })
    .unwrap();
}

#[test]
fn a_ledger_baked_into_an_image_is_forgotten() {
    let first = one_node("m5.large", warm(1, 0, 0), 6);
    first
        .live(&Steps::default(), async |life| {
            life.add("a", "a").await.unwrap();
            life.quiet().await;
        })
        .unwrap();
    let mut second = one_node("m5.large", warm(1, 0, 0), 66);
    second.disk = first.disk.clone();
    second.clock.reboot();
    second
        .live(&Steps::default(), async |life| {
            life.add("b", "b").await.unwrap();
            let ledger = life.quiet().await;
            assert_eq!(second.faults(&ledger), Vec::<String>::new());
            assert_eq!(ledger.leases.len(), 1);
        })
        .unwrap();
}

#[test]
fn an_address_that_somebody_took_away_just_now_is_not_leased() {
    let node = one_node("m5.large", warm(1, 0, 0), 8);
    let mut taken = None;
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        let ledger = life.engine.dump().await.unwrap().ledger;
        let free = |block: &&Block| ledger.standing(block.net.addr()) == Standing::Free;
        let free = ledger.blocks.values().find(free).unwrap();
        taken = Some((free.eni.clone(), free.net.addr()));
    })
    .unwrap();
    let (eni, ip) = taken.unwrap();
    let std::net::IpAddr::V4(address) = ip else { panic!("{ip}") };
    node.shared
        .now(|vpc| {
            vpc.foreign(UnassignPrivateIpAddresses {
                network_interface_id: sim::EniId::new(eni.as_str()),
                private_ip_addresses: vec![address],
                ..UnassignPrivateIpAddresses::default()
            })
        })
        .unwrap();
    // Our own change of that ENI was seconds ago: the read at this start may be a late view, so it is not believed
    // yet, and not ignored either.
    node.live(&Steps::default(), async |life| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // As many as there are free ones, so that each is somebody's turn.
        for number in 0..17 {
            let lease = life.add(&format!("b{number}"), &format!("b{number}")).await.unwrap();
            assert_ne!(lease.faces[0].address, ip);
        }
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let ledger = life.quiet().await;
        assert!(!ledger.is_held(ip), "a second read settles it");
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn after_a_reboot_no_pod_is_answered_for_before_packets_find_a_way_out() {
    let mut node = one_node("m5.large", warm(1, 0, 0), 10);
    node.live(&Steps::default(), async |life| drop(life.quiet().await)).unwrap();
    node.reboot();
    assert!(!node.kernel.has_nat());
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        assert!(node.kernel.has_nat());
    })
    .unwrap();
}

#[test]
fn the_nat_table_holds_what_the_settings_of_this_start_ask_for() {
    let mut node = one_node("m5.large", warm(1, 0, 0), 12);
    for (external, node_ports) in [(false, true), (true, true), (true, false), (false, false)] {
        node.config.external_snat.value = external;
        node.config.node_ports.value = node_ports;
        node.live(&Steps::default(), async |life| {
            life.quiet().await;
            let seen = node.kernel.nat().map(|table| (table.source_nat.is_some(), table.node_ports));
            let wanted = (!external, node_ports);
            assert_eq!(seen, (wanted != (false, false)).then_some(wanted));
        })
        .unwrap();
    }
}

/// Whatever an ADD waits for: who asks may have no more time than that.
#[test]
fn an_add_is_held_no_longer_than_is_said_also_before_anything_can_be_served() {
    let mut config = warm(1, 0, 0);
    config.add_hold.value = Duration::from_secs(1);
    let node = one_node("m5.large", config, 20);
    let away = Fault::new(FaultKind::ImdsAway).of_instance(&node.instance);
    node.shared.now(|vpc| vpc.set_fault(away)).unwrap();
    node.live(&Steps::default(), async |life| {
        for name in ["a", "b"] {
            let asked = Instant::now();
            let refused = life.add(name, name).await.unwrap_err();
            let waited = asked.elapsed();
            assert!(waited <= Duration::from_millis(1200), "{waited:?}: {refused}");
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    })
    .unwrap();
}

/// The patience for the NAT table runs from when one is wanted, not from the start.
#[test]
fn a_node_that_learns_late_who_it_is_answers_no_add_without_a_way_out() {
    let node = one_node("m5.large", warm(1, 0, 0), 13);
    let away = Fault::new(FaultKind::ImdsAway).of_instance(&node.instance);
    let id = node.shared.now(|vpc| vpc.set_fault(away)).unwrap();
    node.live(&Steps::default(), async |life| {
        let asked = life.add("a", "a");
        let back = async {
            tokio::time::sleep(Duration::from_secs(12)).await;
            node.shared.now(|vpc| vpc.clear_fault(id));
        };
        let (served, ()) = tokio::join!(asked, back);
        served.unwrap();
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}
