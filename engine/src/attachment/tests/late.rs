//! A disk that refuses or is late, and whatever else is answered when its time is over.

use super::*;

#[test]
fn a_disk_that_refuses_a_lease_leaves_nothing_behind() {
    let (mut bench, mut add) = on_its_way(Work::Leasing);
    let mut del = bench.del();
    assert!(bench.acts(Input::LeaseRefused { commit: bench.leased, cause: "full".into() }).is_empty());
    assert!(matches!(add.try_recv().unwrap(), Err(AddError::Ledger { .. })));
    assert!(del.try_recv().is_ok() && bench.attachment.is_at_rest());
}

#[test]
fn a_disk_that_refuses_a_release_does_not_keep_the_pod_and_is_asked_again() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    let mut del = bench.del();
    assert_eq!(bench.acts(Input::ReleaseRefused { commit: bench.release }), ["Unwire"]);
    bench.step(Input::Unwired(Ok(())));
    assert_eq!(del.try_recv().unwrap(), Deleted::Owed);
    // Memory is set back to what the disk has.
    bench.lease = Some(lease(1, LeasePhase::Active));
    assert_eq!(bench.acts(Input::DiskIsBack), ["Release"]);
    assert_eq!(bench.attachment.work(), Work::Unlink, "the kernel's part goes on where it was");
    assert!(bench.acts(Input::DiskIsBack).is_empty(), "once");
    bench.step(Input::LinksTaken);
    bench.step(Input::LinksRemoved(Ok(())));
    assert!(bench.lease.is_none() && bench.attachment.is_at_rest());
}

#[test]
fn a_lease_that_becomes_durable_after_its_add_was_refused_is_given_up() {
    let (mut bench, mut add) = on_its_way(Work::Leasing);
    bench.step(Input::DiskHangs { cause: "hangs".into() });
    assert!(matches!(add.try_recv().unwrap(), Err(AddError::Ledger { .. })));
    assert_eq!(bench.lease_durable(), ["Release"]);
    // Unless the runtime has asked for the very same again.
    for (inode, act) in [(1, "Wire"), (2, "Release")] {
        let (mut bench, _add) = on_its_way(Work::Leasing);
        bench.step(Input::DiskHangs { cause: "hangs".into() });
        let _again = bench.add(inode);
        assert_eq!(bench.lease_durable(), [act]);
    }
}

/// The disk hung; the release went on without it, and the sandbox has another lease when the disk answers.
#[test]
fn a_release_that_is_written_late_does_not_touch_the_next_lease() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    let mut del = bench.del();
    assert_eq!(bench.acts(Input::DiskHangs { cause: "hangs".into() }), ["Unwire"]);
    bench.step(Input::Unwired(Ok(())));
    assert!(del.try_recv().is_ok());
    bench.step(Input::LinksTaken);
    bench.step(Input::LinksRemoved(Ok(())));
    let mut answer = bench.add(2);
    bench.take_lease(2);
    assert!(bench.release_durable().is_empty());
    assert_eq!(bench.lease_durable(), ["Wire"]);
    bench.step(Input::Wired(Ok(())));
    assert!(answer.try_recv().unwrap().is_ok());
}

/// A release that was written late: the kernel's part went on without it.
#[test]
fn a_del_is_answered_when_its_release_is_written_late() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    let mut done = bench.del();
    assert_eq!(bench.acts(Input::DiskHangs { cause: "it hangs".into() }), ["Unwire"]);
    bench.step(Input::Unwired(Ok(())));
    assert_eq!(done.try_recv(), Ok(Deleted::Durable));
    let mut again = bench.del();
    assert_eq!(again.try_recv(), Ok(Deleted::Durable), "its routes are gone");
    assert_eq!(bench.release_durable(), Vec::<String>::new());
    assert_eq!(bench.attachment.work(), Work::Unlink);
}

/// What was meant for a state that is over sets nothing off.
#[test]
fn what_comes_too_late_is_nothing() {
    type Reach = (Work, fn() -> (Bench, Option<AddAnswer>));
    let states: [Reach; 8] = [
        (Work::Idle, || (Bench::new(None), None)),
        (Work::Leasing, || {
            let (bench, answer) = on_its_way(Work::Leasing);
            (bench, Some(answer))
        }),
        (Work::Wiring, || {
            let (bench, answer) = on_its_way(Work::Wiring);
            (bench, Some(answer))
        }),
        (Work::Rewiring, || {
            let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
            bench.step(Input::Severed { inode: 1 });
            (bench, None)
        }),
        (Work::Verifying(1), || {
            let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
            bench.step(Input::TakeUp);
            (bench, None)
        }),
        (Work::Releasing, || {
            let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
            let _done = bench.del();
            (bench, None)
        }),
        (Work::Unwiring, || {
            let mut bench = Bench::new(Some(lease(1, LeasePhase::Releasing)));
            bench.step(Input::TakeUp);
            (bench, None)
        }),
        (Work::Unlinking, || {
            let mut bench = Bench::new(Some(lease(1, LeasePhase::Releasing)));
            bench.step(Input::TakeUp);
            bench.step(Input::Unwired(Ok(())));
            bench.step(Input::LinksTaken);
            (bench, None)
        }),
    ];
    /// An input, and the state that it is meant for; none: it names another commit or comparison.
    type Late = (fn() -> Input, Option<Work>);
    let inputs: [Late; 10] = [
        (|| Input::LeaseDurable { commit: 77 }, None),
        (|| Input::LeaseRefused { commit: 77, cause: String::new() }, None),
        (|| Input::ReleaseDurable { commit: 77 }, None),
        (|| Input::Verified { ticket: 77, verdict: Verdict::Sound }, None),
        (|| Input::Wired(Ok(())), Some(Work::Wiring)),
        (|| Input::Rewired(Ok(())), Some(Work::Rewiring)),
        (|| Input::Unwired(Ok(())), Some(Work::Unwiring)),
        (|| Input::LinksTaken, Some(Work::Unlink)),
        (|| Input::LinksRemoved(Ok(())), Some(Work::Unlinking)),
        (|| Input::Severed { inode: 77 }, None),
    ];
    for (work, reach) in states {
        for (input, meant_for) in inputs {
            let (mut bench, _answer) = reach();
            assert_eq!(bench.attachment.work(), work);
            if meant_for == Some(work)
                || (work == Work::Unlinking && matches!(input(), Input::ReleaseDurable { .. }))
            {
                continue;
            }
            let acts = bench.acts(input());
            assert_eq!(
                (acts.len(), bench.attachment.work()),
                (0, work),
                "{:?} in {work:?}: {acts:?}",
                input()
            );
        }
    }
}
