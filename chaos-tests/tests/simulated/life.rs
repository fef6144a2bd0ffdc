//! An undisturbed life: the pool grows, pods come and go, the pool shrinks.

use std::time::Duration;

use holdfast_engine::{AddError, Status};
use holdfast_model::block::Block;
use holdfast_model::cloud::Api;
use holdfast_model::ledger::Standing;
use holdfast_model::refusal::Refusal;
use holdfast_model::uses::Use;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::request::UnassignPrivateIpAddresses;
use holdfast_sim::vpc::{self as sim, Action};
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::disk::Disk;
use crate::node::{Life, Outcome};
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
fn a_full_subnet_holds_an_add_for_an_address_that_is_nearly_rested() {
    let node = one_node("m5.large", warm(0, 1, 0), 9);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.shared.now(|vpc| {
            let subnet = vpc.authoritative().subnets()[0].subnet_id;
            vpc.occupy_all_but(&subnet, 0).unwrap();
        });
        // Takes the spare one; another cannot be had.
        life.add("b", "b").await.unwrap();
        let refused = life.add("c", "c").await.unwrap_err().to_string();
        assert!(refused.contains("no free addresses"), "{refused}");
        life.del("a").await;
        life.add("d", "d").await.unwrap();
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

/// What STATUS says over this time, each change once.
async fn statuses(life: &Life, over: Duration) -> Vec<Status> {
    let mut said = Vec::new();
    for _ in 0..over.as_millis() / 50 {
        let status = life.engine.status().await.unwrap();
        if said.last() != Some(&status) {
            said.push(status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    said
}

#[test]
fn status_says_whether_an_add_would_work_and_names_what_keeps_the_pool_from_growing() {
    let node = one_node("m5.large", warm(0, 1, 0), 10);
    let api = Api::AssignPrivateIpAddresses;
    let fault = |kind| {
        let fault = Fault::new(kind).on(Action::AssignPrivateIpAddresses);
        node.shared.now(|vpc| {
            vpc.clear_faults();
            vpc.set_fault(fault).unwrap();
        });
    };
    let few_seconds = Duration::from_secs(5);
    node.live(&Steps::default(), async |life| {
        let fresh = statuses(&life, few_seconds).await;
        // It may be seen on its way.
        let known: Vec<_> = fresh.into_iter().filter(|status| *status != Status::Growing).collect();
        let awaited = [Refusal::HostNotRead, Refusal::NatAwaited].map(Status::Refusing);
        assert_eq!(known, [&awaited[..], &[Status::Ready]].concat());
        life.add("a", "a").await.unwrap();
        life.quiet().await;

        // The spare one; another cannot be had.
        fault(FaultKind::Throttle);
        life.add("b", "b").await.unwrap();
        let named = Status::Short(Refusal::Throttled { api });
        let throttled = statuses(&life, few_seconds).await;
        assert!(throttled.contains(&named), "{throttled:?}");
        // While a call is under way nothing speaks against it.
        assert!(throttled.iter().all(|status| [&named, &Status::Growing].contains(&status)), "{throttled:?}");
        let held = tokio::spawn({
            let life = life.clone();
            async move { life.add("c", "c").await }
        });
        assert!(statuses(&life, few_seconds).await.contains(&named), "an ADD that is held changes nothing");
        node.shared.now(sim::SimVpc::clear_faults);
        held.await.unwrap().unwrap();
        life.quiet().await;
        assert_eq!(statuses(&life, few_seconds).await, [Status::Ready]);

        fault(FaultKind::Deny);
        life.add("d", "d").await.unwrap();
        tokio::time::sleep(few_seconds).await;
        assert_eq!(statuses(&life, few_seconds).await, [Status::Short(Refusal::Denied { api })]);
        let refused = life.add("e", "e").await.unwrap_err().to_string();
        assert!(refused.contains("not allowed to call ec2:AssignPrivateIpAddresses"), "{refused}");
        // An address that rests is as good as one on its way: an ADD is held for it, and served.
        life.del("a").await;
        assert_eq!(statuses(&life, few_seconds).await, [Status::Growing]);
        life.add("f", "f").await.unwrap();
    })
    .unwrap();
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

#[test]
fn at_its_limit_of_enis_a_throttled_node_holds_an_add_and_serves_it() {
    let mut config = warm(1, 0, 0);
    config.max_enis.value = Some(1);
    let node = one_node("m5.large", config, 15);
    node.live(&Steps::default(), async |life| {
        let throttle = Fault::new(FaultKind::Throttle).on(Action::AssignPrivateIpAddresses);
        node.shared.now(|vpc| vpc.set_fault(throttle)).unwrap();
        let held = tokio::spawn({
            let life = life.clone();
            async move { life.add("a", "a").await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!held.is_finished(), "{:?}", held.await);
        node.shared.now(sim::SimVpc::clear_faults);
        held.await.unwrap().unwrap();
    })
    .unwrap();
}

#[test]
fn an_assignment_that_is_not_answered_makes_no_eni() {
    let node = one_node("m5.large", warm(0, 1, 0), 16);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        let lost = Fault::new(FaultKind::RequestLost).on(Action::AssignPrivateIpAddresses).times(3);
        node.shared.now(|vpc| vpc.set_fault(lost)).unwrap();
        life.add("b", "b").await.unwrap();
        life.add("c", "c").await.unwrap();
        life.quiet().await;
        let made = node.shared.now(|vpc| vpc.log().count(Action::CreateNetworkInterface));
        assert_eq!(made, 0, "there is room on the primary ENI");
    })
    .unwrap();
}

#[test]
fn an_eni_that_was_made_although_its_creation_was_refused_in_the_end_is_found_soon() {
    let node = one_node("m5.large", warm(0, 1, 0), 17);
    node.live(&Steps::default(), async |life| {
        for number in 0..8 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        let create = Action::CreateNetworkInterface;
        node.shared.now(|vpc| {
            vpc.set_fault(Fault::new(FaultKind::AnswerLost).on(create).times(1)).unwrap();
            vpc.set_fault(Fault::new(FaultKind::Throttle).on(create).skipping(1).times(1)).unwrap();
        });
        life.add("last-of-the-primary", "d").await.unwrap();
        life.add("on-another", "e").await.unwrap();
        tokio::time::sleep(Duration::from_secs(180)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn an_eni_whose_link_never_appears_keeps_no_pod_from_another() {
    let node = one_node("m5.large", warm(0, 1, 0), 18);
    node.live(&Steps::default(), async |life| {
        life.add("first", "first").await.unwrap();
        node.kernel.hide_new_links(true);
        for number in 0..8 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        // The second ENI is attached and stays without a link.
        tokio::time::sleep(Duration::from_secs(3)).await;
        node.kernel.hide_new_links(false);
        life.add("on-the-third", "d").await.unwrap();
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
        assert!(node.kernel.host_link_of(inode).is_some());
    })
    .unwrap();
    assert_eq!(node.kernel.host_link_of(netns.unwrap().inode), None);
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
