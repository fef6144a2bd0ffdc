//! Which faults' hits are remembered.

use super::*;
use crate::vpc::request::DescribeVpcs;
use crate::vpc::tally::Tally;

#[test]
fn of_too_many_faults_those_that_are_over_are_forgotten_first_to_last() {
    let mut bed = Bed::new();
    let mut once = || {
        let fault = bed.vpc.set_fault(Fault::new(FaultKind::Throttle).times(1)).unwrap();
        bed.vpc.serve(&bed.caller, DescribeVpcs::default());
        fault
    };
    let (first, second) = (once(), once());
    // A fault that is used up goes with the next call.
    bed.call(DescribeVpcs::default()).unwrap();
    let stays = bed.vpc.set_fault(Fault::new(FaultKind::AnswerLost).on(Action::CreateTags)).unwrap();
    let set = |bed: &mut Bed| {
        let fault = bed.vpc.set_fault(Fault::new(FaultKind::Throttle)).unwrap();
        bed.vpc.clear_fault(fault);
        fault
    };
    for _ in 3..Tally::KEPT {
        set(&mut bed);
    }
    assert_eq!((bed.vpc.fault_hits()[&first], bed.vpc.forgotten()), (1, Forgotten::default()));
    let last = set(&mut bed);
    let hits = bed.vpc.fault_hits();
    assert_eq!((hits.len(), hits.get(&first), hits[&second], hits[&last]), (Tally::KEPT, None, 1, 0));
    for _ in 0..4 {
        set(&mut bed);
    }
    assert_eq!(bed.vpc.forgotten(), Forgotten { faults: 5, ..Forgotten::default() });
    let hits = bed.vpc.fault_hits();
    assert_eq!((hits.len(), hits.get(&second), hits.get(&stays)), (Tally::KEPT, None, Some(&0)));
}
