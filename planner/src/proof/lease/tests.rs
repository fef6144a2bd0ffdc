use super::*;
use crate::begin_release;
use crate::toy::{Toy, by_eni};

fn with_pods(count: u32) -> (Toy, Vec<SandboxKey>) {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(count);
    toy.run_to_rest();
    let keys = toy.ledger.leases.keys().cloned().collect();
    (toy, keys)
}

fn sighting(toy: &Toy, key: &SandboxKey, seen: NetnsSeen, link: bool) -> (SandboxKey, Sighting) {
    (key.clone(), Sighting { netns: toy.ledger.leases[key].netns.clone(), seen, link, lacks_link: !link })
}

fn gone(toy: &Toy, seen: &BTreeMap<SandboxKey, Sighting>, busy: &BTreeSet<SandboxKey>) -> Vec<SandboxKey> {
    reap(&toy.ledger, seen, busy).iter().map(|ended| ended.sandbox().clone()).collect()
}

#[test]
fn only_sandboxes_gone_in_both_ways_are_over() {
    let (mut toy, keys) = with_pods(6);
    // The sixth is not looked for.
    let seen = BTreeMap::from([
        sighting(&toy, &keys[0], NetnsSeen::Gone, false),
        sighting(&toy, &keys[1], NetnsSeen::Gone, true),
        sighting(&toy, &keys[2], NetnsSeen::Alive, false),
        sighting(&toy, &keys[3], NetnsSeen::Unknown, false),
        sighting(&toy, &keys[4], NetnsSeen::Gone, false),
    ]);
    let busy = BTreeSet::from([keys[4].clone()]);
    assert_eq!(gone(&toy, &seen, &busy), [keys[0].clone()]);
    let ended = reap(&toy.ledger, &seen, &busy).remove(0);
    toy.commit(&begin_release(&toy.ledger, &ended, &toy.now));
    assert_eq!(gone(&toy, &seen, &busy), [], "under way already");
}

#[test]
fn garbage_is_what_the_runtime_does_not_list_on_this_network() {
    let (toy, keys) = with_pods(3);
    let valid = BTreeSet::from([(keys[0].container_id.clone(), keys[0].ifname.clone())]);
    let busy = BTreeSet::from([keys[1].clone()]);
    assert_eq!(collect_garbage(&toy.ledger, "aws-cni", &valid, &busy), [&toy.ledger.leases[&keys[2]]]);
    assert_eq!(collect_garbage(&toy.ledger, "other", &valid, &busy), Vec::<&Lease>::new());
}

/// A runtime may use a container id again, after a restore for example.
#[test]
fn what_ended_in_one_namespace_says_nothing_of_the_same_sandbox_in_another() {
    let (mut toy, keys) = with_pods(1);
    let old = toy.ledger.leases[&keys[0]].clone();
    let (asked, seen) = (Ended::asked(&old), sighting(&toy, &keys[0], NetnsSeen::Gone, false));
    let netns = NetnsRef { inode: old.netns.inode + 1, ..old.netns.clone() };
    toy.ledger.apply(&holdfast_model::ledger::Change::PutLease(Lease { netns, ..old }));
    assert_eq!(begin_release(&toy.ledger, &asked, &toy.now), []);
    assert_eq!(gone(&toy, &BTreeMap::from([seen]), &BTreeSet::new()), []);
}

#[test]
fn a_lease_that_was_answered_meanwhile_is_not_undone() {
    let (mut toy, keys) = with_pods(1);
    let active = toy.ledger.leases[&keys[0]].clone();
    assert_eq!(Ended::unanswered(&active), None);
    let pending = Lease { phase: LeasePhase::Pending, ..active };
    let ended = Ended::unanswered(&pending).unwrap();
    assert_eq!(begin_release(&toy.ledger, &ended, &toy.now), [], "it is active in the ledger");
    toy.ledger.apply(&holdfast_model::ledger::Change::PutLease(pending));
    assert!(!begin_release(&toy.ledger, &ended, &toy.now).is_empty());
}
