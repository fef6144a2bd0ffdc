use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_model::cloud::Api;
use holdfast_model::ids::EniId;

use crate::HintDiff;
use crate::toy::{Fate, Toy, by_eni};

fn hinted(name: &str) -> HintDiff {
    HintDiff { differing: BTreeSet::from([EniId::new(name)]), ..HintDiff::default() }
}

fn reads_in(toy: &mut Toy, minutes: u64) -> usize {
    toy.cloud.calls.clear();
    for _ in 0..minutes * 6 {
        toy.sleep(Duration::from_secs(10));
        while toy.round() {}
    }
    toy.cloud.count(Api::DescribeNetworkInterfaces)
}

/// The metadata service may be wrong for hours; that must not become a read a minute.
#[test]
fn a_hint_leads_to_one_read_and_the_same_hint_to_few() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    toy.observed.hint = Some(hinted("eni-primary"));
    assert_eq!(reads_in(&mut toy, 30), 1);
    toy.observed.hint = Some(hinted("eni-other"));
    assert_eq!(reads_in(&mut toy, 30), 1, "another difference is news");
}

#[test]
fn changing_hints_lead_to_a_read_a_minute_at_most() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.run_to_rest();
    let mut reads = 0;
    for change in 0..60 {
        toy.observed.hint = Some(hinted(&format!("eni-{change}")));
        toy.cloud.calls.clear();
        toy.sleep(Duration::from_secs(10));
        while toy.round() {}
        reads += toy.cloud.calls.len();
    }
    assert!((9..=10).contains(&reads), "{reads} in ten minutes");
}

#[test]
fn without_ec2_reads_slow_down_and_nothing_else_happens() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.fates = Box::new(|| Fate::LostBefore);
    let mut tries = 0;
    for _ in 0..360 {
        tries += usize::from(toy.round());
        toy.sleep(Duration::from_secs(10));
    }
    assert!((60..250).contains(&tries), "{tries} in an hour");
    assert_eq!(toy.cloud.calls, []);
}
