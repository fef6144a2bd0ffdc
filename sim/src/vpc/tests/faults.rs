//! F01 to F10 and F23 of the fault menu, one by one.

use std::sync::mpsc;

use super::*;
use crate::fault::{Fault, FaultKind};
use crate::vpc::hook::{CallPoint, Stage, Verdict};
use crate::vpc::request::*;

fn shown(bed: &mut Bed) -> Vec<EniId> {
    bed.vpc.imds_view(&bed.node).unwrap().interfaces.into_iter().map(|i| i.interface_id).collect()
}

fn shown_ips(bed: &mut Bed, eni: &EniId) -> Vec<Ipv4Addr> {
    let view = bed.vpc.imds_view(&bed.node).unwrap();
    view.interfaces.into_iter().find(|i| i.interface_id == *eni).map(|i| i.local_ipv4s).unwrap_or_default()
}

fn unassign(eni: &EniId, addresses: &[Ipv4Addr]) -> UnassignPrivateIpAddresses {
    UnassignPrivateIpAddresses {
        network_interface_id: *eni,
        private_ip_addresses: addresses.to_vec(),
        ipv4_prefixes: Vec::new(),
    }
}

#[test]
fn f01_the_hook_sees_each_point_and_can_cut_the_connection_there() {
    let mut bed = Bed::new();
    let (seen, points) = mpsc::channel();
    bed.vpc.set_hook(Some(Box::new(move |point: CallPoint<'_>| {
        seen.send((point.number, point.stage, point.request.action())).unwrap();
        match (point.number, point.stage) {
            (2, Stage::BeforeEffect) | (3, Stage::AfterEffect) => Verdict::Drop,
            _ => Verdict::Continue,
        }
    })));
    let operation = bed.create();
    let start = bed.free(&bed.subnet);
    bed.call(operation.clone()).unwrap();
    assert_eq!(bed.free(&bed.subnet), start - 1);
    assert_eq!(bed.call(operation.clone()), Err(CallError::Dropped));
    assert_eq!(bed.free(&bed.subnet), start - 1, "cut before the effect");
    assert_eq!(bed.call(operation), Err(CallError::Dropped));
    assert_eq!(bed.free(&bed.subnet), start - 2, "cut after the effect");
    bed.vpc.set_hook(None);
    let points: Vec<_> = points.into_iter().collect();
    assert_eq!(points.len(), 6);
    assert_eq!(points[0], (1, Stage::BeforeEffect, Action::CreateNetworkInterface));
    assert_eq!(points[5], (3, Stage::AfterEffect, Action::CreateNetworkInterface));
    let outcomes: Vec<_> = bed.vpc.log().records().map(|record| record.outcome.clone()).collect();
    assert_eq!(outcomes, [Outcome::Done, Outcome::RequestLost, Outcome::AnswerLost]);
}

#[test]
fn f02_imds_leaves_out_an_attached_eni_or_its_addresses() {
    let mut bed = Bed::new();
    let primary = bed.vpc.primary_eni(&bed.node).unwrap();
    let (first, _) = bed.attached(1);
    let (second, _) = bed.attached(2);
    bed.assign(&first, 3).unwrap();
    assert_eq!(shown(&mut bed).len(), 3);
    let fault = bed.vpc.set_fault(Fault::new(FaultKind::ImdsOmitsEni { eni: Some(first) })).unwrap();
    let left = shown(&mut bed);
    assert!(left.contains(&primary) && left.contains(&second) && !left.contains(&first));
    assert!(bed.vpc.clear_fault(fault));
    assert!(!bed.vpc.clear_fault(fault));
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsOmitsEni { eni: None }).until(Micros(5_000_000))).unwrap();
    assert_eq!(shown(&mut bed), [primary]);
    bed.second(5);
    assert_eq!(shown(&mut bed).len(), 3);
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsOmitsAddresses { eni: None })).unwrap();
    assert_eq!(shown_ips(&mut bed, &first).len(), 1);
    bed.vpc.clear_faults();
    assert_eq!(shown_ips(&mut bed, &first).len(), 4);
}

#[test]
fn f02_another_instance_is_not_hit() {
    let mut bed = Bed::new();
    bed.attached(1);
    let other = bed.another_node();
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsOmitsEni { eni: None }).of_instance(&other)).unwrap();
    assert_eq!(shown(&mut bed).len(), 2);
}

#[test]
fn f03_imds_remembers_what_is_gone_for_a_while() {
    let mut bed = Bed::new();
    let (gone, attachment) = bed.attached(1);
    let (kept, _) = bed.attached(2);
    let addresses = bed.assign(&kept, 2).unwrap();
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsRemembers { for_: Duration::from_mins(1) })).unwrap();
    bed.second(10);
    bed.call(unassign(&kept, &addresses)).unwrap();
    bed.call(Bed::detach(&attachment)).unwrap();
    bed.call(DeleteNetworkInterface { network_interface_id: gone }).unwrap();
    bed.second(60);
    assert!(shown(&mut bed).contains(&gone));
    assert!(addresses.iter().all(|address| shown_ips(&mut bed, &kept).contains(address)));
    bed.second(71);
    assert!(!shown(&mut bed).contains(&gone));
    assert_eq!(shown_ips(&mut bed, &kept).len(), 1);
}

#[test]
fn f04_imds_is_frozen_while_ec2_swaps_one_address_for_another() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let before = bed.assign(&eni, 1).unwrap();
    let shown_before = shown_ips(&mut bed, &eni);
    let fault = bed.vpc.set_fault(Fault::new(FaultKind::ImdsFrozen).of_instance(&bed.node)).unwrap();
    let after = bed.assign(&eni, 1).unwrap();
    bed.call(unassign(&eni, &before)).unwrap();
    bed.second(300);
    assert_eq!(shown_ips(&mut bed, &eni), shown_before);
    let real: Vec<_> = bed.eni(&eni).secondary_ips().collect();
    assert_eq!(real, after);
    assert_ne!(real, before, "the count is equal, the address is not");
    bed.vpc.clear_fault(fault);
    assert_eq!(shown_ips(&mut bed, &eni)[1..], after);
}

#[test]
fn f05_describe_calls_lag_in_both_directions() {
    let mut bed = Bed::new();
    let old = bed.created();
    bed.second(10);
    bed.vpc.set_fault(Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(5) })).unwrap();
    let new = bed.created();
    bed.call(DeleteNetworkInterface { network_interface_id: old }).unwrap();
    let ids = |bed: &mut Bed| -> Vec<EniId> {
        let page = bed.call(DescribeNetworkInterfaces::default()).unwrap();
        page.items.into_iter().map(|eni| eni.network_interface_id).collect()
    };
    let seen = ids(&mut bed);
    assert!(seen.contains(&old) && !seen.contains(&new));
    let by_id = DescribeNetworkInterfaces { network_interface_ids: vec![new], ..Default::default() };
    assert_eq!(bed.code(by_id.clone()), "InvalidNetworkInterfaceID.NotFound");
    bed.second(15);
    let seen = ids(&mut bed);
    assert!(!seen.contains(&old) && seen.contains(&new));
    bed.call(by_id).unwrap();
}

#[test]
fn f06_a_call_is_done_and_its_answer_lost_or_it_never_arrives_or_comes_late() {
    let mut bed = Bed::new();
    let start = bed.free(&bed.subnet);
    let operation = CreateNetworkInterface { client_token: Some("once".to_owned()), ..bed.create() };
    bed.vpc
        .set_fault(Fault::new(FaultKind::RequestLost).on(Action::CreateNetworkInterface).times(1))
        .unwrap();
    assert_eq!(bed.call(operation.clone()), Err(CallError::Dropped));
    assert_eq!(bed.free(&bed.subnet), start);
    bed.vpc.set_fault(Fault::new(FaultKind::AnswerLost).on(Action::CreateNetworkInterface).times(1)).unwrap();
    assert_eq!(bed.call(operation.clone()), Err(CallError::Dropped));
    assert_eq!(bed.free(&bed.subnet), start - 1);
    let eni = bed.call(operation).unwrap().network_interface.network_interface_id;
    assert_eq!(bed.free(&bed.subnet), start - 1, "the token finds what the lost answer was about");
    assert_eq!(bed.eni(&eni).status.as_str(), "available");
    bed.vpc.set_fault(Fault::new(FaultKind::AnswerLate { by: Duration::from_secs(9) }).times(1)).unwrap();
    let reply = bed.vpc.serve(&bed.caller, DescribeVpcs::default());
    assert_eq!(reply.late_by, Duration::from_secs(9));
    assert!(reply.result.is_ok());
    assert_eq!(bed.vpc.serve(&bed.caller, DescribeVpcs::default()).late_by, Duration::ZERO);
}

#[test]
fn f07_throttling_of_one_caller_or_by_the_accounts_buckets() {
    let mut bed = Bed::new();
    bed.vpc
        .set_fault(Fault::new(FaultKind::Throttle).of_instance(&bed.node).until(Micros(60_000_000)))
        .unwrap();
    let operation = bed.create();
    assert_eq!(bed.code(operation.clone()), "RequestLimitExceeded");
    let other = Caller::named("someone");
    bed.vpc.call(&other, DescribeSubnets::default()).unwrap();
    bed.second(60);
    bed.call(operation).unwrap();

    let bucket = Bucket { capacity: 2, refill_per_second: 1 };
    bed.vpc.set_request_limits(RequestLimits {
        actions: BTreeMap::from([(Action::DescribeSubnets, bucket)]),
        unfiltered: None,
    });
    bed.vpc.call(&other, DescribeSubnets::default()).unwrap();
    bed.call(DescribeSubnets::default()).unwrap();
    assert_eq!(bed.code(DescribeSubnets::default()), "RequestLimitExceeded");
    bed.call(DescribeVpcs::default()).unwrap();
    bed.vpc.advance_to(Micros(60_999_999));
    assert_eq!(bed.code(DescribeSubnets::default()), "RequestLimitExceeded");
    bed.vpc.advance_to(Micros(61_000_000));
    bed.call(DescribeSubnets::default()).unwrap();
    assert_eq!(bed.code(DescribeSubnets::default()), "RequestLimitExceeded");
    bed.second(1000);
    assert!(
        (0..3).filter(|_| bed.call(DescribeSubnets::default()).is_ok()).count() == 2,
        "a bucket overflows"
    );
}

#[test]
fn f08_a_wrong_error_instead_of_the_effect_or_after_it() {
    let mut bed = Bed::new();
    let start = bed.free(&bed.subnet);
    let (code, message) = (ErrorCode::PrivateIpAddressLimitExceeded, "no".to_owned());
    let fault = Fault::new(FaultKind::ErrorInstead { code: code.clone(), message: message.clone() });
    bed.vpc.set_fault(fault.on(Action::CreateNetworkInterface).skipping(1).times(1)).unwrap();
    let operation = bed.create();
    bed.call(operation.clone()).unwrap();
    assert_eq!(bed.code(operation.clone()), "PrivateIpAddressLimitExceeded");
    assert_eq!(bed.free(&bed.subnet), start - 1);
    bed.vpc.set_fault(Fault::new(FaultKind::ErrorAfterEffect { code, message }).times(1)).unwrap();
    assert!(bed.call(operation).is_err());
    assert_eq!(bed.free(&bed.subnet), start - 2);
}

#[test]
fn f09_the_instance_ends_between_create_and_attach_or_right_after_it() {
    for after in [false, true] {
        let mut bed = Bed::new();
        let eni = bed.created();
        let instance = bed.node;
        let kind = if after {
            FaultKind::TerminateAfter { instance }
        } else {
            FaultKind::TerminateBefore { instance }
        };
        bed.vpc.set_fault(Fault::new(kind).on(Action::AttachNetworkInterface)).unwrap();
        let operation = bed.attach(&eni, 1);
        let answer = bed.call(operation);
        assert_eq!(answer.is_ok(), after);
        assert_eq!(bed.eni(&eni).status.as_str(), "available", "an orphan");
        assert!(bed.vpc.imds_view(&bed.node).is_none());
    }
}

#[test]
fn f10_someone_else_changes_things_without_a_trace_in_the_log() {
    let mut bed = Bed::new();
    let (eni, attachment) = bed.attached(1);
    let address = bed.assign(&eni, 1).unwrap();
    let calls = bed.vpc.log().records().len();
    bed.vpc.set_fault(Fault::new(FaultKind::Throttle)).unwrap();
    bed.vpc.foreign(unassign(&eni, &address)).unwrap();
    bed.vpc.foreign(Bed::detach(&attachment)).unwrap();
    bed.vpc.foreign(DeleteNetworkInterface { network_interface_id: eni }).unwrap();
    let operation = CreateNetworkInterface { interface_type: Some("efa-only".to_owned()), ..bed.create() };
    let odd = bed.vpc.foreign(operation).unwrap().network_interface;
    assert!(odd.private_ip_addresses.is_empty());
    let operation = bed.attach(&odd.network_interface_id, 1);
    assert!(bed.vpc.foreign(operation).is_err(), "an m5.large has no EFA");
    assert_eq!(bed.vpc.log().records().len(), calls);
    assert_eq!(bed.vpc.check(), []);
}

#[test]
fn f23_a_subnet_is_filled_or_fragmented_from_outside() {
    let mut bed = Bed::new();
    let subnet = bed.subnet;
    let prefix =
        CreateNetworkInterface { ipv4_prefix_count: Some(1), subnet_id: subnet, ..Default::default() };
    bed.vpc.fragment(&subnet).unwrap();
    assert!(bed.free(&subnet) > 200);
    assert_eq!(bed.code(prefix.clone()), "InsufficientCidrBlocks");
    bed.vpc.vacate(&subnet).unwrap();
    bed.call(prefix).unwrap();
    bed.vpc.occupy_all_but(&subnet, 1).unwrap();
    assert_eq!(bed.free(&subnet), 1);
    let operation = bed.create();
    bed.call(operation.clone()).unwrap();
    assert_eq!(bed.code(operation), "InsufficientFreeAddressesInSubnet");
}

#[test]
fn a_fault_with_a_chance_hits_some_calls_and_not_others_and_repeats_with_the_seed() {
    let run = || {
        let mut bed = Bed::new();
        bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(300)).unwrap();
        (0..200).map(|_| bed.call(DescribeVpcs::default()).is_err()).collect::<Vec<_>>()
    };
    let hits = run().into_iter().filter(|hit| *hit).count();
    assert!((30..100).contains(&hits), "{hits} of 200 at 30 %");
    assert_eq!(run(), run());
}

#[test]
fn a_fault_is_data_that_json_carries() {
    let text = r#"{"kind":{"type":"describe-lags","by_ms":2000},"scope":{"actions":["DescribeSubnets"]}}"#;
    let fault: Fault = serde_json::from_str(text).unwrap();
    let expected =
        Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(2) }).on(Action::DescribeSubnets);
    assert_eq!(fault, expected);
    let back: Fault = serde_json::from_str(&serde_json::to_string(&fault).unwrap()).unwrap();
    assert_eq!(back, fault);
    serde_json::from_str::<Fault>(r#"{"kind":{"type":"throttle"},"until_":1}"#).unwrap_err();
}

#[test]
fn a_key_that_a_kind_has_not_is_refused_with_those_that_it_has() {
    for (kind, said) in [
        (
            r#"{"type":"imds-late","by_ms":100,"pth":"api/token"}"#,
            "unknown field `pth`, expected `by_ms` or `path`",
        ),
        (r#"{"type":"imds-late","by":100}"#, "unknown field `by`, expected `by_ms` or `path`"),
        (r#"{"type":"throttle","most":3}"#, "unknown field `most`, throttle has none beside `type`"),
        (r#"{"type":"imds-frozen","type_":"x"}"#, "unknown field `type_`, imds-frozen has none"),
        (r#"{"type":"throtle"}"#, "unknown variant `throtle`"),
        (r#"{"typ":"throttle"}"#, "missing field `type`"),
    ] {
        let refused = serde_json::from_str::<FaultKind>(kind).unwrap_err().to_string();
        assert!(refused.contains(said), "{kind}: {refused}");
    }
    let path: FaultKind = serde_json::from_str(r#"{"type":"imds-late","by_ms":100}"#).unwrap();
    assert_eq!(path, FaultKind::ImdsLate { by: Duration::from_millis(100), path: None });
}

#[test]
fn faults_are_narrowed_to_an_eni_a_subnet_a_zone_or_any_resource() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let other = bed.created();
    let assign = |eni: EniId| AssignPrivateIpAddresses {
        network_interface_id: eni,
        secondary_private_ip_address_count: Some(1),
        ..Default::default()
    };
    let in_tiny = CreateNetworkInterface { subnet_id: bed.tiny, ..Default::default() };
    let elsewhere = CreateNetworkInterface { subnet_id: bed.elsewhere, ..Default::default() };
    let mut hits = |scope: crate::fault::Scope| {
        let fault = bed.vpc.set_fault(Fault { scope, ..Fault::new(FaultKind::Deny) }).unwrap();
        let mut hit = |operation: Operation| {
            let refused = bed.vpc.serve(&bed.caller, operation).result;
            refused.is_err_and(|error| error.code() == Some(&ErrorCode::UnauthorizedOperation))
        };
        let found = [
            hit(assign(eni).into()),
            hit(assign(other).into()),
            hit(in_tiny.clone().into()),
            hit(elsewhere.clone().into()),
        ];
        let counted = bed.vpc.fault_hits()[&fault];
        assert_eq!(found.iter().filter(|hit| **hit).count() as u64, counted);
        bed.vpc.clear_fault(fault);
        found
    };
    use crate::fault::Scope;
    let (tiny, elsewhere_id) = (in_tiny.subnet_id, elsewhere.subnet_id);
    assert_eq!(hits(Scope { eni: Some(eni), ..Scope::default() }), [true, false, false, false]);
    assert_eq!(hits(Scope { subnet: Some(tiny), ..Scope::default() }), [false, false, true, false]);
    let zone = Some("us-west-2a".to_owned());
    assert_eq!(hits(Scope { zone, ..Scope::default() }), [true, true, true, false]);
    let resource = Some(elsewhere_id.to_string());
    assert_eq!(hits(Scope { resource, ..Scope::default() }), [false, false, false, true]);
}

#[test]
fn a_fault_that_cannot_be_done_is_refused() {
    let mut bed = Bed::new();
    let mut refused = |fault: Fault| bed.vpc.set_fault(fault).is_err();
    let hours = Duration::from_hours(1);
    assert!(refused(Fault::new(FaultKind::DescribeLags { by: hours })));
    assert!(refused(Fault::new(FaultKind::ImdsRemembers { for_: hours })));
    assert!(refused(Fault::new(FaultKind::ImdsFrozen).times(1)));
    assert!(refused(Fault::new(FaultKind::ImdsFrozen).on(Action::CreateTags)));
    assert!(refused(Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(1) }).times(1)));
    assert!(refused(Fault::new(FaultKind::DetachHangs).times(1)));
    assert!(refused(Fault::new(FaultKind::LinkNever).on(Action::AttachNetworkInterface)));
    assert!(refused(Fault::new(FaultKind::Throttle).times(0)));
    assert!(refused(Fault::new(FaultKind::Throttle).with_permille(1001)));
    let lag = Timing { describe_lag: hours, ..Timing::default() };
    assert!(bed.vpc.set_timing(lag).is_err());
}

#[test]
fn describes_leave_out_what_a_fault_names_and_let_one_eni_lag() {
    let mut bed = Bed::new();
    bed.second(10);
    let (eni, _) = bed.attached(1);
    let address = bed.assign(&eni, 2).unwrap()[1];
    let shown = |bed: &mut Bed| bed.call(DescribeNetworkInterfaces::default()).unwrap().items;
    let omits = Fault::new(FaultKind::DescribeOmitsEni { eni }).times(1);
    let omits = bed.vpc.set_fault(omits).unwrap();
    assert!(shown(&mut bed).iter().all(|shown| shown.network_interface_id != eni));
    assert_eq!((shown(&mut bed).len(), bed.vpc.fault_hits()[&omits]), (2, 1));
    bed.vpc.set_fault(Fault::new(FaultKind::DescribeOmitsAddress { address }).times(1)).unwrap();
    let without: Vec<_> = shown(&mut bed).iter().flat_map(NetworkInterface::secondary_ips).collect();
    assert_eq!((without.len(), without.contains(&address)), (1, false));
    let lags = Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(5) }).of_eni(eni);
    bed.vpc.set_fault(lags).unwrap();
    let other = bed.created();
    let ids: Vec<EniId> = shown(&mut bed).iter().map(|shown| shown.network_interface_id).collect();
    assert!(ids.contains(&other) && !ids.contains(&eni), "{ids:?}");
}

#[test]
fn attachments_and_detachments_hang_and_links_come_late_or_never() {
    let mut bed = Bed::new();
    bed.vpc.drain_events();
    let seconds = Duration::from_secs;
    let timing = Timing {
        attach_takes: seconds(1),
        detach_takes: seconds(1),
        link_appears: seconds(1),
        ..Timing::default()
    };
    bed.vpc.set_timing(timing).unwrap();
    let status = |bed: &Bed, eni: EniId| bed.eni(&eni).status.as_str();
    let hangs = bed.vpc.set_fault(Fault::new(FaultKind::AttachHangs)).unwrap();
    let late = bed.vpc.set_fault(Fault::new(FaultKind::LinkLate { by: seconds(60) }).times(1)).unwrap();
    let (eni, attachment) = bed.attached(1);
    bed.second(50);
    assert_eq!((status(&bed, eni), bed.vpc.drain_events()), ("attaching", Vec::new()));
    bed.vpc.clear_fault(hangs);
    bed.second(61);
    assert_eq!(status(&bed, eni), "in-use");
    assert_eq!(bed.vpc.drain_events().len(), 1, "the link came a minute late");
    bed.vpc.set_fault(Fault::new(FaultKind::LinkNever).of_instance(&bed.node.clone())).unwrap();
    bed.attached(2);
    let hangs = bed.vpc.set_fault(Fault::new(FaultKind::DetachHangs).of_eni(eni)).unwrap();
    bed.call(Bed::detach(&attachment)).unwrap();
    bed.vpc.drain_events();
    bed.second(500);
    assert_eq!((status(&bed, eni), bed.vpc.drain_events()), ("detaching", Vec::new()));
    bed.vpc.clear_fault(hangs);
    bed.second(501);
    assert_eq!(status(&bed, eni), "available");
    assert_eq!(bed.vpc.fault_hits()[&late], 1);
}

#[test]
fn an_assign_may_give_fewer_than_asked_and_an_answer_may_be_garbled() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    bed.vpc.set_fault(Fault::new(FaultKind::FewerAddresses { most: 2 }).times(1)).unwrap();
    bed.call(DescribeNetworkInterfaces::default()).unwrap();
    assert_eq!(bed.assign(&eni, 5).unwrap().len(), 2, "reads did not use it up");
    assert_eq!(bed.assign(&eni, 5).unwrap().len(), 5);
    let replaced = FaultKind::AnswerReplaced { status: 429, body: "slow down".to_owned() };
    bed.vpc.set_fault(Fault::new(replaced).times(1)).unwrap();
    let create = bed.create();
    let reply = bed.vpc.serve(&bed.caller.clone(), create);
    assert!(reply.result.is_ok(), "carried out");
    assert_eq!(reply.garbled, Some(Garbled::Replaced { status: 429, body: "slow down".to_owned() }));
}

#[test]
fn the_metadata_service_fails_by_path_and_instance() {
    let mut bed = Bed::new();
    let node = bed.node;
    let path = Some("meta-data/iam".to_owned());
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsStatus { status: 404, path }).of_instance(&node)).unwrap();
    let late = FaultKind::ImdsLate { by: Duration::from_secs(3), path: None };
    let late = bed.vpc.set_fault(Fault::new(late)).unwrap();
    let harm = bed.vpc.imds_harm(&node, "meta-data/iam/security-credentials/");
    assert_eq!((harm.status, harm.late_by, harm.away), (Some(404), Duration::from_secs(3), false));
    assert_eq!(bed.vpc.imds_harm(&node, "meta-data/mac").status, None);
    let other = InstanceId::new("i-0aaaaaaaaaaaaaaaa");
    assert_eq!(bed.vpc.imds_harm(&other, "meta-data/iam").status, None);
    assert_eq!(bed.vpc.fault_hits()[&late], 3);
    bed.vpc.clear_faults();
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsAway)).unwrap();
    assert!(bed.vpc.imds_harm(&node, "meta-data/mac").away);
}

#[test]
fn a_change_may_not_find_what_was_just_made() {
    let mut bed = Bed::new();
    bed.second(10);
    let lags = bed.vpc.set_fault(Fault::new(FaultKind::ChangesLag { by: Duration::from_secs(2) })).unwrap();
    let eni = bed.created();
    let operation = bed.attach(&eni, 1);
    assert_eq!(bed.code(operation.clone()), "InvalidNetworkInterfaceID.NotFound");
    bed.second(12);
    bed.call(operation).unwrap();
    assert_eq!(bed.vpc.fault_hits()[&lags], 1);
}
