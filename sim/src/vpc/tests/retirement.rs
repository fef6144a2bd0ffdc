//! Instances that EC2 retires.

use super::*;
use crate::fault::{Fault, FaultKind};
use crate::vpc::response::InstanceState;

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
