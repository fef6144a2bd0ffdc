//! Pods with an interface on every network card: all of them or none, and what else the cards are used for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_engine::AddError;
use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::refusal::Refusal;
use holdfast_model::settings::ClusterSettings;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;
use tokio::task::JoinSet;

use crate::box_of::{one_node, warm};
use crate::disk::Disk;
use crate::kernel::Step;
use crate::node::{Life, Node};
use crate::steps::Steps;

/// Two cards of eight ENIs, four of fifteen.
const TYPES: [(&str, usize); 2] = [("c6in.32xlarge", 2), ("p4d.24xlarge", 4)];

fn on_cards(warm: Config) -> Config {
    Config { multi_nic: Setting::default_of(true), ..warm }
}

/// The cards of a lease's addresses, in order.
fn cards(lease: &Lease) -> Vec<u8> {
    lease.faces.iter().map(|face| face.place.slot().unwrap().card).collect()
}

async fn add_all(life: &Life, numbers: std::ops::Range<usize>, on_every_card: bool) -> Vec<Lease> {
    let mut adds = JoinSet::new();
    for number in numbers {
        let life = life.clone();
        adds.spawn(async move {
            let (name, container) = (format!("web-{number}"), format!("c{number}"));
            if on_every_card {
                life.add_on_every_card(&name, &container).await.unwrap()
            } else {
                life.add(&name, &container).await.unwrap()
            }
        });
    }
    adds.join_all().await
}

/// ENIs of each card that the node has in EC2, and addresses for pods on them.
fn shape(node: &Node) -> BTreeMap<u32, (usize, usize)> {
    let mut shape: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for eni in node.shared.cloud_of(&node.instance).enis {
        let of_card = shape.entry(eni.card).or_default();
        *of_card = (of_card.0 + 1, of_card.1 + eni.secondary.len());
    }
    shape
}

fn all_well(node: &Node, ledger: &Ledger) {
    assert_eq!(node.faults(ledger), Vec::<String>::new());
}

#[test]
fn each_card_gives_an_address_to_who_asks_for_all_beside_those_who_ask_for_one() {
    for (instance_type, count) in TYPES {
        let node = one_node(instance_type, on_cards(warm(0, 2, 4)), 61);
        node.live(&Steps::default(), async |life| {
            let (each, one) = tokio::join!(add_all(&life, 0..6, true), add_all(&life, 6..12, false));
            let every: Vec<u8> = (0..u8::try_from(count).unwrap()).collect();
            for lease in &each {
                assert_eq!(cards(lease), every);
                let names: Vec<&str> = lease.faces.iter().map(|face| face.ifname.as_str()).collect();
                assert_eq!(names[..2], ["eth0", "mNicIf1"]);
                for face in &lease.faces {
                    assert_eq!(node.kernel.reaches(face.address), Some(lease.netns.inode));
                }
            }
            assert!(one.iter().all(|lease| cards(lease) == [0]), "{one:?}");
            let ledger = life.quiet().await;
            all_well(&node, &ledger);
            // One address is kept ready on each of the other cards.
            let shape = shape(&node);
            assert!((1..count).all(|card| shape[&u32::try_from(card).unwrap()] == (1, 7)), "{shape:?}");
            for number in 0..12 {
                life.del(&format!("c{number}")).await;
            }
            tokio::time::sleep(Duration::from_secs(400)).await;
            let ledger = life.quiet().await;
            all_well(&node, &ledger);
            let shape = self::shape(&node);
            assert!((1..count).all(|card| shape[&u32::try_from(card).unwrap()] == (1, 1)), "{shape:?}");
            // Left alone, nothing is called.
            let before = node.calls();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert!(node.calls() - before <= 1, "{} calls", node.calls() - before);
        })
        .unwrap();
    }
}

#[test]
fn prefixes_are_for_every_card() {
    let config = Config { mode: Setting::default_of(AddressMode::Prefix), ..on_cards(warm(0, 0, 0)) };
    let node = one_node("c6in.32xlarge", config, 62);
    node.live(&Steps::default(), async |life| {
        let leases = add_all(&life, 0..20, true).await;
        assert!(leases.iter().all(|lease| cards(lease) == [0, 1]));
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
        assert_eq!(shape(&node)[&1], (1, 32), "twenty and one spare take two prefixes");
        for number in 0..20 {
            life.del(&format!("c{number}")).await;
        }
        tokio::time::sleep(Duration::from_secs(400)).await;
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
        assert_eq!(shape(&node)[&1], (1, 16));
    })
    .unwrap();
}

#[test]
fn where_only_the_first_card_is_used_nobody_gets_less_than_asked_for() {
    let node = one_node("c6in.32xlarge", warm(0, 2, 4), 63);
    node.live(&Steps::default(), async |life| {
        let refused = life.add_on_every_card("web", "a").await.unwrap_err();
        assert!(matches!(refused, AddError::OneCardOnly { .. }), "{refused}");
        life.del("a").await;
        let leases = add_all(&life, 0..3, false).await;
        assert!(leases.iter().all(|lease| cards(lease) == [0]));
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
        assert_eq!(shape(&node).len(), 1);
    })
    .unwrap();
}

/// The true cause, with its card; nothing is left of it on the first card, which goes on serving; and when the right is back, the
/// next one is served without a restart.
#[test]
fn a_card_that_has_none_leaves_none_on_the_others() {
    let node = one_node("c6in.32xlarge", on_cards(warm(0, 2, 4)), 64);
    let denied = Fault::new(FaultKind::Deny).on(Action::CreateNetworkInterface).of_instance(&node.instance);
    let fault = node.shared.now(|vpc| vpc.set_fault(denied)).unwrap();
    node.live(&Steps::default(), async |life| {
        let refused = life.add_on_every_card("web", "a").await.unwrap_err();
        let AddError::NoAddressOnCard { card: 1, cause: Refusal::Denied { .. }, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert!(refused.to_string().contains("on network card 1"), "{refused}");
        let dump = life.engine.dump().await.unwrap();
        assert_eq!((dump.ledger.leases.len(), dump.waiting.len()), (0, 0));
        life.del("a").await;
        let leases = add_all(&life, 0..3, false).await;
        assert!(leases.iter().all(|lease| cards(lease) == [0]));
        node.shared.now(|vpc| vpc.clear_fault(fault));
        tokio::time::sleep(Duration::from_secs(360)).await;
        let lease = life.add_on_every_card("web", "b").await.unwrap();
        assert_eq!(cards(&lease), [0, 1]);
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
    })
    .unwrap();
}

/// The kernel refuses at each of the wiring's steps, on one card or the other.
#[test]
fn a_wiring_that_fails_on_one_card_leaves_none_on_the_others() {
    let mut failed = 0;
    for seed in 0..24 {
        let node = one_node("c6in.32xlarge", on_cards(warm(0, 4, 8)), 65);
        node.live(&Steps::default(), async |life| {
            life.add_on_every_card("first", "first").await.unwrap();
            node.kernel.set_trouble(BTreeMap::from([(Step::Wire, 400)]), seed);
            let answer = life.add_on_every_card("web", "a").await;
            node.kernel.pause_trouble(true);
            if let Err(error) = answer {
                assert!(matches!(error, AddError::Wiring { .. }), "{error}");
                failed += 1;
                tokio::time::sleep(Duration::from_secs(10)).await;
                let ledger = life.engine.dump().await.unwrap().ledger;
                assert_eq!(ledger.leases.len(), 1, "{:?}", ledger.leases);
                life.del("a").await;
            }
            life.add_on_every_card("web", "b").await.unwrap();
            let ledger = life.quiet().await;
            all_well(&node, &ledger);
        })
        .unwrap();
    }
    assert!((6..=20).contains(&failed), "{failed} of 24 failed");
}

/// Who asks for one address gets it from another card when the first has none to give.
#[test]
fn a_card_that_is_full_is_no_reason_to_refuse_a_pod_that_wants_one_address() {
    let config = Config { max_pods: Setting::default_of(Some(4)), ..on_cards(warm(0, 1, 0)) };
    let node = one_node("c6in.32xlarge", config, 66);
    node.live(&Steps::default(), async |life| {
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for number in 0..8 {
            let lease = life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
            *counts.entry(cards(&lease)).or_default() += 1;
        }
        assert_eq!(counts, BTreeMap::from([(vec![0], 4), (vec![1], 4)]));
        let refused = life.add("more", "more").await.unwrap_err();
        assert!(
            matches!(&refused, AddError::NoAddress { cause: Refusal::ConfiguredLimit { .. }, .. }),
            "{refused}"
        );
        life.del("more").await;
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
        // One of the first card goes: the next is served from there again.
        life.del("c0").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(cards(&life.add("again", "again").await.unwrap()), [0]);
    })
    .unwrap();
}

/// The other one goes on carrying what it carries.
#[test]
fn an_interface_that_lost_its_link_is_wired_anew() {
    let node = one_node("c6in.32xlarge", on_cards(warm(0, 2, 4)), 67);
    node.live(&Steps::default(), async |life| {
        let lease = life.add_on_every_card("web", "a").await.unwrap();
        life.quiet().await;
        for (cut, stays) in [(0, 1), (1, 0)] {
            let [cut, stays] = [cut, stays].map(|number: usize| lease.faces[number].clone());
            let before = node.kernel.index_of(&stays.host_veth).unwrap();
            node.kernel.delete_named(&cut.host_veth);
            assert_eq!(node.kernel.reaches(cut.address), None);
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(node.kernel.reaches(cut.address), Some(lease.netns.inode), "{}", cut.ifname);
            assert_eq!(node.kernel.index_of(&stays.host_veth), Some(before), "it was touched");
            tokio::time::sleep(Duration::from_secs(700)).await;
        }
        // What is gone altogether is released altogether.
        life.forget("a");
        tokio::time::sleep(Duration::from_secs(300)).await;
        let ledger = life.quiet().await;
        assert_eq!(ledger.leases.len(), 0);
        all_well(&node, &ledger);
    })
    .unwrap();
}

/// Thirty pods keep their addresses; what the other cards have goes as they go, and comes back.
#[test]
fn the_cards_are_switched_off_and_on_again_under_pods() {
    let targets = warm(0, 2, 4);
    let node = one_node("c6in.32xlarge", on_cards(targets.clone()), 68);
    node.live(&Steps::default(), async |life| {
        let each = add_all(&life, 0..15, true).await;
        add_all(&life, 15..30, false).await;
        life.quiet().await;
        let before: BTreeMap<String, Vec<IpAddr>> =
            node.pods().into_iter().map(|(container, pod)| (container, pod.addresses().collect())).collect();
        let configure = async |config: Config| {
            life.engine.configure(Arc::new(config), ClusterSettings::default()).await.unwrap();
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                assert_eq!(node.broken_promises(), Vec::<String>::new());
            }
        };
        configure(targets.clone()).await;
        let refused = life.add_on_every_card("late", "late").await.unwrap_err();
        assert!(matches!(refused, AddError::OneCardOnly { .. }), "{refused}");
        life.del("late").await;
        let after: BTreeMap<String, Vec<IpAddr>> =
            node.pods().into_iter().map(|(container, pod)| (container, pod.addresses().collect())).collect();
        assert_eq!(after, before);
        for number in 0..each.len() {
            life.del(&format!("c{number}")).await;
        }
        tokio::time::sleep(Duration::from_secs(400)).await;
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
        assert_eq!(
            shape(&node).keys().collect::<Vec<_>>(),
            [&0],
            "nothing of ours is left on the other card"
        );
        configure(on_cards(targets)).await;
        assert_eq!(cards(&life.add_on_every_card("again", "again").await.unwrap()), [0, 1]);
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
    })
    .unwrap();
}

/// Each pod gets one lease back, with all its addresses.
#[test]
fn a_lost_ledger_is_rebuilt_for_pods_on_several_cards() {
    let mut node = one_node("p4d.24xlarge", on_cards(warm(0, 2, 4)), 69);
    let mut before = Vec::new();
    node.live(&Steps::default(), async |life| {
        before = add_all(&life, 0..5, true).await;
        life.quiet().await;
    })
    .unwrap();
    node.disk = Disk::default();
    node.live(&Steps::default(), async |life| {
        let ledger = life.quiet().await;
        assert_eq!(ledger.leases.len(), 5);
        for lease in &before {
            assert_eq!(ledger.leases[&lease.sandbox].faces, lease.faces);
        }
        all_well(&node, &ledger);
        for number in 0..5 {
            life.del(&format!("c{number}")).await;
        }
        assert_eq!(cards(&life.add_on_every_card("next", "next").await.unwrap()), [0, 1, 2, 3]);
        let ledger = life.quiet().await;
        all_well(&node, &ledger);
    })
    .unwrap();
}
