//! Sandboxes that nobody asks about: pending ones that a start finds, those that are gone, those whose link is.

use super::*;

#[test]
fn a_pending_lease_that_a_start_finds_is_adopted_undone_or_looked_at_again() {
    for (verdict, act) in [
        (Verdict::Sound, "Activate"),
        (Verdict::Unsound { why: String::new() }, "Release"),
        (Verdict::Unknown(refusal()), "RetryKernel"),
    ] {
        let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
        assert_eq!(bench.acts(Input::TakeUp), ["Verify"]);
        // The runtime asks again meanwhile.
        let mut answer = bench.add(1);
        let Work::Verifying(ticket) = bench.attachment.work() else { panic!("it is being compared") };
        assert_eq!(bench.acts(Input::Verified { ticket, verdict }), [act]);
        // What was not compared is no answer.
        let answered = (act == "Activate").then_some(true);
        assert_eq!(answer.try_recv().ok().map(|result| result.is_ok()), answered);
    }
}

#[test]
fn a_pending_lease_whose_namespace_cannot_be_seen_is_kept() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
    bench.step(Input::TakeUp);
    let ticket = verifying(&bench);
    assert_eq!(bench.acts(Input::Verified { ticket, verdict: Verdict::Hidden(refusal()) }), ["Activate"]);
}

#[test]
fn only_an_idle_sandbox_ends_on_a_proof_and_only_on_one_about_it() {
    let active = lease(1, LeasePhase::Active);
    let mut bench = Bench::new(Some(active.clone()));
    let other = Ended::asked(&lease(2, LeasePhase::Active));
    assert!(bench.acts(Input::Ended(other)).is_empty());
    let _add = bench.add(1);
    assert!(bench.acts(Input::Ended(Ended::asked(&active))).is_empty(), "it is being verified");
}

#[test]
fn a_pod_that_lost_its_link_is_wired_anew_and_nothing_else_is_done_about_it_meanwhile() {
    let severed = || Input::Severed { inode: 1 };
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    assert!(bench.acts(Input::Severed { inode: 2 }).is_empty(), "another namespace's");
    assert_eq!(bench.acts(severed()), ["Rewire"]);
    assert!(bench.acts(severed()).is_empty(), "once at a time");
    let (mut add, mut del) = (bench.add(1), bench.del());
    assert!(matches!(add.try_recv().unwrap(), Err(AddError::Deleted { .. })));
    assert!(none(&mut del), "a DEL waits for it");
    assert_eq!(bench.acts(Input::Rewired(Ok(()))), ["Release"]);
    assert!(bench.acts(severed()).is_empty(), "what is on its way out gets nothing back");

    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    bench.step(severed());
    let mut add = bench.add(1);
    assert!(none(&mut add));
    assert!(bench.acts(Input::Rewired(Ok(()))).is_empty());
    assert!(add.try_recv().unwrap().is_ok(), "it was read back");
    assert!(bench.attachment.is_at_rest());
    for phase in [LeasePhase::Pending, LeasePhase::Releasing] {
        assert!(Bench::new(Some(lease(1, phase))).acts(severed()).is_empty(), "{phase:?}");
    }
    bench.step(severed());
    assert!(bench.acts(Input::Rewired(Err(refusal()))).is_empty());
    assert!(bench.attachment.is_at_rest() && bench.lease.is_some(), "it is looked for again");
}

/// A pod that was wired anew answers an ADD of its own namespace only, and only when it was.
#[test]
fn what_is_wired_anew_answers_the_add_that_waits_for_it() {
    for (inode, result, answered) in [(1, Ok(()), true), (2, Ok(()), false), (1, Err(refusal()), false)] {
        let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
        bench.step(Input::Severed { inode: 1 });
        let mut answer = bench.add(inode);
        assert!(none(&mut answer));
        let case = format!("{inode} {result:?}");
        bench.step(Input::Rewired(result));
        assert_eq!(!none(&mut answer), answered, "{case}");
    }
}

/// What is about to go gets no link back: its release is owed to the disk, or a DEL waits.
#[test]
fn a_pod_that_is_to_go_is_not_wired_anew() {
    let severed = |bench: &mut Bench| bench.acts(Input::Severed { inode: 1 });
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    let _done = bench.del();
    bench.step(Input::ReleaseRefused { commit: bench.release });
    bench.step(Input::Unwired(Ok(())));
    bench.step(Input::LinksTaken);
    bench.step(Input::LinksRemoved(Ok(())));
    assert!(bench.attachment.is_owed());
    // As memory has it when the disk is back.
    bench.lease = Some(lease(1, LeasePhase::Active));
    assert_eq!(severed(&mut bench), Vec::<String>::new());
    assert_eq!(severed(&mut Bench::new(Some(lease(1, LeasePhase::Active)))), ["Rewire"]);
}
