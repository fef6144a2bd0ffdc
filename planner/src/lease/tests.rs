use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::eni::{EniPlace, EniRecord, Management};
use holdfast_model::host::{LinkAlias, LinkSeen};
use holdfast_model::ids::{EniId, MacAddr};
use holdfast_model::lease::LeasePhase;
use holdfast_model::ledger::Change;
use holdfast_model::ledger::Standing;
use holdfast_model::pool::PoolKey;
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::time::BootTime;
use holdfast_model::uses::Suspicion;

use super::*;
use crate::toy::{Fate, Toy, by_address, by_eni};
use crate::{Here, Shortage, free_addresses};

fn request(container: &str) -> LeaseRequest {
    LeaseRequest {
        sandbox: SandboxKey::from(SandboxNames {
            container_id: container.into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        }),
        pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
        netns: NetnsRef { path: "/run/netns/x".into(), inode: 1 },
        ends: vec![HostEnd { veth: "eni0".into(), mac: MacAddr([2, 0, 0, 0, 0, 9]) }],
        mtu: 9001,
        trace: None,
    }
}

fn rested() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy
}

fn choose(toy: &Toy) -> Result<Choice, Shortage> {
    toy.choose()
}

#[test]
fn low_slots_fill_first_and_used_addresses_come_last() {
    let mut toy = rested();
    let used = toy.ledger.leases.values().next().unwrap().faces[0].address;
    toy.delete_pod(0);
    toy.sleep(Duration::from_secs(31));
    let mut order = Vec::new();
    for _ in 0..6 {
        let choice = choose(&toy).unwrap();
        order.push((choice.place.slot().unwrap().device, choice.address == used));
        toy.add_pods(1);
    }
    let expected = [(0, false), (0, false), (0, true), (1, false), (1, false), (1, false)];
    assert_eq!(order, expected);
}

#[test]
fn an_eni_that_was_not_read_back_or_is_closed_gives_nothing() {
    let mut toy = rested();
    let primary = EniId::new("eni-primary");
    assert_eq!(choose(&toy).unwrap().place, EniPlace::PRIMARY);
    toy.observed.ready_enis.remove(&primary);
    assert_eq!(choose(&toy).unwrap().place.route_table(), 2);
    for eni in toy.ledger.enis.values().cloned().collect::<Vec<_>>() {
        toy.ledger.apply(&Change::PutEni(EniRecord { management: Management::Excluded, ..eni }));
    }
    assert!(choose(&toy).is_err());
}

#[test]
fn a_lease_is_opened_once_and_only_on_a_free_address() {
    let mut toy = rested();
    let choice = choose(&toy).unwrap();
    let changes = open_lease(&toy.ledger, std::slice::from_ref(&choice), request("a"), &toy.now).unwrap();
    toy.commit(&changes);
    assert_eq!(open_lease(&toy.ledger, std::slice::from_ref(&choice), request("b"), &toy.now), None, "taken");
    let other = choose(&toy).unwrap();
    assert_eq!(
        open_lease(&toy.ledger, std::slice::from_ref(&other), request("a"), &toy.now),
        None,
        "has one"
    );
    toy.commit(&activate(&toy.ledger, &request("a").sandbox));
    assert_eq!(toy.ledger.leases[&request("a").sandbox].phase, LeasePhase::Active);
    assert_eq!(undo(&toy.ledger, &request("a").sandbox, &toy.now), [], "an answered ADD is not undone");
}

#[test]
fn an_undone_wiring_frees_at_once_and_a_release_rests() {
    let mut toy = rested();
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    let key = request("a").sandbox;
    let choice = choose(&toy).unwrap();
    toy.commit(&open_lease(&toy.ledger, std::slice::from_ref(&choice), request("a"), &toy.now).unwrap());
    toy.commit(&undo(&toy.ledger, &key, &toy.now));
    assert_eq!(choose(&toy).unwrap(), choice);

    toy.commit(&open_lease(&toy.ledger, std::slice::from_ref(&choice), request("a"), &toy.now).unwrap());
    assert_eq!(
        finish_release(&desired, &toy.ledger, &toy.observed.traces, &key, &toy.now),
        [],
        "kernel state comes first"
    );
    let ended = Ended::asked(&toy.ledger.leases[&key]);
    toy.commit(&begin_release(&toy.ledger, &ended, &toy.now));
    assert_eq!(begin_release(&toy.ledger, &ended, &toy.now), [], "twice is once");
    toy.commit(&finish_release(&desired, &toy.ledger, &toy.observed.traces, &key, &toy.now));
    assert!(!toy.ledger.is_free(choice.address, &toy.now));
    toy.sleep(Duration::from_millis(29_999));
    assert!(!toy.ledger.is_free(choice.address, &toy.now));
    toy.sleep(Duration::from_millis(1));
    assert!(toy.ledger.is_free(choice.address, &toy.now));
}

#[test]
fn an_address_that_was_taken_away_leaves_with_its_lease() {
    let mut toy = rested();
    let lease = toy.ledger.leases.values().next().unwrap().clone();
    toy.cloud.enis.get_mut(&lease.faces[0].eni).unwrap().secondary.remove(&lease.faces[0].address);
    toy.sleep(Duration::from_secs(120));
    let node = toy.ledger.node.clone().unwrap();
    let began = toy.now.boottime;
    toy.read(&CloudRead::InstanceEnis { instance: node.identity.instance }, began, 0);
    let ip = lease.faces[0].address;
    assert_eq!(toy.ledger.standing(ip), Standing::Leased(&lease.sandbox), "kept while it lives");
    assert!(!toy.ledger.is_held(ip));
    toy.delete_pod(0);
    assert!(matches!(toy.ledger.block_of(ip).unwrap().state, BlockState::Gone(_)));
    assert!(
        matches!(toy.ledger.standing(ip), Standing::Cooling(_)),
        "its rest is owed, should it come again"
    );
}

#[test]
fn a_shortage_names_its_cause_and_says_whether_to_wait() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    let fresh = choose(&toy).unwrap_err();
    assert!(fresh.hold && fresh.hindered, "EC2 has not been read yet: {fresh:?}");
    toy.add_pods(9);
    toy.round();
    let growing = choose(&toy).unwrap_err();
    assert!(growing.hold && !growing.hindered, "addresses are on their way: {growing:?}");
    toy.run_to_rest();
    let full = choose(&toy).unwrap_err();
    let refusal = Refusal::InstanceFull { addresses: 9, instance_type: "t3.small".into(), set_aside: 0 };
    assert_eq!(full, Shortage { cause: refusal, hold: false, hindered: true, ready: None });
    toy.delete_pod(0);
    toy.sleep(Duration::from_secs(10));
    let resting = choose(&toy).unwrap_err();
    assert_eq!(resting.cause, Refusal::AllCooling { seconds: 20 });
    assert!(resting.hold && !resting.hindered);
    assert_eq!(resting.ready, Some(toy.now.boottime.after(Duration::from_secs(20))));
    toy.config.add_hold.value = Duration::from_secs(5);
    let late = choose(&toy).unwrap_err();
    assert!(!late.hold && late.hindered, "it would not be ready in time: {late:?}");
}

#[test]
fn a_full_subnet_refuses_at_once() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.cloud.subnet_free = 0;
    toy.add_pods(1);
    toy.round();
    toy.round();
    let shortage = choose(&toy).unwrap_err();
    assert!(matches!(shortage.cause, Refusal::SubnetFull { .. }), "{shortage:?}");
    assert!(!shortage.hold);
}

/// Between two tries nothing rests, and nothing has become better either.
#[test]
fn a_cloud_that_cannot_be_reached_is_named_between_two_tries_too() {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    toy.run_to_rest();
    toy.fates = Box::new(|| Fate::NotSent);
    // The spare one; and another is asked for, to which more will have to be added for the next pods.
    toy.add_pods(1);
    toy.round();
    for waiting in 1..4 {
        toy.set_waiting(waiting);
        toy.sleep(Duration::from_secs(40));
        let shortage = choose(&toy).unwrap_err();
        let api = Api::AssignPrivateIpAddresses;
        assert_eq!(shortage.cause, Refusal::Unreachable { api, cause: "refused".to_owned() });
        assert!(shortage.hold && shortage.hindered);
        toy.round();
    }
    toy.fates = Box::new(|| Fate::Fine);
    toy.run_to_rest();
    assert_eq!(toy.ledger.leases.len(), 4);
    assert!(choose(&toy).is_ok());
}

/// Describes lag: EC2 has filled the ENI, and a read does not show it yet.
#[test]
fn an_eni_that_ec2_has_filled_already_is_read_again_and_the_add_waits_for_that() {
    let mut toy = Toy::new("t3.small", by_address(1, 0));
    toy.run_to_rest();
    let primary = toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap();
    for last in 0..2 {
        primary.secondary.insert(IpAddr::from([10, 0, 200, last]));
    }
    toy.add_pods(1);
    let mut causes = Vec::new();
    for _ in 0..20 {
        toy.round();
        match choose(&toy) {
            Ok(_) => break,
            Err(shortage) => {
                assert!(shortage.hold, "{shortage:?}");
                causes.push(shortage.cause);
            }
        }
        toy.sleep(Duration::from_secs(2));
    }
    assert!(causes.iter().any(|cause| matches!(cause, Refusal::Miscounted { .. })), "{causes:?}");
    assert!(choose(&toy).is_ok(), "the read has shown them, and they have rested: {causes:?}");
}

/// By a ledger that is lost we may have given back what a late read still shows.
#[test]
fn what_was_found_is_leased_when_a_later_read_shows_it_again() {
    let mut toy = Toy::new("t3.small", by_address(1, 0));
    let [gone, stays] = [0, 1].map(|last| IpAddr::from([10, 0, 200, last]));
    let primary = EniId::new("eni-primary");
    toy.cloud.enis.get_mut(&primary).unwrap().secondary.extend([gone, stays]);
    for _ in 0..20 {
        toy.round();
        if toy.ledger.is_held(gone) {
            break;
        }
    }
    assert!(toy.ledger.is_held(gone) && toy.ledger.is_held(stays));
    toy.cloud.enis.get_mut(&primary).unwrap().secondary.remove(&gone);
    toy.run_to_rest();
    // Rested, and not proven.
    let mut unproven = toy.observed.clone();
    let asked_again = toy.now.boottime.after(Duration::from_secs(60));
    for ip in [gone, stays] {
        unproven.reads.want(crate::wanted::Reason::Unasked(ip.into()), asked_again);
    }
    toy.sleep(Duration::from_secs(31));
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    let chosen = free_addresses(PoolKey::DEFAULT, &desired, &toy.ledger, &unproven, &toy.now);
    assert!(!chosen.iter().any(|chosen| [gone, stays].contains(&chosen.address)));
    toy.run_to_rest();
    assert!(
        [gone, stays].iter().all(|ip| !toy.observed.reads.unproven((*ip).into())),
        "{:?}",
        toy.observed.reads
    );
    assert!(!toy.ledger.is_held(gone));
    assert!(toy.ledger.is_free(stays, &toy.now));
}

/// By a ledger that is old the address is a dead sandbox's, and another one lives with it.
#[test]
fn an_address_that_an_unexplained_sandbox_has_is_set_aside_when_its_old_lease_ends() {
    let mut toy = rested();
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    let lease = toy.ledger.leases.values().next().unwrap().clone();
    let (key, ip) = (lease.sandbox.clone(), lease.faces[0].address);
    let link = LinkSeen { alias: Some(LinkAlias::of(&request("other").sandbox)), ..LinkSeen::default() };
    toy.observed.traces.in_use.insert(ip, link.clone());
    assert!(toy.observed.traces.is_anothers(ip));
    toy.commit(&begin_release(&toy.ledger, &Ended::asked(&lease), &toy.now));
    toy.commit(&finish_release(&desired, &toy.ledger, &toy.observed.traces, &key, &toy.now));
    assert_eq!(toy.ledger.standing(ip), Standing::Suspect(Suspicion::MaybeInUse));
    // What the host itself bears is nobody's link.
    toy.observed.traces.in_use.insert(ip, LinkSeen { alias: None, ..link });
    assert!(!toy.observed.traces.is_anothers(ip));
}

#[test]
fn while_the_ledger_is_known_to_be_old_nothing_is_leased_before_ec2_was_read() {
    let mut toy = rested();
    assert!(choose(&toy).is_ok());
    toy.sleep(Duration::from_millis(1));
    toy.observed.ledger_lost(&toy.now);
    assert!(choose(&toy).is_err());
    let node = toy.ledger.node.clone().unwrap();
    let read = CloudRead::InstanceEnis { instance: node.identity.instance };
    let (before, now) = (BootTime(toy.now.boottime.0 - 1), toy.now.boottime);
    toy.read(&read, before, 0);
    assert!(choose(&toy).is_err(), "a read that began before tells nothing");
    toy.read(&read, now, 0);
    assert!(choose(&toy).is_ok());
}

/// The ledger's primary ENI has no link here, and metadata has not said who we are: the disk may be another instance's.
#[test]
fn nothing_is_changed_in_ec2_while_it_is_not_sure_which_instance_this_is() {
    let primary = crate::toy::identity("t3.small").primary_mac;
    let (ours, anothers) = (BTreeSet::from([primary]), BTreeSet::from([MacAddr([2, 0, 0, 0, 0, 99])]));
    for (macs, sure) in [(None, true), (Some(&ours), true), (Some(&anothers), false)] {
        let mut toy = rested();
        toy.observed.weigh_who(&toy.ledger, Here { identity: None, macs });
        toy.set_waiting(4);
        let calls = toy.cloud.calls.len();
        toy.run_to_rest();
        assert_eq!(toy.cloud.calls.len() > calls, sure, "{macs:?}");
    }
    let mut toy = rested();
    toy.observed.weigh_who(&toy.ledger, Here { identity: None, macs: Some(&anothers) });
    toy.set_waiting(40);
    let calls = toy.cloud.calls.len();
    toy.run_to_rest();
    assert_eq!(toy.cloud.calls.len(), calls);
    assert_eq!(toy.last.refusal(), Some(&Refusal::NotReady));
    toy.observed.who_is_known();
    toy.run_to_rest();
    assert!(toy.cloud.calls.len() > calls);
}

#[test]
fn only_a_pending_lease_becomes_active() {
    for (phase, then) in [
        (LeasePhase::Pending, Some(LeasePhase::Active)),
        (LeasePhase::Active, None),
        (LeasePhase::Releasing, None),
    ] {
        let mut toy = rested();
        let mut lease = toy.ledger.leases.values().next().unwrap().clone();
        lease.phase = phase;
        toy.ledger.apply(&Change::PutLease(lease.clone()));
        let changes = activate(&toy.ledger, &lease.sandbox);
        let expected: Vec<Change> =
            then.map(|phase| Change::PutLease(Lease { phase, ..lease.clone() })).into_iter().collect();
        assert_eq!(changes, expected, "{phase:?}");
    }
}

/// The journal says which pod, and which address.
#[test]
fn what_happens_to_a_lease_is_written_down() {
    let toy = rested();
    let lease = toy.ledger.leases.values().next().unwrap();
    let (sandbox, address) = (lease.sandbox.clone(), lease.faces[0].address.to_string());
    let told = |changes: &[Change]| {
        let [.., Change::Journal(entry)] = changes else { panic!("{changes:?}") };
        assert_eq!(entry.at, toy.now.wall);
        entry.what.clone()
    };
    let rewired = told(&rewired(&toy.ledger, &sandbox, &toy.now));
    let released = told(&begin_release(&toy.ledger, &Ended::asked(lease), &toy.now));
    for words in [&rewired, &released] {
        assert!(words.contains(&address) && words.contains("web-0"), "{words}");
    }
    assert!(rewired.contains("wired anew"), "{rewired}");
    let leased = |trace: Option<&str>| {
        let request = LeaseRequest { trace: trace.map(Into::into), ..request("new") };
        let changes = open_lease(&toy.ledger, &[choose(&toy).unwrap()], request, &toy.now).unwrap();
        let entries = changes.into_iter().filter_map(|change| match change {
            Change::Journal(entry) => Some(entry.what),
            _ => None,
        });
        entries.collect::<Vec<_>>().join("\n")
    };
    assert!(leased(Some("00-ab-cd-01")).ends_with("(default/web-0), trace 00-ab-cd-01"));
    assert!(leased(None).ends_with("(default/web-0)"));
    assert_eq!(super::rewired(&toy.ledger, &request("unheard-of").sandbox, &toy.now), []);
}

/// EC2 took a prefix away under several pods: the last one's address leaves with it.
#[test]
fn a_block_that_others_use_stays_in_the_book() {
    let mut toy = rested();
    let lease = toy.ledger.leases.values().next().unwrap().clone();
    let (ip, eni) = (lease.faces[0].address, lease.faces[0].eni.clone());
    let prefix: ipnet::Ipv4Net = "10.0.0.0/28".parse().unwrap();
    let prefix = Block { state: BlockState::Withdrawn, ..Block::held(prefix.into(), eni, BootTime(1)) };
    toy.ledger.apply_all(&[Change::DropBlock(ip.into()), Change::PutBlock(prefix.clone())]);
    assert_eq!(toy.ledger.block_of(ip), Some(&prefix));
    toy.ledger.apply_all(&begin_release(&toy.ledger, &Ended::asked(&lease), &toy.now));
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let rest = crate::quarantine::rest(&desired, &toy.now);
    let other: IpAddr = "10.0.0.14".parse().unwrap();
    for (what, stays) in [
        (Use::Leased(request("b").sandbox), true),
        (Use::Suspect(Suspicion::MaybeInUse), true),
        (Use::Cooling(rest), false),
    ] {
        let mut ledger = toy.ledger.clone();
        ledger.apply(&Change::PutUse(other, what.clone()));
        ledger.apply_all(&finish_release(&desired, &ledger, &toy.observed.traces, &lease.sandbox, &toy.now));
        let kept = ledger.blocks[&prefix.net].state == BlockState::Withdrawn;
        assert_eq!(kept, stays, "{what:?}");
        assert!(!ledger.leases.contains_key(&lease.sandbox));
    }
}
