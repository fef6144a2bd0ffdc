use std::time::Duration;

use holdfast_model::cloud::{Api, TAG_NO_MANAGE};
use holdfast_model::eni::EniKind;
use holdfast_model::ids::EniId;

use super::*;
use crate::compare_hint;
use crate::toy::{Fate, Toy, by_eni};

fn groups(names: &[&str]) -> BTreeSet<SecurityGroupId> {
    names.iter().map(|name| SecurityGroupId::new(*name)).collect()
}

/// Three ENIs of ours, and one that is not to be touched.
fn grown() -> (Toy, EniId) {
    let mut toy = Toy::new("m5.xlarge", by_eni(1));
    toy.cloud.attach_foreign("eni-foreign", 1, EniKind::Standard, &[(TAG_NO_MANAGE, "true")]);
    toy.add_pods(20);
    toy.run_to_rest();
    assert_eq!(toy.cloud.enis.len(), 4, "{:?}", toy.cloud.enis);
    toy.sleep(Duration::from_secs(600));
    (toy, EniId::new("eni-foreign"))
}

/// Somebody gives the primary other groups.
fn replace(toy: &mut Toy, names: &[&str]) {
    toy.cloud.groups = groups(names);
    toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap().groups = groups(names);
}

/// So many minutes pass, with a look at the metadata service in each.
fn pass(toy: &mut Toy, minutes: u32) {
    for _ in 0..minutes {
        toy.sleep(Duration::from_secs(60));
        let shown = |eni: &crate::toy::cloud::ToyEni| {
            eni.secondary.iter().copied().chain([std::net::IpAddr::V4(eni.primary)]).collect()
        };
        let hint = toy.cloud.attached().map(|eni| (eni.mac, shown(eni))).collect();
        let differs = compare_hint(
            &toy.ledger,
            &hint,
            &toy.cloud.shown_groups(),
            &toy.cloud.shown_prefixes(),
            &toy.now,
        );
        toy.observed.hinted(differs, &toy.now);
        while toy.round() {}
    }
}

fn assert_all_have(toy: &Toy, names: &[&str], foreign: &EniId) {
    for (id, eni) in &toy.cloud.enis {
        let wanted = if id == foreign { groups(&["sg-1"]) } else { groups(names) };
        assert_eq!(eni.groups, wanted, "{id}");
    }
}

#[test]
fn the_enis_follow_the_primarys_groups_and_no_other_does() {
    let (mut toy, foreign) = grown();
    replace(&mut toy, &["sg-2", "sg-3"]);
    toy.cloud.calls.clear();
    pass(&mut toy, 2);
    assert_all_have(&toy, &["sg-2", "sg-3"], &foreign);
    assert_eq!(toy.cloud.count(Api::ModifyNetworkInterfaceAttribute), 2, "{:?}", toy.cloud.calls);
    // An ENI that is made from now on has them at once.
    toy.add_pods(20);
    toy.run_to_rest();
    assert_all_have(&toy, &["sg-2", "sg-3"], &foreign);
    toy.assert_in_agreement();
    // And back.
    replace(&mut toy, &["sg-1"]);
    pass(&mut toy, 2);
    assert_all_have(&toy, &["sg-1"], &foreign);
    toy.cloud.calls.clear();
    pass(&mut toy, 60);
    assert_eq!(toy.cloud.calls, [], "then nothing is left to do");
}

#[test]
fn what_changed_while_no_daemon_ran_is_followed_at_the_start() {
    let (mut toy, foreign) = grown();
    replace(&mut toy, &["sg-2"]);
    toy.restart();
    toy.run_to_rest();
    assert_all_have(&toy, &["sg-2"], &foreign);
}

#[test]
fn without_leave_to_change_ec2_nothing_follows() {
    let (mut toy, _) = grown();
    toy.config.provisioning_disabled.value = true;
    replace(&mut toy, &["sg-2"]);
    toy.cloud.calls.clear();
    pass(&mut toy, 5);
    assert_eq!(toy.cloud.count(Api::ModifyNetworkInterfaceAttribute), 0);
}

/// Whatever becomes of the calls, all have them in the end.
#[test]
fn lost_and_refused_changes_are_made_again() {
    for fate in [
        Fate::LostBefore,
        Fate::LostAfter,
        Fate::Throttled,
        Fate::NotSent,
        Fate::KilledBefore,
        Fate::KilledAfter,
    ] {
        let (mut toy, foreign) = grown();
        replace(&mut toy, &["sg-2"]);
        let mut calls = 0;
        toy.fates = Box::new(move || {
            calls += 1;
            if (2..5).contains(&calls) { fate } else { Fate::Fine }
        });
        pass(&mut toy, 3);
        toy.run_to_rest();
        assert_all_have(&toy, &["sg-2"], &foreign);
        toy.assert_in_agreement();
    }
}

/// Somebody gives one ENI groups of his own.
fn set(toy: &mut Toy, eni: &EniId, names: &[&str]) {
    toy.cloud.enis.get_mut(eni).unwrap().groups = groups(names);
}

#[test]
fn groups_that_somebody_else_has_set_are_left_and_cost_nothing() {
    let (mut toy, foreign) = grown();
    let theirs = EniId::new("eni-0001");
    set(&mut toy, &theirs, &["sg-theirs"]);
    pass(&mut toy, 3);
    assert_eq!(toy.ledger.enis[&theirs].source.security_groups, None);
    replace(&mut toy, &["sg-2"]);
    pass(&mut toy, 3);
    // Nor by the next process.
    toy.restart();
    pass(&mut toy, 3);
    let has = |toy: &Toy, eni: &str| toy.cloud.enis[&EniId::new(eni)].groups.clone();
    assert_eq!(has(&toy, "eni-0001"), groups(&["sg-theirs"]));
    assert_eq!((has(&toy, "eni-0002"), has(&toy, foreign.as_str())), (groups(&["sg-2"]), groups(&["sg-1"])));
    toy.cloud.calls.clear();
    pass(&mut toy, 24 * 60);
    // ENIs, attached and not, and the zone's subnets.
    assert!(toy.cloud.calls.len() <= 12, "a day: {:?}", toy.cloud.calls);
    assert_eq!(toy.cloud.count(Api::ModifyNetworkInterfaceAttribute), 0);
    // Given back what the others have, it is one of them again.
    set(&mut toy, &theirs, &["sg-2"]);
    toy.restart();
    pass(&mut toy, 3);
    replace(&mut toy, &["sg-3"]);
    pass(&mut toy, 3);
    assert_all_have(&toy, &["sg-3"], &foreign);
}

/// Changed at the same time as the primary, to the same.
#[test]
fn whoever_sets_the_same_on_all_has_set_nothing_of_his_own() {
    let (mut toy, foreign) = grown();
    replace(&mut toy, &["sg-2"]);
    set(&mut toy, &EniId::new("eni-0001"), &["sg-2"]);
    toy.cloud.calls.clear();
    pass(&mut toy, 3);
    assert_eq!(toy.cloud.count(Api::ModifyNetworkInterfaceAttribute), 1);
    replace(&mut toy, &["sg-3"]);
    pass(&mut toy, 3);
    assert_all_have(&toy, &["sg-3"], &foreign);
}

/// A ledger that is lost does not know what it gave.
#[test]
fn other_groups_that_are_found_are_left() {
    let (mut toy, _) = grown();
    set(&mut toy, &EniId::new("eni-0001"), &["sg-theirs"]);
    let identity = toy.ledger.node.as_ref().unwrap().identity.clone();
    toy.delete_all_pods();
    toy.config.warm.value = by_eni(3);
    toy.ledger = Ledger::default();
    toy.start(&identity);
    toy.run_to_rest();
    replace(&mut toy, &["sg-2"]);
    pass(&mut toy, 3);
    let has = |eni: &str| toy.cloud.enis.get(&EniId::new(eni)).map(|eni| eni.groups.clone());
    assert_eq!(has("eni-0001"), Some(groups(&["sg-theirs"])));
    assert_eq!(has("eni-0002"), Some(groups(&["sg-2"])));
}

/// Between the look and the call somebody may come: what is to be repeated after a silence is looked at before.
#[test]
fn a_change_that_was_not_answered_overwrites_nobodys() {
    let (mut toy, _) = grown();
    replace(&mut toy, &["sg-2"]);
    let theirs = EniId::new("eni-0001");
    let change = CloudChange::SetSecurityGroups { eni: theirs.clone(), groups: groups(&["sg-2"]) };
    toy.has_seen(&theirs);
    let id = toy.open(change);
    toy.observed.given_up(id);
    set(&mut toy, &theirs, &["sg-theirs"]);
    toy.sleep(Duration::from_secs(400));
    pass(&mut toy, 3);
    assert_eq!(toy.cloud.enis[&theirs].groups, groups(&["sg-theirs"]));
    assert!(toy.ledger.intents.is_empty());
}
