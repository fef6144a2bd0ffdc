use holdfast_model::cloud::Api;
use holdfast_model::refusal::Refusal;
use ipnet::Ipv4Net;

use super::*;
use crate::toy::{Toy, by_address, by_eni};

fn primary() -> EniId {
    EniId::new("eni-primary")
}

/// Whatever its type says, an ENI gives what EC2 lets it have, in a few calls; the rest comes from others.
#[test]
fn an_eni_that_takes_less_than_its_type_says_is_filled_as_far_as_it_goes() {
    for takes in 0..9 {
        for warm in [by_eni(1), by_address(2, 0)] {
            let mut toy = Toy::new("m5.large", warm);
            toy.cloud.takes.insert(primary(), takes);
            toy.add_pods(12);
            let begun = toy.now.boottime;
            while toy.waiting() > 0 {
                if !toy.round() {
                    toy.sleep(Duration::from_millis(100));
                }
                let waited = toy.now.boottime.since(begun);
                assert!(waited < Duration::from_secs(40), "{takes}: {} wait after {waited:?}", toy.waiting());
            }
            for _ in 0..100 {
                toy.round();
                toy.sleep(Duration::from_secs(1));
            }
            // The last few are not asked for where another ENI has given what is wanted.
            let has = toy.cloud.enis[&primary()].secondary.len();
            assert!((takes.div_ceil(2)..=takes).contains(&has), "{takes}: {has}");
            assert!(toy.cloud.refused <= 10, "{takes}: {} refused", toy.cloud.refused);
            toy.assert_in_agreement();
        }
    }
}

#[test]
fn a_full_eni_is_said_to_be_the_cause_and_is_tried_again_within_the_hour() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.config.max_enis.value = Some(1);
    toy.cloud.takes.insert(primary(), 3);
    toy.add_pods(5);
    for _ in 0..100 {
        toy.round();
        toy.sleep(Duration::from_secs(1));
    }
    assert_eq!(toy.waiting(), 2);
    let cause = toy.choose().unwrap_err().cause;
    assert_eq!(cause, Refusal::EniFull { eni: primary(), addresses: 3 });
    toy.cloud.takes.clear();
    let refused = toy.cloud.refused;
    for _ in 0..70 {
        toy.round();
        toy.sleep(Duration::from_secs(60));
    }
    assert_eq!((toy.waiting(), toy.cloud.refused), (0, refused));
}

#[test]
fn an_eni_that_stays_full_costs_few_calls() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.config.max_enis.value = Some(1);
    toy.cloud.takes.insert(primary(), 3);
    toy.add_pods(5);
    toy.cloud.calls.clear();
    for _ in 0..720 {
        while toy.round() {}
        toy.sleep(Duration::from_secs(10));
    }
    let asked = toy.cloud.count(Api::AssignPrivateIpAddresses);
    assert!((4..=20).contains(&asked), "{asked} in two hours");
}

#[test]
fn delegated_prefixes_take_up_room() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    let prefixes = (0..4_u8).map(|nth| Ipv4Net::new([10, 0, 100, nth * 16].into(), 28).unwrap());
    toy.cloud.enis.get_mut(&primary()).unwrap().prefixes.extend(prefixes);
    toy.add_pods(2);
    toy.run_to_rest();
    assert_eq!(toy.cloud.enis[&primary()].secondary.len(), 5, "nine in all");
    assert_eq!(toy.cloud.refused, 0);
}

#[test]
fn what_was_refused_while_the_ledger_had_less_than_ec2_says_nothing_of_the_limit() {
    let (mut fits, eni, now) = (Fits::default(), EniId::new("eni-a"), Toy::new("t3.small", by_eni(1)).now);
    fits.refused(Some(&eni), 1, &now);
    fits.refused(None, 4, &now);
    fits.miscounted(&eni);
    assert_eq!((fits.most(Some(&eni), &now), fits.most(None, &now)), (None, Some(2)));
}

#[test]
fn a_refusal_is_remembered_for_an_hour_and_forgotten_when_ec2_gives_again_or_the_eni_goes() {
    let (mut fits, eni, now) = (Fits::default(), EniId::new("eni-a"), Toy::new("t3.small", by_eni(1)).now);
    let at = |seconds| {
        let mut later = now.clone();
        later.boottime = now.boottime.after(Duration::from_secs(seconds));
        later
    };
    fits.refused(Some(&eni), 1, &now);
    fits.refused(None, 4, &now);
    assert_eq!(fits.forgotten_at().collect::<Vec<_>>(), [at(3600).boottime; 2]);
    for (seconds, on_it, on_new) in [(0, Some(0), Some(2)), (3599, Some(0), Some(2)), (3600, Some(1), None)] {
        let now = at(seconds);
        assert_eq!((fits.most(Some(&eni), &now), fits.most(None, &now)), (on_it, on_new), "{seconds} s");
    }
    for (seconds, left) in [(3599, Some(1)), (3600, None)] {
        let mut fits = fits.clone();
        fits.accepted(Some(&eni), &at(seconds));
        assert_eq!(fits.most(Some(&eni), &at(3600)), left, "given after {seconds} s");
    }
    fits.keep(|id| *id != eni);
    assert_eq!(
        (fits.most(Some(&eni), &now), fits.most(None, &now)),
        (None, Some(2)),
        "of new ones it counts on"
    );
}
