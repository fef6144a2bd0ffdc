//! Connections that are reset, as a caller in the same process sees them.

use super::*;
use crate::fault::{Fault, FaultKind, Scope};
use crate::vpc::request::*;

#[test]
fn whoever_loses_its_connection_has_no_answer_whether_the_call_was_carried_out_or_not() {
    for (kind, made, outcome) in [
        (FaultKind::RequestReset, 0, Outcome::RequestLost),
        (FaultKind::AnswerReset { keep: 0 }, 1, Outcome::AnswerLost),
        (FaultKind::AnswerReset { keep: 100 }, 1, Outcome::AnswerLost),
    ] {
        let mut bed = Bed::new();
        let before = bed.free(&bed.subnet);
        let scope = Scope { subnet: Some(bed.subnet), ..Scope::default() };
        let fault = bed.vpc.set_fault(Fault { scope, ..Fault::new(kind.clone()) }).unwrap();
        let elsewhere = CreateNetworkInterface { subnet_id: bed.elsewhere, ..Default::default() };
        bed.call(elsewhere).unwrap();
        let operation = bed.create();
        assert_eq!(bed.call(operation), Err(CallError::Dropped), "{kind:?}");
        assert_eq!(bed.free(&bed.subnet), before - made, "{kind:?}");
        assert_eq!(bed.vpc.log().records().next_back().unwrap().outcome, outcome, "{kind:?}");
        assert_eq!(bed.vpc.fault_hits()[&fault], 1, "{kind:?}");
    }
}

#[test]
fn a_refusal_is_reset_like_any_answer_and_of_several_faults_the_earliest_reset_counts() {
    let mut bed = Bed::new();
    for kind in [
        FaultKind::Throttle,
        FaultKind::AnswerTruncated { keep: 5 },
        FaultKind::AnswerReset { keep: 70 },
        FaultKind::AnswerReset { keep: 50 },
    ] {
        bed.vpc.set_fault(Fault::new(kind)).unwrap();
    }
    let reply = bed.vpc.serve(&bed.caller.clone(), DescribeVpcs::default());
    assert_eq!(reply.garbled, Some(Garbled::Reset(50)));
    assert_eq!(bed.vpc.log().records().next_back().unwrap().outcome, Outcome::AnswerLost);
    bed.vpc.set_fault(Fault::new(FaultKind::RequestReset)).unwrap();
    let reply = bed.vpc.serve(&bed.caller.clone(), DescribeVpcs::default());
    assert_eq!(reply.garbled, Some(Garbled::Reset(0)));
    bed.vpc.clear_faults();
    bed.vpc.set_fault(Fault::new(FaultKind::AnswerReset { keep: 50 })).unwrap();
    bed.vpc.set_fault(Fault::new(FaultKind::RequestLost)).unwrap();
    let reply = bed.vpc.serve(&bed.caller.clone(), DescribeVpcs::default());
    assert_eq!(reply.garbled, None, "nothing is answered");
}

#[test]
fn metadata_is_of_one_instance_and_its_resets_are_not_counted_down() {
    let mut bed = Bed::new();
    let kinds =
        [FaultKind::ImdsRequestReset { path: None }, FaultKind::ImdsAnswerReset { keep: 9, path: None }];
    for kind in kinds {
        let mut refused = |fault: Fault| bed.vpc.set_fault(fault).is_err();
        assert!(refused(Fault::new(kind.clone()).times(1)));
        assert!(refused(Fault::new(kind.clone()).on(Action::DescribeVpcs)));
        assert!(refused(Fault::new(kind.clone()).of_subnet(SubnetId::default())));
        let node = bed.node;
        bed.vpc.set_fault(Fault::new(kind).of_instance(&node)).unwrap();
    }
    let harm = bed.vpc.imds_harm(&bed.node, "meta-data/mac");
    assert_eq!((harm.request_reset, harm.answer_reset), (true, Some(9)));
    let other = InstanceId::new("i-0aaaaaaaaaaaaaaaa");
    assert_eq!(bed.vpc.imds_harm(&other, "meta-data/mac"), ImdsHarm::default());
}
