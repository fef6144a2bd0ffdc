//! Faults that mean nothing or can never hit are refused, with the cause.

use super::*;
use crate::fault::{Fault, FaultKind, Scope};

const SECOND: Duration = Duration::from_secs(1);

/// Why a fault is refused; nothing where it is taken.
fn refusal(bed: &mut Bed, fault: Fault) -> String {
    match bed.vpc.set_fault(fault) {
        Ok(id) => {
            assert!(bed.vpc.clear_fault(id));
            String::new()
        }
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn is_refused(bed: &mut Bed, fault: Fault, cause: &str) {
    let said = refusal(bed, fault.clone());
    assert!(said.contains(cause), "{fault:?} should be refused since {cause:?}: {said:?}");
}

#[track_caller]
fn is_taken(bed: &mut Bed, fault: Fault) {
    assert_eq!(refusal(bed, fault.clone()), "", "{fault:?}");
}

fn deny(scope: Scope) -> Fault {
    Fault { scope, ..Fault::new(FaultKind::Deny) }
}

#[test]
fn a_scope_names_what_is_there_and_an_eni_may_come_later() {
    let mut bed = Bed::new();
    let node = bed.node;
    let of = |id: &str| Fault::new(FaultKind::Deny).of_instance(&id.into());
    is_taken(&mut bed, Fault::new(FaultKind::Deny).of_instance(&node));
    is_refused(&mut bed, of("i-0aaaaaaaaaaaaaaaa"), "'i-0aaaaaaaaaaaaaaaa' does not exist");
    is_refused(&mut bed, of("node-a"), "\"node-a\" is no id like i-");
    let of = |id: &str| Fault::new(FaultKind::Deny).of_subnet(id.into());
    is_refused(&mut bed, of("subnet-0aaaaaaaaaaaaaaaa"), "'subnet-0aaaaaaaaaaaaaaaa' does not exist");
    is_refused(&mut bed, of("a"), "\"a\" is no id like subnet-");
    let of = |id: &str| Fault::new(FaultKind::Deny).of_eni(id.into());
    is_taken(&mut bed, of("eni-0aaaaaaaaaaaaaaaa"));
    is_refused(&mut bed, of("eni-1"), "\"eni-1\" is no id like eni-");
    let of = |zone: &str| deny(Scope { zone: Some(zone.to_owned()), ..Scope::default() });
    is_taken(&mut bed, of("us-west-2b"));
    is_refused(&mut bed, of("us-west-2c"), "the zones are us-west-2a, us-west-2b");
}

#[test]
fn an_eni_is_in_the_subnet_and_the_zone_that_are_named_with_it() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let (here, there) = (bed.subnet, bed.elsewhere);
    let scope = |subnet: Option<SubnetId>, zone: Option<&str>, eni: Option<EniId>| {
        deny(Scope { subnet, zone: zone.map(str::to_owned), eni, ..Scope::default() })
    };
    is_taken(&mut bed, scope(Some(here), Some("us-west-2a"), Some(eni)));
    is_taken(&mut bed, scope(Some(there), None, Some(EniId::new("eni-0aaaaaaaaaaaaaaaa"))));
    is_refused(&mut bed, scope(Some(there), None, Some(eni)), &format!("{eni} is in {here}, not in {there}"));
    let in_zone_a = "is in zone us-west-2a, not in us-west-2b";
    is_refused(&mut bed, scope(None, Some("us-west-2b"), Some(eni)), &format!("{eni} {in_zone_a}"));
    is_refused(&mut bed, scope(Some(here), Some("us-west-2b"), None), &format!("{here} {in_zone_a}"));
}

#[test]
fn an_action_that_a_fault_cannot_hit_is_refused_with_those_that_it_can() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let address = ip("10.0.0.99");
    let reads: Vec<Action> = Action::ALL.iter().copied().filter(|action| action.is_read()).collect();
    let of_enis: Vec<Action> = Action::ALL
        .iter()
        .copied()
        .filter(|action| {
            !matches!(
                action,
                Action::CreateNetworkInterface
                    | Action::DescribeInstanceStatus
                    | Action::DescribeSubnets
                    | Action::DescribeSecurityGroups
                    | Action::DescribeVpcs
                    | Action::DescribeInstanceTypes
            )
        })
        .collect();
    let changes: Vec<Action> = of_enis.iter().copied().filter(|action| !action.is_read()).collect();
    let shows_enis = vec![Action::DescribeNetworkInterfaces, Action::DescribeInstances];
    let mut of_subnets = of_enis.clone();
    of_subnets.extend([Action::CreateNetworkInterface, Action::DescribeSubnets]);
    let dynamic = reads.iter().copied().filter(|action| *action != Action::DescribeInstanceTypes).collect();
    let lags = Fault::new(FaultKind::DescribeLags { by: SECOND });
    let zone = Scope { zone: Some("us-west-2a".to_owned()), ..Scope::default() };
    let cases: [(Fault, Vec<Action>); 11] = [
        (Fault::new(FaultKind::Deny), Action::ALL.to_vec()),
        (Fault::new(FaultKind::Deny).of_eni(eni), of_enis),
        (Fault::new(FaultKind::Deny).of_subnet(bed.subnet), of_subnets.clone()),
        (deny(zone), of_subnets),
        (
            Fault::new(FaultKind::FewerAddresses { most: 1 }),
            vec![Action::AssignPrivateIpAddresses, Action::AssignIpv6Addresses],
        ),
        (Fault::new(FaultKind::DescribeOmitsEni { eni }), shows_enis.clone()),
        (Fault::new(FaultKind::DescribeOmitsAddress { address }), shows_enis.clone()),
        (lags.clone(), dynamic),
        (lags.of_eni(eni), [shows_enis, vec![Action::DescribeTags]].concat()),
        (Fault::new(FaultKind::ChangesLag { by: SECOND }), changes),
        (Fault::new(FaultKind::ShortPages { most: 1 }), reads),
    ];
    for (fault, mut good) in cases {
        good.sort_unstable();
        for action in Action::ALL {
            let said = refusal(&mut bed, fault.clone().on(*action));
            if good.contains(action) {
                assert_eq!(said, "", "{fault:?} on {action}");
                continue;
            }
            let (said, those) =
                said.split_once("; those are ").unwrap_or_else(|| panic!("{fault:?} on {action}: {said:?}"));
            assert!(said.contains(&format!("{action} is never hit, since it is no call that")), "{said}");
            let mut those: Vec<Action> = those.split(", ").filter_map(Action::from_name).collect();
            those.sort_unstable();
            assert_eq!(those, good, "{fault:?}");
        }
        let mixed = Action::ALL.iter().fold(fault.clone(), |fault, action| fault.on(*action));
        assert_eq!(refusal(&mut bed, mixed).is_empty(), good.len() == Action::ALL.len(), "one is too many");
    }
}

#[test]
fn what_a_kind_says_must_make_sense() {
    let mut bed = Bed::new();
    is_refused(&mut bed, Fault::new(FaultKind::ShortPages { most: 0 }), "one result at least");
    is_taken(&mut bed, Fault::new(FaultKind::ShortPages { most: 1 }));
    for (status, good) in [(0, false), (100, false), (199, false), (200, true), (599, true), (600, false)] {
        let imds = FaultKind::ImdsStatus { status, path: None };
        let replaced = FaultKind::AnswerReplaced { status, body: String::new() };
        for kind in [imds, replaced] {
            if good {
                is_taken(&mut bed, Fault::new(kind));
            } else {
                is_refused(&mut bed, Fault::new(kind), "say 200 to 599");
            }
        }
    }
    let code = ErrorCode::Other(" ".to_owned());
    let message = "odd".to_owned();
    let instead = FaultKind::ErrorInstead { code: code.clone(), message: message.clone() };
    is_refused(&mut bed, Fault::new(instead), "an error has a code");
    let after = FaultKind::ErrorAfterEffect { code, message };
    is_refused(&mut bed, Fault::new(after), "an error has a code");
    let eni = EniId::new("eni-1");
    for kind in [
        FaultKind::ImdsOmitsEni { eni: Some(eni) },
        FaultKind::ImdsOmitsAddresses { eni: Some(eni) },
        FaultKind::DescribeOmitsEni { eni },
    ] {
        is_refused(&mut bed, Fault::new(kind), "\"eni-1\" is no id like eni-");
    }
}

#[test]
fn only_an_instance_that_is_not_over_is_ended_by_a_fault() {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { terminate_takes: SECOND, ..Timing::default() }).unwrap();
    let node = bed.node;
    let kinds: [fn(InstanceId) -> FaultKind; 2] = [
        |instance| FaultKind::TerminateBefore { instance },
        |instance| FaultKind::TerminateAfter { instance },
    ];
    for kind in kinds {
        is_taken(&mut bed, Fault::new(kind(node)));
        is_refused(&mut bed, Fault::new(kind("i-0aaaaaaaaaaaaaaaa".into())), "does not exist");
        is_refused(&mut bed, Fault::new(kind("i-1".into())), "\"i-1\" is no id like i-");
    }
    bed.vpc.terminate_instance(&node).unwrap();
    is_refused(&mut bed, Fault::new(kinds[0](node)), "is shutting-down already");
    bed.second(1);
    is_refused(&mut bed, Fault::new(kinds[1](node)), "is terminated already");
}

#[test]
fn a_fault_does_not_end_before_it_begins() {
    let mut bed = Bed::new();
    bed.second(5);
    let until = |micros| Fault::new(FaultKind::Throttle).until(Micros(micros));
    is_refused(&mut bed, until(5_000_000), "it ends at 5000000 µs, and it is 5000000 µs already");
    is_taken(&mut bed, until(5_000_001));
}

#[test]
fn a_metadata_path_is_told_with_or_without_slash_and_version() {
    let mut bed = Bed::new();
    let node = bed.node;
    for path in ["api/token", "/api/token", "latest/api/token", "/latest/api/token", "/2021-07-15/api/token"]
    {
        let spelt = || Some(path.to_owned());
        for kind in [
            FaultKind::ImdsStatus { status: 503, path: spelt() },
            FaultKind::ImdsLate { by: SECOND, path: spelt() },
            FaultKind::ImdsRequestReset { path: spelt() },
            FaultKind::ImdsAnswerReset { keep: 9, path: spelt() },
        ] {
            bed.vpc.set_fault(Fault::new(kind)).unwrap();
        }
        let harm = bed.vpc.imds_harm(&node, "api/token");
        let all = (harm.status, harm.late_by, harm.request_reset, harm.answer_reset);
        assert_eq!(all, (Some(503), SECOND, true, Some(9)), "{path:?}");
        assert_eq!(bed.vpc.imds_harm(&node, "meta-data/mac"), ImdsHarm::default());
        bed.vpc.clear_faults();
    }
}

#[test]
fn lags_that_add_up_to_more_than_is_kept_are_refused_whichever_comes_last() {
    let mut bed = Bed::new();
    let other = bed.another_node();
    let node = bed.node;
    let half = HORIZON / 2;
    let imds = |by: Duration| Fault::new(FaultKind::ImdsLags { by });
    let too_much = "with the delays and the other faults, a view that lags";
    bed.vpc.set_fault(imds(half).of_instance(&node)).unwrap();
    is_taken(&mut bed, imds(half).of_instance(&node));
    is_taken(&mut bed, imds(HORIZON).of_instance(&other));
    is_refused(&mut bed, imds(half + SECOND).of_instance(&node), too_much);
    is_refused(&mut bed, imds(half + SECOND), too_much);
    let timing = |imds_lag, imds_lingers| Timing { imds_lag, imds_lingers, ..Timing::default() };
    bed.vpc.set_timing(timing(half, Duration::ZERO)).unwrap();
    let kept = bed.vpc.config().timing.clone();
    bed.vpc.set_timing(timing(half, SECOND)).unwrap_err();
    bed.vpc.set_timing(timing(half + SECOND, Duration::ZERO)).unwrap_err();
    assert_eq!(bed.vpc.config().timing, kept, "what is refused changes nothing");
    is_refused(&mut bed, imds(SECOND), too_much);

    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let lags = |by: Duration| Fault::new(FaultKind::DescribeLags { by });
    let jitter = |describe_jitter| Timing { describe_jitter, ..Timing::default() };
    bed.vpc.set_timing(jitter(half)).unwrap();
    is_refused(&mut bed, lags(half + SECOND), too_much);
    is_taken(&mut bed, lags(HORIZON).of_eni(eni));
    bed.vpc.set_fault(lags(half).until(Micros(5_000_000))).unwrap();
    is_taken(&mut bed, lags(half));
    bed.vpc.set_timing(jitter(half + SECOND)).unwrap_err();
    bed.second(5);
    bed.vpc.set_timing(jitter(half + SECOND)).unwrap();
}

#[test]
fn what_metadata_remembers_counts_with_its_lags() {
    let mut bed = Bed::new();
    let (node, other) = (bed.node, bed.another_node());
    let half = HORIZON / 2;
    let lags = |by: Duration| Fault::new(FaultKind::ImdsLags { by });
    let remembers = |for_: Duration| Fault::new(FaultKind::ImdsRemembers { for_ });
    let too_much = "a view that lags 601s cannot be had: 600s are kept; shorten a delay, a lag or a memory";
    bed.vpc.set_fault(lags(half).of_instance(&node)).unwrap();
    is_taken(&mut bed, remembers(half));
    is_taken(&mut bed, remembers(HORIZON).of_instance(&other));
    is_refused(&mut bed, remembers(half + SECOND), too_much);
    is_refused(&mut bed, remembers(half + SECOND).of_instance(&node), too_much);
    // Of several memories the longest counts.
    bed.vpc.set_fault(remembers(half)).unwrap();
    is_taken(&mut bed, remembers(half));
    is_refused(&mut bed, lags(SECOND).of_instance(&node), too_much);
    for timing in [
        Timing { imds_lag: SECOND, ..Timing::default() },
        Timing { imds_lingers: SECOND, ..Timing::default() },
        Timing { imds_torn: SECOND, ..Timing::default() },
    ] {
        let said = bed.vpc.set_timing(timing).unwrap_err().to_string();
        assert_eq!(said, too_much);
    }
}

#[test]
fn the_longest_memory_that_is_taken_remembers_all_of_it() {
    let mut bed = Bed::new();
    let (eni, attachment) = bed.attached(1);
    let half = HORIZON / 2;
    bed.vpc.set_timing(Timing { imds_lag: half, ..Timing::default() }).unwrap();
    bed.vpc.set_fault(Fault::new(FaultKind::ImdsRemembers { for_: half })).unwrap();
    bed.second(1000);
    bed.call(Bed::detach(&attachment)).unwrap();
    let shown = |bed: &mut Bed| {
        let view = bed.vpc.imds_view(&bed.node).unwrap();
        view.interfaces.iter().any(|interface| interface.interface_id == eni)
    };
    bed.second(1000 + HORIZON.as_secs());
    assert!(shown(&mut bed));
    bed.second(1001 + HORIZON.as_secs());
    // What is older is forgotten with the next change.
    bed.created();
    assert!(!shown(&mut bed));
}

#[test]
fn a_delay_of_nothing_is_refused_with_its_key() {
    let mut bed = Bed::new();
    let none = Duration::ZERO;
    let least = Duration::from_millis(1);
    let kinds: [fn(Duration) -> FaultKind; 8] = [
        |by| FaultKind::ImdsLags { by },
        |by| FaultKind::ImdsLate { by, path: None },
        |by| FaultKind::DescribeLags { by },
        |by| FaultKind::ChangesLag { by },
        |by| FaultKind::AnswerLate { by },
        |by| FaultKind::LinkLate { by },
        |by| FaultKind::ClockAhead { by },
        |for_| FaultKind::ImdsRemembers { for_ },
    ];
    for kind in kinds {
        let key = if matches!(kind(none), FaultKind::ImdsRemembers { .. }) { "for_ms" } else { "by_ms" };
        let said = format!("{key} = 0 changes nothing: say how many milliseconds, 1 or more");
        is_refused(&mut bed, Fault::new(kind(none)), &said);
        is_taken(&mut bed, Fault::new(kind(least)));
    }
    let node = bed.node;
    is_taken(&mut bed, Fault::new(FaultKind::InstanceRetires { after: least }).of_instance(&node));
}

#[test]
fn an_assign_that_gives_nothing_at_all_is_a_fault_like_another() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    let fault = bed.vpc.set_fault(Fault::new(FaultKind::FewerAddresses { most: 0 })).unwrap();
    assert_eq!((bed.assign(&eni, 2).unwrap(), bed.vpc.fault_hits()[&fault]), (Vec::new(), 1));
}
