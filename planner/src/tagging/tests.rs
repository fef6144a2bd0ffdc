use holdfast_model::cloud::TAG_NO_MANAGE;
use holdfast_model::config::Setting;

use super::*;
use crate::toy::{Fate, Toy, by_address};
use crate::{Fault, plan};

const CLUSTER: (&str, &str) = (TAG_CLUSTER, "prod");

fn in_a_cluster() -> Toy {
    let mut toy = Toy::new("m5.large", by_address(1, 0));
    toy.config.cluster = Setting::from_environment(Some("prod".to_owned()));
    toy
}

fn tags_of(toy: &Toy, eni: &str) -> Tags {
    toy.cloud.enis[&EniId::new(eni)].tags.clone()
}

#[test]
fn the_primary_is_tagged_before_anything_is_asked_for_it() {
    let mut toy = in_a_cluster();
    toy.add_pods(3);
    toy.run_to_rest();
    let reads = |api: &&Api| matches!(api, Api::DescribeNetworkInterfaces | Api::DescribeSubnets);
    let first = toy.cloud.calls.iter().find(|api| !reads(api));
    assert_eq!(first, Some(&Api::CreateTags), "{:?}", toy.cloud.calls);
    assert_eq!(toy.cloud.count(Api::CreateTags), 1, "{:?}", toy.cloud.calls);
    let tags = tags_of(&toy, "eni-primary");
    assert_eq!((tags[CLUSTER.0].as_str(), tags[TAG_OWNER].as_str()), (CLUSTER.1, OWNER));
    // What is made has them from the beginning, and nobody tags twice.
    toy.add_pods(15);
    toy.run_to_rest();
    toy.restart();
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    assert!(toy.cloud.enis.len() > 1);
    assert_eq!(toy.cloud.count(Api::CreateTags), 1);
    toy.assert_in_agreement();
}

/// Read, and with its tag begun.
fn being_tagged() -> Toy {
    let mut toy = in_a_cluster();
    toy.add_pods(5);
    assert!(toy.round(), "it is read");
    let (tags, asked) = planned(&toy);
    assert_eq!((tags, asked), (1, 0), "the tag, and nothing beside it");
    toy.observed.tagging_began(&EniId::new("eni-primary"), &toy.now);
    toy
}

/// How many calls are to tag, and how many to change what there is.
fn planned(toy: &Toy) -> (usize, usize) {
    let made = toy.with_desired(|desired| plan(desired, &toy.ledger, &toy.observed, &toy.now));
    let tags = made.steps.iter().filter(|step| matches!(step, Step::Tag { .. })).count();
    let asked = made.steps.iter().filter(|step| step.change(&toy.ledger).is_some()).count();
    (tags, asked)
}

#[test]
fn nothing_is_asked_beside_the_tag_and_none_waits_for_a_call_that_hangs() {
    let mut toy = being_tagged();
    assert_eq!(planned(&toy), (0, 0));
    toy.sleep(Duration::from_millis(1900));
    assert_eq!(planned(&toy), (0, 0));
    let made = toy.with_desired(|desired| plan(desired, &toy.ledger, &toy.observed, &toy.now));
    assert_eq!(made.next_look.map(|at| at.since(toy.now.boottime)), Some(Duration::from_millis(100)));
    toy.sleep(Duration::from_millis(100));
    assert_eq!(planned(&toy), (0, 1));
}

#[test]
fn a_throttled_tag_is_waited_for_and_a_refused_one_is_not() {
    let primary = EniId::new("eni-primary");
    for (fault, awaited) in [(Fault::Throttled { retry_after: None }, true), (Fault::Denied, false)] {
        let mut toy = being_tagged();
        toy.sleep(Duration::from_millis(150));
        toy.observed.untagged(&primary, Some(fault), "no", &toy.now, 7);
        assert_eq!(planned(&toy), (0, usize::from(!awaited)));
        let keys = [TAG_CLUSTER, TAG_OWNER];
        toy.observed.tagged(&primary, &keys.map(|key| (key.to_owned(), String::new())).into(), &toy.now);
        assert_eq!(planned(&toy), (0, 1));
    }
}

/// A policy with a condition on the tag: nothing may be asked of what lacks it.
#[test]
fn a_policy_that_goes_by_the_tag_is_never_run_into() {
    for fate in [Fate::Fine, Fate::Throttled, Fate::LostBefore, Fate::LostAfter, Fate::NotSent] {
        let mut toy = in_a_cluster();
        toy.cloud.only_tagged = Some(CLUSTER.0);
        toy.add_pods(5);
        let mut calls = 0;
        toy.fates = Box::new(move || {
            calls += 1;
            // After the first read.
            if (2..4).contains(&calls) { fate } else { Fate::Fine }
        });
        toy.run_to_rest();
        assert_eq!((toy.waiting(), toy.cloud.refused), (0, 0), "{fate:?}: {:?}", toy.cloud.calls);
    }
}

/// A role that may tag at creation only.
#[test]
fn without_the_right_to_tag_pods_are_served_and_it_is_tried_a_few_times_a_day() {
    let mut toy = in_a_cluster();
    toy.cloud.denied.insert(Api::CreateTags);
    toy.add_pods(5);
    toy.run_to_rest();
    assert_eq!(toy.waiting(), 0);
    toy.cloud.calls.clear();
    for _ in 0..24 * 60 {
        toy.sleep(Duration::from_secs(60));
        toy.run_to_rest();
    }
    assert!(toy.cloud.count(Api::CreateTags) <= 16, "{} in a day", toy.cloud.count(Api::CreateTags));
    let named = toy.observed.denial(&toy.now).map(ToString::to_string).unwrap_or_default();
    assert!(named.contains("ec2:CreateTags on eni-primary"), "{named}");
}

/// What others have attached serves pods as ours does. Once they have detached it, it is theirs as before.
#[test]
fn what_others_have_made_never_counts_as_left_behind() {
    let mut toy = in_a_cluster();
    toy.cloud.attach_foreign("eni-foreign", 1, EniKind::Standard, &[]);
    toy.add_pods(22);
    toy.run_to_rest();
    let tags = tags_of(&toy, "eni-foreign");
    assert_eq!((tags.get(TAG_CLUSTER).map(String::as_str), tags.get(TAG_INSTANCE)), (Some("prod"), None));
    assert_eq!(tags_of(&toy, "eni-primary").get(TAG_INSTANCE), None);
    // Ours, whose tag somebody took away.
    let made = toy.ledger.enis.values().find(|eni| eni.created_by.is_some()).unwrap().id.clone();
    toy.cloud.enis.get_mut(&made).unwrap().tags.remove(TAG_INSTANCE);
    toy.sleep(Duration::from_secs(7 * 3600));
    toy.run_to_rest();
    assert_eq!(tags_of(&toy, made.as_str())[TAG_INSTANCE], "i-1");
}

#[test]
fn what_is_none_of_ours_is_not_tagged_and_no_word_of_others_overwritten() {
    let mut toy = in_a_cluster();
    toy.cloud.attach_foreign("eni-foreign", 1, EniKind::Standard, &[(TAG_NO_MANAGE, "true")]);
    toy.cloud.attach_foreign("eni-trunk", 2, EniKind::Trunk, &[]);
    let primary = toy.cloud.enis.get_mut(&EniId::new("eni-primary")).unwrap();
    primary.tags.insert(TAG_OWNER.to_owned(), "somebody".to_owned());
    toy.add_pods(1);
    toy.run_to_rest();
    assert_eq!(tags_of(&toy, "eni-primary")[TAG_OWNER], "somebody");
    assert!(tags_of(&toy, "eni-primary").contains_key(TAG_CLUSTER));
    for eni in ["eni-foreign", "eni-trunk"] {
        assert!(!tags_of(&toy, eni).contains_key(TAG_CLUSTER), "{eni}");
    }
}

#[test]
fn without_a_name_or_leave_nothing_is_tagged() {
    for (named, disabled) in [(false, false), (true, true)] {
        let mut toy = in_a_cluster();
        if !named {
            toy.config.cluster.value = None;
        }
        toy.config.provisioning_disabled.value = disabled;
        toy.run_to_rest();
        assert_eq!(toy.cloud.count(Api::CreateTags), 0);
    }
}
