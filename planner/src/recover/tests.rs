use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::EniPhase;
use holdfast_model::ids::{BootId, InstanceId, MacAddr};
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::pool::PoolKey;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::Use;

use super::{Here, Recovery, recover};
use crate::toy::{Toy, by_eni, identity};
use crate::{Desired, Observed, free_addresses, plan};

fn lived_in() -> Toy {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(4);
    toy.run_to_rest();
    toy.delete_pod(0);
    toy
}

fn other_boot(toy: &Toy) -> Now {
    Now { boot: BootId::new("boot-2"), boottime: BootTime(3000), wall: toy.now.wall }
}

#[test]
fn a_reboot_turns_leases_into_rests_that_began_with_the_boot_and_touches_nothing_in_ec2() {
    let toy = lived_in();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let now = other_boot(&toy);
    let recovered = recover(&desired, &toy.ledger, Here::default(), &now);
    assert_eq!(recovered.kind, Recovery::NewBoot);
    let mut ledger = toy.ledger.clone();
    ledger.apply_all(&recovered.changes);
    assert!(ledger.leases.is_empty());
    let resting =
        |ledger: &Ledger| ledger.uses.values().filter(|what| matches!(what, Use::Cooling(_))).count();
    assert_eq!(resting(&ledger), 4, "three leased ones and the one that rested");
    for (ip, what) in &ledger.uses {
        if let Use::Cooling(rest) = what {
            let left = toy.config.cooldown.value.saturating_sub(Duration::from_secs(3));
            assert_eq!(rest.remaining(&now), Some(left), "{ip}");
        }
    }
    assert!(ledger.enis.values().all(|eni| matches!(eni.phase, EniPhase::Attached { .. })));
    // Serving again needs neither EC2 nor metadata: only the kernel set-up.
    let mut observed = Observed::default();
    observed.ready_enis.extend(ledger.enis.keys().cloned());
    assert!(!free_addresses(PoolKey::DEFAULT, &desired, &ledger, &observed, &now).is_empty());
}

#[test]
fn a_ledger_from_an_image_is_forgotten() {
    let toy = lived_in();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let mut stranger = identity("t3.small");
    stranger.instance = InstanceId::new("i-2");
    stranger.primary_mac = MacAddr([6, 6, 6, 6, 6, 6]);
    let macs = BTreeSet::from([stranger.primary_mac]);
    let here = Here { identity: Some(&stranger), macs: Some(&macs) };
    let recovered = recover(&desired, &toy.ledger, here, &other_boot(&toy));
    assert_eq!(recovered.kind, Recovery::Foreign);
    let mut ledger = toy.ledger.clone();
    ledger.apply_all(&recovered.changes);
    assert_eq!(ledger.node.as_ref().unwrap().identity, stranger);
    assert!(ledger.enis.is_empty() && ledger.blocks.is_empty() && ledger.uses.is_empty());
    assert!(ledger.leases.is_empty() && ledger.intents.is_empty());
}

#[test]
fn a_boot_without_the_ledgers_primary_link_forgets_nothing_until_metadata_speaks_and_nothing_is_planned_with_it()
 {
    let toy = lived_in();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let now = other_boot(&toy);
    let theirs = BTreeSet::from([MacAddr([6, 6, 6, 6, 6, 6])]);
    let ours = BTreeSet::from([identity("t3.small").primary_mac]);
    let kind = |macs| recover(&desired, &toy.ledger, Here { identity: None, macs: Some(macs) }, &now).kind;
    assert_eq!(kind(&ours), Recovery::NewBoot);
    // A link may come late; and an image may have been started by another instance.
    assert_eq!((kind(&theirs), kind(&BTreeSet::new())), (Recovery::Doubtful, Recovery::Doubtful));

    let mut ledger = toy.ledger.clone();
    let here = Here { identity: None, macs: Some(&theirs) };
    ledger.apply_all(&recover(&desired, &ledger, here, &now).changes);
    let waiting = BTreeMap::from([(PoolKey::DEFAULT, 1)]);
    let observed = Observed { waiting, ..Observed::default() };
    assert_eq!(plan(&desired, &ledger, &observed, &now).steps, []);
    assert_eq!(free_addresses(PoolKey::DEFAULT, &desired, &ledger, &observed, &now), []);
}

#[test]
fn a_restart_changes_nothing() {
    let toy = lived_in();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let recovered = recover(&desired, &toy.ledger, Here::default(), &toy.now);
    assert_eq!((recovered.kind, recovered.changes), (Recovery::SameBoot, Vec::new()));
}

/// What metadata of another instance makes of a ledger: by whose primary ENI is in the kernel, and whether the node was
/// restarted.
#[test]
fn a_ledger_is_forgotten_on_the_kernels_word_and_never_within_a_boot_on_metadatas_alone() {
    let toy = lived_in();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let mut stranger = identity("t3.small");
    stranger.instance = InstanceId::new("i-2");
    stranger.primary_mac = MacAddr([6, 6, 6, 6, 6, 6]);
    let (own, theirs) = (identity("t3.small").primary_mac, stranger.primary_mac);
    let of = |macs: &[MacAddr]| Some(macs.iter().copied().collect::<BTreeSet<_>>());
    let (same, other) = (toy.now.clone(), other_boot(&toy));
    for (macs, now, kind) in [
        (None, &same, Recovery::Doubtful),
        (of(&[own]), &same, Recovery::Doubtful),
        (of(&[own, theirs]), &same, Recovery::Doubtful),
        (of(&[]), &same, Recovery::Doubtful),
        (of(&[theirs]), &same, Recovery::Foreign),
        (None, &other, Recovery::Doubtful),
        (of(&[own]), &other, Recovery::Doubtful),
        (of(&[theirs]), &other, Recovery::Foreign),
        (of(&[own, theirs]), &other, Recovery::Doubtful),
        (of(&[]), &other, Recovery::Doubtful),
    ] {
        let here = Here { identity: Some(&stranger), macs: macs.as_ref() };
        let recovered = recover(&desired, &toy.ledger, here, now);
        assert_eq!(recovered.kind, kind, "{macs:?} in {:?}", now.boot);
        assert_eq!(recovered.changes.is_empty(), kind == Recovery::Doubtful);
    }
}

/// Sandboxes of an earlier boot have been dead for as long as the kernel runs.
#[test]
fn a_node_that_took_longer_to_boot_than_a_rest_takes_serves_all_its_pods_at_once() {
    let mut toy = lived_in();
    // All that it can carry, so that none can be spared.
    let pods = toy.cloud.limits.enis_on(0) * toy.cloud.limits.pod_addresses_per_eni();
    toy.reboot();
    toy.sleep(Duration::from_secs(26));
    toy.set_waiting(pods);
    let begun = toy.now.boottime;
    while toy.waiting() > 0 {
        toy.round();
        toy.sleep(Duration::from_millis(50));
        assert!(toy.now.boottime.since(begun) < Duration::from_secs(4), "{} wait", toy.waiting());
    }
}

#[test]
fn an_empty_ledger_does_not_take_metadatas_word_against_the_kernels() {
    let toy = lived_in();
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let told = identity("t3.small");
    for (macs, kind) in [
        (BTreeSet::new(), Recovery::Doubtful),
        (BTreeSet::from([MacAddr([6, 6, 6, 6, 6, 6])]), Recovery::Doubtful),
        (BTreeSet::from([told.primary_mac]), Recovery::Fresh),
    ] {
        let here = Here { identity: Some(&told), macs: Some(&macs) };
        let recovered = recover(&desired, &Ledger::default(), here, &toy.now);
        assert_eq!(recovered.kind, kind);
        assert_eq!(recovered.changes.is_empty(), kind == Recovery::Doubtful);
    }
}

/// No instant of an earlier boot counts in this one, and who held on to what EC2 took away is dead.
#[test]
fn a_reboot_leaves_no_instant_of_the_old_clock_behind() {
    let mut toy = lived_in();
    let mut blocks: Vec<Block> = toy.ledger.blocks.values().take(3).cloned().collect();
    blocks[0].state = BlockState::Withdrawn;
    blocks[1].state = BlockState::Gone(toy.now.boottime);
    toy.ledger.apply_all(blocks.iter().cloned().map(Change::PutBlock).collect::<Vec<_>>().iter());
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let now = other_boot(&toy);
    toy.ledger.apply_all(&recover(&desired, &toy.ledger, Here::default(), &now).changes);
    let gone = BlockState::Gone(now.boottime);
    for (block, state) in blocks.iter().zip([gone, gone, BlockState::Held]) {
        let block = &toy.ledger.blocks[&block.net];
        assert_eq!((block.state, block.shown), (state, BootTime(0)));
    }
    for eni in toy.ledger.enis.values() {
        assert_eq!((eni.since, eni.changed), (now.boottime, now.boottime));
    }
}
