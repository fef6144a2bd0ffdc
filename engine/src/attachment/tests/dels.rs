//! A DEL, whatever is under way as it comes, and a kernel that will not let go.

use super::*;

#[test]
fn a_del_during_an_add_waits_for_it_and_then_releases() {
    for work in [Work::Leasing, Work::Wiring] {
        for fails in [false, true] {
            let (mut bench, mut add) = on_its_way(work);
            let mut del = bench.del();
            assert!(none(&mut add) && none(&mut del));
            let result = if fails { Err(WiringFault { fault: refusal(), made: 0 }) } else { Ok(()) };
            let commit = bench.leased;
            let input =
                if work == Work::Leasing { Input::LeaseDurable { commit } } else { Input::Wired(result) };
            assert_eq!(bench.acts(input), ["Release"]);
            assert!(matches!(add.try_recv().unwrap(), Err(AddError::Deleted { .. })));
            assert!(none(&mut del), "not before its rules and routes are gone");
            assert_eq!(bench.release_durable(), ["Unwire"]);
            assert_eq!(bench.acts(Input::Unwired(Ok(()))), ["RemoveLinks"]);
            assert_eq!(del.try_recv().unwrap(), Deleted::Durable);
            assert!(bench.acts(Input::LinksTaken).is_empty());
            assert_eq!(bench.acts(Input::LinksRemoved(Ok(()))), ["Finish"]);
            assert!(bench.attachment.is_at_rest() && bench.lease.is_none());
        }
    }
}

#[test]
fn a_del_before_there_is_a_lease_ends_the_add() {
    let mut bench = Bench::new(None);
    let mut add = bench.add(1);
    let mut del = bench.del();
    assert!(matches!(add.try_recv().unwrap(), Err(AddError::Deleted { .. })));
    assert_eq!(del.try_recv().unwrap(), Deleted::Durable);
    assert!(bench.attachment.is_at_rest());
}

#[test]
fn a_del_of_what_is_being_released_is_answered_when_its_routes_are_gone() {
    for (works, answered) in [
        (vec![], true),
        (vec![Input::TakeUp], false),
        (vec![Input::TakeUp, Input::Unwired(Ok(()))], true),
        (vec![Input::TakeUp, Input::Unwired(Ok(())), Input::LinksTaken], true),
        (
            vec![
                Input::TakeUp,
                Input::Unwired(Ok(())),
                Input::LinksTaken,
                Input::LinksRemoved(Err(refusal())),
            ],
            true,
        ),
    ] {
        let mut bench = Bench::new(Some(lease(1, LeasePhase::Releasing)));
        for input in works {
            bench.step(input);
        }
        let work = bench.attachment.work();
        let mut del = bench.del();
        assert_eq!(del.try_recv().is_ok(), answered, "{work:?}");
    }
    // Before the kernel was read nobody knows what is left.
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Releasing)));
    let (reply, mut del) = oneshot::channel();
    bench.step(Input::Del { reply, host_read: false });
    assert!(none(&mut del));
    assert_eq!(bench.acts(Input::TakeUp), ["Unwire"]);
    bench.step(Input::Unwired(Err(refusal())));
    assert!(del.try_recv().is_ok(), "what is left to do will be done");
}

#[test]
fn what_the_kernel_refuses_is_taken_up_again() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Releasing)));
    assert_eq!(bench.acts(Input::TakeUp), ["Unwire"]);
    assert!(bench.acts(Input::TakeUp).is_empty(), "once at a time");
    assert_eq!(bench.acts(Input::Unwired(Err(refusal()))), ["RetryKernel"]);
    assert_eq!(bench.acts(Input::TakeUp), ["Unwire"]);
    bench.step(Input::Unwired(Ok(())));
    bench.step(Input::LinksTaken);
    assert_eq!(bench.acts(Input::LinksRemoved(Err(refusal()))), ["RetryKernel"]);
    assert_eq!(bench.attachment.work(), Work::UnlinkLater);
    assert!(bench.acts(Input::LinksTaken).is_empty(), "others do not take it along");
    assert_eq!(bench.acts(Input::TakeUp), ["RemoveLinks"]);
    bench.step(Input::LinksTaken);
    assert_eq!(bench.acts(Input::LinksRemoved(Ok(()))), ["Finish"]);
}

#[test]
fn what_the_kernel_refuses_again_and_again_is_tried_ever_later_and_anew_at_once() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Releasing)));
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.step(Input::TakeUp);
        for act in bench.step(Input::Unwired(Err(refusal()))) {
            if let Act::RetryKernel { after } = act {
                waits.push(after.as_secs());
            }
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
    bench.step(Input::TakeUp);
    bench.step(Input::Unwired(Ok(())));
    bench.step(Input::LinksTaken);
    let acts = bench.step(Input::LinksRemoved(Err(refusal())));
    assert!(matches!(acts[..], [Act::RetryKernel { after }] if after.as_secs() == 1), "{acts:?}");
}
