//! The log of calls: what it counts, and what it keeps.

use super::*;
use crate::vpc::request::*;

#[test]
fn throttled_calls_are_counted_and_no_others() {
    let mut bed = Bed::new();
    bed.call(DescribeVpcs::default()).unwrap();
    assert_eq!(bed.vpc.log().throttled(), 0);
    bed.vpc.set_fault(Fault::new(FaultKind::Throttle).times(2)).unwrap();
    for _ in 0..2 {
        bed.code(DescribeVpcs::default());
    }
    bed.code(DeleteNetworkInterface { network_interface_id: "eni-0aaaaaaaaaaaaaaaa".into() });
    assert_eq!(bed.vpc.log().throttled(), 2);
    bed.vpc.log_mut().reset();
    assert_eq!(bed.vpc.log().throttled(), 0);
}

#[test]
fn calls_are_counted_by_caller_and_action_and_together() {
    let mut bed = Bed::new();
    let other = Caller::named("other");
    for _ in 0..2 {
        bed.call(DescribeVpcs::default()).unwrap();
        bed.vpc.call(&other, DescribeSubnets::default()).unwrap();
    }
    bed.vpc.call(&other, DescribeVpcs::default()).unwrap();
    let log = bed.vpc.log();
    let (vpcs, subnets) = (Action::DescribeVpcs, Action::DescribeSubnets);
    assert_eq!(log.counts(), &BTreeMap::from([(vpcs, 3), (subnets, 2)]));
    assert_eq!((log.count(vpcs), log.count(subnets), log.count(Action::CreateTags)), (3, 2, 0));
    let by_caller = log.counts_by_caller();
    assert_eq!(by_caller[&bed.caller.name], BTreeMap::from([(vpcs, 2)]));
    assert_eq!(by_caller["other"], BTreeMap::from([(vpcs, 1), (subnets, 2)]));
    assert_eq!((log.by(&bed.caller).count(), log.by(&other).count()), (2, 3));
}

#[test]
fn the_latest_calls_are_kept_and_all_are_counted() {
    let mut bed = Bed::new();
    let caller = bed.caller.clone();
    for _ in 0..CallLog::KEPT + 2 {
        bed.vpc.serve(&caller, DescribeVpcs::default());
    }
    let log = bed.vpc.log();
    assert_eq!(log.count(Action::DescribeVpcs), CallLog::KEPT + 2);
    let numbers: Vec<u64> = log.records().map(|record| record.number).collect();
    assert_eq!((numbers.len(), numbers[0]), (CallLog::KEPT, 3));
}

#[test]
fn of_too_many_callers_the_first_ones_are_forgotten_and_their_calls_count_still() {
    let mut bed = Bed::new();
    for number in 0..CallLog::CALLERS + 2 {
        bed.vpc.serve(&Caller::named(format!("AKIA{number:016}")), DescribeVpcs::default());
    }
    let log = bed.vpc.log();
    assert_eq!(log.counts_by_caller().len(), CallLog::CALLERS);
    assert_eq!(log.counts_by_caller().keys().next().unwrap(), "AKIA0000000000000002");
    assert_eq!(log.count(Action::DescribeVpcs), CallLog::CALLERS + 2);
    assert_eq!(bed.vpc.forgotten(), Forgotten { callers: 2, ..Forgotten::default() });
    bed.vpc.log_mut().reset();
    assert_eq!(bed.vpc.forgotten(), Forgotten::default());
}
