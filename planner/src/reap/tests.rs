use super::*;
use crate::toy::{Toy, by_eni};

#[test]
fn only_sandboxes_gone_in_both_ways_are_over() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(6);
    toy.run_to_rest();
    let keys: Vec<SandboxKey> = toy.ledger.leases.keys().cloned().collect();
    let sighting = |netns, link| Sighting { netns, link };
    // The sixth is not looked for.
    let seen = BTreeMap::from([
        (keys[0].clone(), sighting(NetnsSeen::Gone, false)),
        (keys[1].clone(), sighting(NetnsSeen::Gone, true)),
        (keys[2].clone(), sighting(NetnsSeen::Alive, false)),
        (keys[3].clone(), sighting(NetnsSeen::Unknown, false)),
        (keys[4].clone(), sighting(NetnsSeen::Gone, false)),
    ]);
    let busy = BTreeSet::from([keys[4].clone()]);
    assert_eq!(reap(&toy.ledger, &seen, &busy), [keys[0].clone()]);
    toy.commit(&crate::begin_release(&toy.ledger, &keys[0], &toy.now));
    assert_eq!(reap(&toy.ledger, &seen, &busy), [], "under way already");
}

#[test]
fn garbage_is_what_the_runtime_does_not_list_on_this_network() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(3);
    toy.run_to_rest();
    let keys: Vec<SandboxKey> = toy.ledger.leases.keys().cloned().collect();
    let valid = BTreeSet::from([(keys[0].container_id.clone(), keys[0].ifname.clone())]);
    let busy = BTreeSet::from([keys[1].clone()]);
    assert_eq!(collect_garbage(&toy.ledger, "aws-cni", &valid, &busy), [keys[2].clone()]);
    assert_eq!(collect_garbage(&toy.ledger, "other", &valid, &busy), []);
}
