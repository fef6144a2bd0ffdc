use super::*;
use crate::Step;
use crate::toy::{Fate, Toy, by_eni, now_at};
use holdfast_model::cloud::CloudChange;

/// Whoever asks all the time gets what flows in, and no more.
#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    for api in Api::ALL {
        let mut budget = Budget::default();
        let mut given = 0;
        for ms in 0..60_000 {
            let now = now_at(1000).boottime.after(Duration::from_millis(ms));
            given += u64::from(budget.admits(api, now, &mut Agenda::new(&now_at(1000))));
        }
        let Share { capacity, per_second } = share(api);
        let most = capacity + 60 * per_second;
        assert!((most - 1..=most).contains(&given), "{api:?}: {given}");
        assert!((15..=20).contains(&capacity), "fifteen ENIs at once, and a fifth of what the account has");
    }
}

#[test]
fn an_empty_bucket_says_when_it_gives_again() {
    let (now, api) = (now_at(1000), Api::AttachNetworkInterface);
    let mut budget = Budget::default();
    while budget.admits(api, now.boottime, &mut Agenda::new(&now)) {}
    let mut agenda = Agenda::new(&now);
    assert!(!budget.admits(api, now.boottime, &mut agenda));
    let next = agenda.next().unwrap();
    assert_eq!(next, now.boottime.after(Duration::from_secs(1)));
    assert!(!budget.clone().admits(api, BootTime(next.0 - 1), &mut agenda));
    assert!(budget.admits(api, next, &mut agenda));
    assert!(budget.admits(Api::DetachNetworkInterface, now.boottime, &mut agenda), "each has its own");

    // What has flowed in meanwhile counts.
    let (mut agenda, later) = (Agenda::new(&now), next.after(Duration::from_millis(400)));
    assert!(!budget.admits(api, later, &mut agenda));
    assert_eq!(agenda.next(), Some(next.after(Duration::from_secs(1))));
}

/// Whatever goes wrong with the pacing of a kind of call: the plan keeps to the share.
#[test]
fn a_plan_holds_no_more_calls_than_the_node_may_make() {
    let mut toy = Toy::new("m5.24xlarge", by_eni(1));
    toy.run_to_rest();
    toy.fates = Box::new(|| Fate::Throttled);
    toy.add_pods(400);
    toy.cloud.calls.clear();
    let begun = toy.now.boottime;
    let mut sent = 0;
    for _ in 0..200 {
        // Nothing is learnt from what was refused.
        toy.observed.pauses = crate::Pauses::default();
        toy.round();
        sent += toy
            .last
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Open(CloudChange::CreateEni { .. })))
            .count();
        toy.sleep(Duration::from_millis(100));
    }
    let seconds = toy.now.boottime.since(begun).as_secs() as usize;
    assert!((20..=21 + seconds).contains(&sent), "{sent} in {seconds} s");
}

#[test]
fn what_the_largest_instance_asks_for_at_once_is_not_held_back() {
    let mut toy = Toy::new("m5.24xlarge", by_eni(1));
    toy.run_to_rest();
    let begun = toy.now.boottime;
    toy.add_pods(600);
    for _ in 0..6 {
        toy.round();
    }
    assert_eq!(toy.waiting(), 0, "{:?}", toy.last);
    assert!(
        toy.now.boottime.since(begun) < Duration::from_secs(12),
        "the toy takes 150 ms a call, one by one"
    );
}
