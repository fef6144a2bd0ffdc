//! What several faults do together, whom each of them leaves alone, and that only hits are counted.

use super::*;
use crate::vpc::request::*;

const SECOND: Duration = Duration::from_secs(1);

fn set(bed: &mut Bed, fault: Fault) -> FaultId {
    bed.vpc.set_fault(fault).unwrap()
}

fn hit(bed: &Bed, fault: FaultId) -> u64 {
    bed.vpc.fault_hits()[&fault]
}

#[test]
fn of_several_faults_of_a_kind_the_harder_one_counts() {
    let mut bed = Bed::new();
    bed.second(10);
    let (eni, _) = bed.attached(1);
    for by in [2, 3, 1] {
        set(&mut bed, Fault::new(FaultKind::AnswerLate { by: by * SECOND }));
    }
    let caller = bed.caller.clone();
    assert_eq!(bed.vpc.serve(&caller, DescribeVpcs::default()).late_by, 3 * SECOND);
    bed.vpc.clear_faults();
    for most in [3, 2, 4] {
        set(&mut bed, Fault::new(FaultKind::FewerAddresses { most }));
        set(&mut bed, Fault::new(FaultKind::ShortPages { most }));
    }
    assert_eq!(bed.assign(&eni, 5).unwrap().len(), 2);
    let types = DescribeInstanceTypes { max_results: Some(5), ..Default::default() };
    assert_eq!(bed.call(types).unwrap().items.len(), 2);
    bed.vpc.clear_faults();
    for by in [1, 5, 2] {
        set(&mut bed, Fault::new(FaultKind::DescribeLags { by: by * SECOND }));
        set(&mut bed, Fault::new(FaultKind::ChangesLag { by: by * SECOND }));
    }
    let new = bed.created();
    let delete = DeleteNetworkInterface { network_interface_id: new };
    let shown = |bed: &mut Bed| {
        let page = bed.call(DescribeNetworkInterfaces::default()).unwrap();
        page.items.iter().any(|eni| eni.network_interface_id == new)
    };
    bed.second(14);
    assert!(!shown(&mut bed));
    assert_eq!(bed.code(delete.clone()), "InvalidNetworkInterfaceID.NotFound");
    bed.second(15);
    assert!(shown(&mut bed));
    bed.call(delete).unwrap();
}

#[test]
fn the_first_error_stands_and_a_refusal_before_an_error_instead() {
    let mut bed = Bed::new();
    let error = |code: ErrorCode| FaultKind::ErrorInstead { code, message: "odd".to_owned() };
    set(&mut bed, Fault::new(error(ErrorCode::InternalError)));
    set(&mut bed, Fault::new(error(ErrorCode::Unavailable)));
    assert_eq!(bed.code(DescribeVpcs::default()), "InternalError");
    let deny = set(&mut bed, Fault::new(FaultKind::Deny));
    set(&mut bed, Fault::new(FaultKind::Throttle));
    assert_eq!(bed.code(DescribeVpcs::default()), "UnauthorizedOperation");
    bed.vpc.clear_fault(deny);
    assert_eq!(bed.code(DescribeVpcs::default()), "RequestLimitExceeded");
}

#[test]
fn an_error_instead_of_the_effect_is_for_calls_that_are_meant() {
    let mut bed = Bed::new();
    let kind = FaultKind::ErrorInstead { code: ErrorCode::InternalError, message: "odd".to_owned() };
    set(&mut bed, Fault::new(kind));
    let request = Request { dry_run: true, operation: DescribeVpcs::default().into() };
    let reply = bed.vpc.serve(&bed.caller.clone(), request);
    assert_eq!(reply.result.unwrap_err().code(), Some(&ErrorCode::DryRunOperation));
}

#[test]
fn a_lost_answer_hides_a_refusal_too() {
    let mut bed = Bed::new();
    set(&mut bed, Fault::new(FaultKind::Throttle));
    set(&mut bed, Fault::new(FaultKind::AnswerLost));
    assert_eq!(bed.call(DescribeVpcs::default()), Err(CallError::Dropped));
    let outcome = bed.vpc.log().records().next_back().map(|record| record.outcome.clone());
    assert_eq!(outcome, Some(Outcome::AnswerLost));
}

#[test]
fn metadata_faults_hit_the_requests_that_they_name() {
    let mut bed = Bed::new();
    let node = bed.node;
    let refused = set(&mut bed, Fault::new(FaultKind::ImdsTokenRefused));
    let expired = set(&mut bed, Fault::new(FaultKind::ImdsExpiredCredentials));
    for by in [1, 3, 2] {
        set(&mut bed, Fault::new(FaultKind::ImdsLate { by: by * SECOND, path: Some("api".to_owned()) }));
    }
    let token = bed.vpc.imds_harm(&node, "api/token");
    assert_eq!((token.token_refused, token.expired_credentials, token.late_by), (true, None, 3 * SECOND));
    let role = bed.vpc.imds_harm(&node, "meta-data/iam/security-credentials/role");
    let over_by = (role.token_refused, role.expired_credentials, role.late_by);
    assert_eq!(over_by, (false, Some(expired), Duration::ZERO));
    assert_eq!(bed.vpc.imds_harm(&node, "meta-data/mac"), ImdsHarm::default());
    assert_eq!((hit(&bed, refused), hit(&bed, expired)), (1, 0), "what is read, the face shows");
}

#[test]
fn a_metadata_fault_ends_in_time_and_its_looks_are_counted() {
    let mut bed = Bed::new();
    let node = bed.node;
    let (eni, _) = bed.attached(1);
    let lags = FaultKind::ImdsLags { by: 5 * SECOND };
    let of_node = set(&mut bed, Fault::new(lags.clone()).of_instance(&node).until(Micros(20_000_000)));
    let other = bed.another_node();
    let other = set(&mut bed, Fault::new(lags).of_instance(&other));
    let away = set(&mut bed, Fault::new(FaultKind::ImdsAway));
    bed.second(10);
    bed.assign(&eni, 1).unwrap();
    let addresses = |bed: &mut Bed| {
        let view = bed.vpc.imds_view(&node).unwrap();
        view.interfaces.iter().map(|interface| interface.local_ipv4s.len()).sum::<usize>()
    };
    assert_eq!(addresses(&mut bed), 2);
    bed.vpc.advance_to(Micros(14_999_999));
    assert_eq!(addresses(&mut bed), 2);
    bed.second(15);
    assert_eq!(addresses(&mut bed), 3);
    assert_eq!((hit(&bed, of_node), hit(&bed, other), hit(&bed, away)), (2, 0, 0));
    bed.assign(&eni, 1).unwrap();
    bed.vpc.advance_to(Micros(19_999_999));
    assert_eq!((addresses(&mut bed), hit(&bed, of_node)), (3, 3));
    bed.second(20);
    assert_eq!((addresses(&mut bed), hit(&bed, of_node)), (4, 3));
}

#[test]
fn the_clock_that_is_furthest_ahead_counts_of_those_that_a_caller_sees() {
    let mut bed = Bed::new();
    let node = bed.node;
    let (of_node, operator) = (bed.caller.clone(), Caller::named("operator"));
    let ahead = |by: u32| Fault::new(FaultKind::ClockAhead { by: by * SECOND });
    let all = set(&mut bed, ahead(2));
    let instance = set(&mut bed, ahead(3).of_instance(&node));
    set(&mut bed, ahead(1));
    let mut named = ahead(4);
    named.scope.caller = Some("operator".to_owned());
    let named = set(&mut bed, named);
    assert_eq!(bed.vpc.clock_ahead(&of_node), Some((instance, 3 * SECOND)));
    assert_eq!(bed.vpc.clock_ahead(&operator), Some((named, 4 * SECOND)));
    assert_eq!(bed.vpc.clock_ahead(&Caller::named("other")), Some((all, 2 * SECOND)));
    bed.vpc.clear_faults();
    assert_eq!(bed.vpc.clock_ahead(&of_node), None);
}

#[test]
fn an_answer_may_be_cut_short() {
    let mut bed = Bed::new();
    set(&mut bed, Fault::new(FaultKind::AnswerTruncated { keep: 7 }));
    let reply = bed.vpc.serve(&bed.caller.clone(), DescribeVpcs::default());
    assert_eq!((reply.result.is_ok(), reply.garbled), (true, Some(Garbled::Truncated(7))));
}

#[test]
fn a_counted_link_fault_hits_so_many_attachments_of_its_places() {
    let mut bed = Bed::new();
    let other = bed.another_node();
    bed.vpc.drain_events();
    let node = bed.node;
    let elsewhere = Fault::new(FaultKind::LinkNever).of_subnet(bed.elsewhere);
    let elsewhere = set(&mut bed, elsewhere);
    let of_other = set(&mut bed, Fault::new(FaultKind::LinkNever).of_instance(&other));
    let never = set(&mut bed, Fault::new(FaultKind::LinkNever).of_instance(&node).times(1));
    bed.attached(1);
    assert_eq!(bed.vpc.drain_events(), []);
    bed.attached(2);
    assert_eq!(bed.vpc.drain_events().len(), 1);
    assert_eq!((hit(&bed, elsewhere), hit(&bed, of_other), hit(&bed, never)), (0, 0, 1));
}

#[test]
fn faults_are_listed_oldest_first_with_what_is_left_of_them() {
    let mut bed = Bed::new();
    let first = set(&mut bed, Fault::new(FaultKind::Throttle).skipping(1).times(2));
    let second = set(&mut bed, Fault::new(FaultKind::AnswerLost).on(Action::CreateTags));
    bed.call(DescribeVpcs::default()).unwrap();
    bed.code(DescribeVpcs::default());
    let listed: Vec<_> =
        bed.vpc.faults().into_iter().map(|(id, fault)| (id, fault.skip, fault.count)).collect();
    assert_eq!(listed, [(first, 0, Some(1)), (second, 0, None)]);
    bed.code(DescribeVpcs::default());
    bed.call(DescribeVpcs::default()).unwrap();
    assert_eq!(bed.vpc.faults().into_iter().map(|(id, _)| id).collect::<Vec<_>>(), [second], "it is used up");
}
