use std::time::Duration;

use holdfast_model::cloud::{Api, CloudRead};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::time::Now;

use crate::toy::now_at;
use crate::{Fault, Observed};

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
    let mut observed = Observed::default();
    let throttled = Some(Fault::Throttled { retry_after: None });
    let mut longest = Duration::ZERO;
    for attempt in 0..12_u32 {
        for draw in [0, 17, u64::MAX] {
            let mut copy = observed.clone();
            copy.read_failed(&read(), throttled, "slow", &now, draw);
            let whole = Duration::from_secs(2_u64.pow(attempt).min(60));
            assert!((whole / 2..=whole).contains(&rest(&copy, &now)), "attempt {attempt}: {:?}", copy.pauses);
            longest = longest.max(rest(&copy, &now));
        }
        observed.read_failed(&read(), throttled, "slow", &now, 0);
    }
    assert!(longest > Duration::from_secs(30));
    observed.read_answered(&read(), now.boottime);
    assert_eq!(rest(&observed, &now), Duration::ZERO, "success ends it");
    assert_eq!(observed.pauses, []);
}

#[test]
fn the_time_that_ec2_names_is_kept() {
    let now = now_at(100);
    let mut observed = Observed::default();
    let fault = Fault::Throttled { retry_after: Some(Duration::from_secs(7)) };
    observed.read_failed(&read(), Some(fault), "slow", &now, 0);
    assert_eq!(rest(&observed, &now), Duration::from_secs(7));
}

#[test]
fn a_link_that_is_late_is_looked_for_often_then_seldom() {
    let eni = EniId::new("eni-a");
    let mut observed = Observed::default();
    let mut now = now_at(0);
    let mut tries = 0;
    while now.boottime < now_at(60).boottime {
        observed.set_up_failed(&eni, &now);
        now.boottime = observed.set_up_rests[&eni].0;
        tries += 1;
    }
    assert!((20..60).contains(&tries), "{tries} in a minute");
    observed.links_changed(&now_at(1));
    assert_eq!(observed.set_up_rests[&eni].0, now_at(1).boottime, "news of links cuts the rest short");
}
