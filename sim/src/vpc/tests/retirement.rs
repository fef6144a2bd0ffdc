//! Instances that EC2 retires.

use super::*;
use crate::fault::{Fault, FaultKind};
use crate::vpc::request::DescribeInstanceStatus;
use crate::vpc::response::{InstanceState, InstanceStatus};

fn retires(bed: &Bed, seconds: u64) -> Fault {
    Fault::new(FaultKind::InstanceRetires { after: Duration::from_secs(seconds) }).of_instance(&bed.node)
}

fn state(bed: &Bed) -> InstanceState {
    bed.vpc.authoritative().instances()[0].instance.state
}

/// When metadata says that it will be; `None`: no metadata, or no word of it.
fn told(bed: &mut Bed) -> Option<Micros> {
    bed.vpc.imds_view(&bed.node)?.retirement.map(|notice| notice.not_before)
}

/// What became of those that are over, as metadata tells it, the latest first.
fn history(bed: &mut Bed) -> Vec<RetirementEnd> {
    bed.vpc.imds_view(&bed.node).unwrap().past_retirements.iter().map(|past| past.end).collect()
}

/// What EC2 says of the instances.
fn statuses(bed: &mut Bed, wanted: DescribeInstanceStatus) -> Vec<InstanceStatus> {
    bed.call(wanted).unwrap().items
}

fn all() -> DescribeInstanceStatus {
    DescribeInstanceStatus { include_all_instances: Some(true), ..Default::default() }
}

/// The descriptions of the node's events.
fn events(bed: &mut Bed) -> Vec<String> {
    let statuses = statuses(bed, all());
    let its = statuses.iter().find(|status| status.instance_id == bed.node).unwrap();
    its.events.iter().map(|event| event.description.clone()).collect()
}

#[test]
fn it_is_announced_and_carried_out_and_the_instance_starts_on_other_hardware() {
    let mut bed = Bed::new();
    bed.attached(1);
    bed.vpc.set_timing(Timing::life()).unwrap();
    bed.second(100);
    let fault = bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    assert_eq!(told(&mut bed), None, "metadata lags");
    bed.second(101);
    let at = Some(Micros(160_000_000));
    assert_eq!((told(&mut bed), state(&bed)), (at, InstanceState::Running));
    bed.vpc.reboot_instance(&bed.node.clone()).unwrap();
    bed.vpc.advance_to(Micros(159_999_999));
    assert_eq!((told(&mut bed), state(&bed)), (at, InstanceState::Running));
    assert_eq!((bed.vpc.faults().len(), bed.vpc.fault_hits()[&fault]), (1, 0));
    bed.second(160);
    assert_eq!((told(&mut bed), state(&bed)), (at, InstanceState::Stopping));
    assert_eq!((bed.vpc.faults().len(), bed.vpc.fault_hits()[&fault]), (0, 1));
    bed.vpc.drain_events();
    bed.second(175);
    assert_eq!(state(&bed), InstanceState::Stopped);
    assert!(matches!(bed.vpc.drain_events().last(), Some(VpcEvent::InstanceStopped { .. })));
    bed.vpc.start_instance(&bed.node.clone()).unwrap();
    bed.second(1000);
    assert_eq!((told(&mut bed), state(&bed)), (None, InstanceState::Running));
    assert_eq!(bed.vpc.authoritative().network_interfaces_of(&bed.node).len(), 2);
}

#[test]
fn it_is_called_off_with_its_fault() {
    for all in [false, true] {
        let mut bed = Bed::new();
        let fault = bed.vpc.set_fault(retires(&bed, 60)).unwrap();
        assert!(told(&mut bed).is_some());
        if all {
            bed.vpc.clear_faults();
        } else {
            assert!(bed.vpc.clear_fault(fault));
        }
        assert_eq!(told(&mut bed), None);
        bed.second(1000);
        assert_eq!((state(&bed), bed.vpc.fault_hits()[&fault]), (InstanceState::Running, 0));
        bed.vpc.set_fault(retires(&bed, 0)).unwrap();
        assert_eq!(state(&bed), InstanceState::Stopped, "at once");
    }
}

#[test]
fn whoever_stops_the_instance_before_moves_it_to_other_hardware() {
    let mut bed = Bed::new();
    let node = bed.node;
    let first = bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    bed.second(10);
    bed.vpc.stop_instance(&node).unwrap();
    bed.vpc.start_instance(&node).unwrap();
    assert_eq!(told(&mut bed), None);
    // The new hardware fails too, later.
    let second = bed.vpc.set_fault(retires(&bed, 90)).unwrap();
    bed.second(60);
    assert_eq!((state(&bed), told(&mut bed)), (InstanceState::Running, Some(Micros(100_000_000))));
    bed.second(100);
    assert_eq!(state(&bed), InstanceState::Stopped);
    assert_eq!((bed.vpc.fault_hits()[&first], bed.vpc.fault_hits()[&second]), (0, 1));
}

#[test]
fn a_retirement_that_cannot_be_is_refused() {
    let mut bed = Bed::new();
    let node = bed.node;
    let kind = || FaultKind::InstanceRetires { after: Duration::from_secs(60) };
    let refused = |bed: &mut Bed, fault: Fault| bed.vpc.set_fault(fault).unwrap_err().to_string();
    assert!(refused(&mut bed, Fault::new(kind())).contains("of one instance"));
    let its = retires(&bed, 60);
    for fault in [
        its.clone().times(1),
        its.clone().skipping(1),
        its.clone().with_permille(500),
        its.clone().until(Micros(1)),
        its.clone().on(Action::DescribeVpcs),
        its.clone().of_subnet(bed.subnet),
    ] {
        assert!(refused(&mut bed, fault).contains("happens once"));
    }
    let unknown = Fault::new(kind()).of_instance(&InstanceId::new("i-0aaaaaaaaaaaaaaaa"));
    assert!(refused(&mut bed, unknown).contains("does not exist"));
    bed.vpc.set_fault(its.clone()).unwrap();
    assert!(refused(&mut bed, its.clone()).contains("already"));
    bed.vpc.clear_faults();
    bed.vpc.stop_instance(&node).unwrap();
    assert!(refused(&mut bed, its).contains("is stopped"));
    assert_eq!(bed.vpc.faults(), []);
}

#[test]
fn what_became_of_it_is_told_for_a_week() {
    const ACTIVE: &str = "The instance is running on degraded hardware";
    const COMPLETED: &str = "[Completed] The instance is running on degraded hardware";
    const CANCELED: &str = "[Canceled] The instance is running on degraded hardware";
    let mut bed = Bed::new();
    let node = bed.node;
    assert_eq!((history(&mut bed), events(&mut bed)), (Vec::new(), Vec::new()));
    let fault = bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    assert_eq!((history(&mut bed), events(&mut bed)), (Vec::new(), vec![ACTIVE.to_owned()]));
    bed.second(10);
    bed.vpc.clear_fault(fault);
    assert_eq!(
        (history(&mut bed), events(&mut bed)),
        (vec![RetirementEnd::Canceled], vec![CANCELED.to_owned()])
    );
    bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    assert_eq!(events(&mut bed), [ACTIVE, CANCELED]);
    bed.second(70);
    assert_eq!(events(&mut bed), [COMPLETED, CANCELED], "of one that is stopped too");
    bed.vpc.start_instance(&node).unwrap();
    assert_eq!(history(&mut bed), [RetirementEnd::Completed, RetirementEnd::Canceled]);
    // Somebody is faster.
    bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    bed.vpc.stop_instance(&node).unwrap();
    bed.vpc.start_instance(&node).unwrap();
    assert_eq!(events(&mut bed), [COMPLETED, COMPLETED, CANCELED]);
    let week = 7 * 24 * 3600;
    bed.second(week + 9);
    assert_eq!(events(&mut bed), [COMPLETED, COMPLETED, CANCELED]);
    bed.second(week + 10);
    assert_eq!(events(&mut bed), [COMPLETED, COMPLETED]);
    assert_eq!(history(&mut bed).len(), 2);
    bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    bed.vpc.terminate_instance(&node).unwrap();
    assert_eq!(events(&mut bed), [COMPLETED, COMPLETED, COMPLETED], "nothing is left to retire");
}

#[test]
fn no_more_than_a_hundred_that_are_over_are_told_of() {
    let mut bed = Bed::new();
    let ids: Vec<String> = (0..102)
        .map(|_| {
            let fault = bed.vpc.set_fault(retires(&bed, 60)).unwrap();
            let id = bed.vpc.imds_view(&bed.node).unwrap().retirement.unwrap().event_id;
            bed.vpc.clear_fault(fault);
            id
        })
        .collect();
    let told = statuses(&mut bed, all());
    let told: Vec<&str> = told[0].events.iter().map(|event| event.instance_event_id.as_str()).collect();
    let latest: Vec<&str> = ids[2..].iter().rev().map(String::as_str).collect();
    assert_eq!(told, latest);
}

#[test]
fn a_status_is_of_what_runs_unless_all_are_asked_for() {
    let mut bed = Bed::new();
    let (node, other) = (bed.node, bed.another_node());
    bed.vpc.stop_instance(&other).unwrap();
    let shown = |bed: &mut Bed, wanted: DescribeInstanceStatus| -> Vec<InstanceId> {
        statuses(bed, wanted).iter().map(|status| status.instance_id).collect()
    };
    assert_eq!(shown(&mut bed, DescribeInstanceStatus::default()), [node]);
    let both = BTreeSet::from([node, other]).into_iter().collect::<Vec<_>>();
    assert_eq!(shown(&mut bed, all()), both);
    let named = |id| DescribeInstanceStatus { instance_ids: vec![id], ..Default::default() };
    assert_eq!(shown(&mut bed, named(node)), [node]);
    assert_eq!(shown(&mut bed, named(other)), []);
    assert_eq!(bed.code(named("i-0aaaaaaaaaaaaaaaa".into())), "InvalidInstanceID.NotFound");
    assert_eq!(bed.code(named("i-1".into())), "InvalidInstanceID.Malformed");

    bed.vpc.set_fault(retires(&bed, 60)).unwrap();
    let filtered =
        |name: &str, value: &str| DescribeInstanceStatus { filters: vec![Filter::new(name, value)], ..all() };
    for (name, value, wanted) in [
        ("availability-zone", "us-west-2a", &both[..]),
        ("availability-zone-id", "usw2-az1", &both),
        ("availability-zone-id", "usw2-az2", &[]),
        ("event.code", "instance-retirement", &[node]),
        ("event.code", "instance-stop", &[]),
        ("event.description", "The instance*", &[node]),
        ("event.instance-event-id", "instance-event-*", &[node]),
        ("instance-state-code", "80", &[other]),
        ("instance-state-name", "running", &[node]),
        ("instance-status.reachability", "passed", &[node]),
        ("instance-status.status", "ok", &[node]),
        ("system-status.reachability", "passed", &[node]),
        ("system-status.status", "not-applicable", &[other]),
    ] {
        assert_eq!(shown(&mut bed, filtered(name, value)), wanted, "{name} {value}");
    }
    assert_eq!(bed.code(filtered("event.not-before", "2026*")), "NotInTheBox");
    assert_eq!(bed.code(filtered("tag:Name", "a")), "InvalidParameterValue");
    let lags = Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(5) });
    bed.second(10);
    bed.vpc.stop_instance(&node).unwrap();
    bed.vpc.set_fault(lags).unwrap();
    assert_eq!(shown(&mut bed, DescribeInstanceStatus::default()), [node], "a Describe like the others");
}
