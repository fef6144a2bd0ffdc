mod noted;
mod others;

use std::time::Duration;

use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::ids::{EniId, InstanceId, IntentId};
use holdfast_model::ledger::Ledger;
use holdfast_model::refusal::CredentialsFault;
use holdfast_model::time::{BootTime, Now};

use crate::toy::{Toy, by_eni, now_at};
use crate::{Fault, Observed, Reading, Settlement};

fn read() -> CloudRead {
    CloudRead::InstanceEnis { instance: InstanceId::new("i-1") }
}

fn rest(observed: &Observed, now: &Now) -> Duration {
    observed
        .pause_of(Api::DescribeNetworkInterfaces, None, None, now)
        .map_or(Duration::ZERO, |pause| pause.until.since(now.boottime))
}

#[test]
fn pauses_double_spread_and_end() {
    let now = now_at(100);
    let throttled = Some(Fault::Throttled { retry_after: None });
    // The first rest, the longest, and the part of each that no draw undercuts, in milliseconds.
    for (fault, first, longest, least) in
        [(throttled, 500, 60_000, 0), (Some(Fault::Denied), 30_000, 300_000, 2)]
    {
        let mut observed = Observed::default();
        for attempt in 0..12_u32 {
            let whole = (first * 2_u64.pow(attempt)).min(longest);
            let part = whole.checked_div(least).unwrap_or(0);
            for (draw, wanted) in [(0, part), (whole - part, whole), (17, part + 17)] {
                let mut copy = observed.clone();
                copy.read_failed(&read(), now.boottime, fault, "slow", &now, draw);
                let wanted = Duration::from_millis(wanted);
                assert_eq!(rest(&copy, &now), wanted, "attempt {attempt}, draw {draw}: {:?}", copy.pauses);
            }
            observed.read_failed(&read(), now.boottime, fault, "slow", &now, u64::MAX);
        }
        let reading = Reading { read: &read(), views: &[], began: now.boottime };
        observed.read_adopted(&Ledger::default(), reading);
        assert_eq!(observed.pauses.iter().count(), 0, "success ends it");
    }
}

#[test]
fn the_time_that_ec2_names_is_kept() {
    let now = now_at(100);
    let mut observed = Observed::default();
    let fault = Fault::Throttled { retry_after: Some(Duration::from_secs(7)) };
    observed.read_failed(&read(), now.boottime, Some(fault), "slow", &now, 0);
    assert_eq!(rest(&observed, &now), Duration::from_secs(7));
    let mut observed = Observed::default();
    observed.read_failed(&read(), now.boottime, Some(fault), "slow", &now, 500);
    assert_eq!(rest(&observed, &now), Duration::from_millis(7500), "not all at that very instant");
}

#[test]
fn a_link_that_is_late_is_looked_for_often_then_seldom() {
    let eni = EniId::new("eni-a");
    let mut observed = Observed::default();
    let mut now = now_at(0);
    let mut tries = 0;
    while now.boottime < now_at(60).boottime {
        observed.set_up_failed(&eni, "no", &now);
        now.boottime = observed.set_up_rests[&eni].next_try;
        tries += 1;
        assert!(tries < 60, "no rest at all");
    }
    assert!((20..60).contains(&tries), "{tries} in a minute");
    observed.links_changed(&now_at(1));
    assert_eq!(observed.set_up_rests[&eni].next_try, now_at(1).boottime, "news of links cuts the rest short");
}

/// A burst of calls is throttled as one: what was sent before EC2 said so says nothing new.
#[test]
fn one_throttled_volley_is_one_setback() {
    let sent = now_at(100);
    let mut told = now_at(100);
    let mut observed = Observed::default();
    for _ in 0..9 {
        told.boottime = told.boottime.after(Duration::from_millis(20));
        let throttled = Some(Fault::Throttled { retry_after: None });
        observed.read_failed(&read(), sent.boottime, throttled, "slow", &told, u64::MAX);
    }
    let attempts =
        |observed: &Observed| observed.pauses.iter().map(|pause| pause.attempts).collect::<Vec<_>>();
    assert_eq!(attempts(&observed), [1]);
    assert!(rest(&observed, &told) <= Duration::from_secs(1), "{:?}", observed.pauses);
    // What EC2 asks for is kept, and what is sent afterwards counts.
    let fault = Some(Fault::Throttled { retry_after: Some(Duration::from_secs(7)) });
    observed.read_failed(&read(), sent.boottime, fault, "slow", &told, 0);
    assert_eq!(rest(&observed, &told), Duration::from_secs(7));
    let throttled = Some(Fault::Throttled { retry_after: None });
    observed.read_failed(&read(), told.boottime, throttled, "slow", &told, 0);
    assert_eq!(attempts(&observed), [2]);
}

/// Twenty signs of drift in an instant are no time in which a link could have come.
#[test]
fn a_link_is_given_its_time_however_often_it_is_looked_for() {
    let eni = EniId::new("eni-a");
    let mut observed = Observed::default();
    for _ in 0..100 {
        observed.set_up_failed(&eni, "no", &now_at(10));
    }
    assert!(!observed.keeps_failing(&eni, &now_at(24)));
    observed.set_up_failed(&eni, "no", &now_at(25));
    assert!(observed.keeps_failing(&eni, &now_at(25)));
    observed.set_up_done(&eni);
    assert!(!observed.keeps_failing(&eni, &now_at(99)));
}

/// Where nobody answers there are no credentials; what answers again has some.
#[test]
fn when_the_metadata_service_answers_again_calls_without_credentials_rest_no_longer() {
    let now = now_at(100);
    for (fault, ends) in [
        (Fault::Credentials(CredentialsFault::Missing), true),
        (Fault::Credentials(CredentialsFault::Expired), true),
        (Fault::Credentials(CredentialsFault::NotValid), false),
        (Fault::NotSent, false),
    ] {
        let mut observed = Observed::default();
        observed.read_failed(&read(), now.boottime, Some(fault), "no", &now, 500);
        assert!(rest(&observed, &now) > Duration::ZERO);
        observed.metadata_answered(&now);
        assert_eq!(rest(&observed, &now) == Duration::ZERO, ends, "{fault:?}");
    }
}

/// EC2 contradicts the ledger once more while the read is under way that the first time led to.
#[test]
fn what_is_put_into_doubt_again_meanwhile_is_read_again() {
    let eni = EniId::new("eni-a");
    let read = CloudRead::Enis { enis: vec![eni.clone()] };
    let contradicted = Settlement { doubt: Some(read.clone()), ..Settlement::default() };
    let api = Api::AssignPrivateIpAddresses;
    let id = IntentId(uuid::Uuid::from_u128(1));
    let mut observed = Observed::default();
    observed.settled(id, api, &contradicted, &now_at(100), 0);
    observed.read_began(&read, &now_at(101));
    observed.settled(id, api, &contradicted, &now_at(102), 0);
    for (began, doubted) in [(101, true), (102, false)] {
        let reading = Reading { read: &read, views: &[], began: now_at(began).boottime };
        observed.read_adopted(&Ledger::default(), reading);
        assert_eq!(observed.doubted(&eni), doubted, "a read that began at {began}");
    }
}

/// Metadata was seen to list an ENI that was detached by force until the instance stops.
#[test]
fn an_eni_whose_link_went_is_looked_for_in_ec2_when_a_read_can_tell() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(60));
    let other = toy.ledger.enis.values().find(|eni| !eni.is_primary()).unwrap().clone();
    let macs = toy.ledger.enis.values().map(|eni| eni.mac).filter(|mac| *mac != other.mac).collect();
    toy.cloud.enis.get_mut(&other.id).unwrap().attachment = None;
    toy.observed.links_seen(&toy.ledger, &macs, &toy.now);
    assert!(!toy.observed.ready_enis.contains(&other.id));
    toy.run_to_rest();
    assert!(toy.ledger.enis.get(&other.id).is_none_or(|eni| eni.attachment().is_none()));
    toy.assert_in_agreement();
}
