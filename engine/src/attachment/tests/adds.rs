//! An ADD: leased, wired, answered; asked again; and what it is told that waits.

use super::*;

#[test]
fn an_add_is_wired_when_its_lease_is_durable_and_answered_when_it_was_read_back() {
    let (mut bench, mut answer) = on_its_way(Work::Leasing);
    assert!(bench.attachment.waiting().is_none() && none(&mut answer));
    assert_eq!(bench.lease_durable(), ["Wire"]);
    assert!(none(&mut answer));
    assert_eq!(bench.acts(Input::Wired(Ok(()))), ["Activate"]);
    assert_eq!(answer.try_recv().unwrap().unwrap().netns, netns(1));
    assert!(bench.attachment.is_at_rest());
}

#[test]
fn a_second_add_joins_the_first_and_one_for_another_namespace_is_refused() {
    let (mut bench, mut first) = on_its_way(Work::Wiring);
    let (mut joined, mut other) = (bench.add(1), bench.add(2));
    assert!(matches!(other.try_recv().unwrap(), Err(AddError::TwoNamespaces { .. })));
    bench.step(Input::Wired(Ok(())));
    assert!(first.try_recv().unwrap().is_ok() && joined.try_recv().unwrap().is_ok());
}

#[test]
fn a_lease_that_is_there_answers_the_same_add_only_when_it_verifies() {
    for (verdict, answered) in [
        (Verdict::Sound, Some(true)),
        (Verdict::Unknown(refusal()), Some(false)),
        (Verdict::Unsound { why: String::new() }, None),
    ] {
        let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
        let mut answer = bench.add(1);
        let Work::Verifying(ticket) = bench.attachment.work() else {
            panic!("compared with the kernel first")
        };
        let retried = matches!(verdict, Verdict::Unknown(_));
        let stale = Input::Verified { ticket: ticket + 7, verdict: Verdict::Sound };
        assert!(bench.acts(stale).is_empty() && none(&mut answer), "another comparison");
        let acts = bench.acts(Input::Verified { ticket, verdict });
        assert_eq!(acts.is_empty(), !retried, "{acts:?}");
        assert_eq!(answer.try_recv().ok().map(|result| result.is_ok()), answered);
        // The one that is unsound is replaced: the ADD waits for that.
        assert_eq!(bench.attachment.waiting().is_some(), answered.is_none());
        assert_eq!(
            bench.lease,
            Some(lease(1, LeasePhase::Active)),
            "an answered lease ends on nobody's guess"
        );
    }
}

#[test]
fn an_add_for_another_namespace_is_no_reason_to_verify() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    let _answer = bench.add(2);
    assert_eq!(bench.attachment.work(), Work::Idle);
    assert!(bench.attachment.waiting().is_some());
    let ended = Ended::replaced(&lease(1, LeasePhase::Active));
    assert_eq!(bench.acts(Input::Ended(ended)), ["Release"]);
}

/// It may have been answered for with that very address.
#[test]
fn an_add_asked_again_shows_the_namespace_that_cannot_be_seen() {
    let hidden = || Verdict::Hidden(refusal());
    for (inside, act, answered) in [
        (Verdict::Sound, &["Activate"][..], Some(true)),
        (Verdict::Unsound { why: String::new() }, &["Release"], None),
        // It had nothing to show by.
        (hidden(), &["Activate"], Some(false)),
    ] {
        let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
        bench.step(Input::TakeUp);
        let by_path = verifying(&bench);
        let mut answer = bench.add(1);
        let acts = bench.step(Input::Verified { ticket: by_path, verdict: hidden() });
        assert!(matches!(acts[..], [Act::Verify { netns: Some(_), .. }]), "{acts:?}");
        assert!(none(&mut answer));
        let ticket = verifying(&bench);
        assert_eq!(bench.acts(Input::Verified { ticket, verdict: inside }), act);
        assert_eq!(answer.try_recv().ok().map(|result| result.is_ok()), answered);
    }
    // One for another namespace shows nothing.
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
    bench.step(Input::TakeUp);
    let ticket = verifying(&bench);
    let mut other = bench.add(2);
    assert_eq!(bench.acts(Input::Verified { ticket, verdict: hidden() }), ["Activate"]);
    assert!(none(&mut other), "it waits for its turn");
}

#[test]
fn a_wiring_that_failed_frees_its_address_at_once_only_if_nothing_was_made() {
    let netns = || HostFault::Netns { netns: "n".into(), cause: "gone".into() };
    let occupied = || HostFault::Occupied { what: "eth0".into() };
    for (fault, made, act) in [
        (netns(), 0, "Undo"),
        (HostFault::Barred { netns: "n".into() }, 0, "Undo"),
        (occupied(), 0, "Undo"),
        (netns(), 1, "Release"),
        (occupied(), 1, "Release"),
        (refusal(), 0, "Release"),
    ] {
        let (mut bench, mut answer) = on_its_way(Work::Wiring);
        assert_eq!(bench.acts(Input::Wired(Err(WiringFault { fault, made }))), [act]);
        assert!(matches!(answer.try_recv().unwrap(), Err(AddError::Wiring { .. })));
    }
}

/// What an ADD is told that has waited too long.
#[test]
fn each_stage_of_an_attachment_has_its_words() {
    let mut bench = Bench::new(None);
    let _answer = bench.add(1);
    assert_eq!(bench.attachment.stage(), "waits for an address");
    let (bench, _answer) = on_its_way(Work::Leasing);
    assert_eq!(bench.attachment.stage(), "its lease is being written");
    let (mut bench, _answer) = on_its_way(Work::Wiring);
    assert_eq!(bench.attachment.stage(), "it is being wired");
    bench.step(Input::Wired(Ok(())));
    bench.step(Input::Severed { inode: 1 });
    assert_eq!(bench.attachment.stage(), "its link was taken away, and it is being wired anew");
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
    bench.step(Input::TakeUp);
    assert_eq!(bench.attachment.stage(), "an older lease of it is being compared with the kernel");
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Active)));
    let _done = bench.del();
    assert_eq!(bench.attachment.stage(), "an older attachment of it is being removed");
}

/// A comparison that was possible ends what failed before.
#[test]
fn what_was_compared_is_no_failure_any_more() {
    for (verdict, failed) in [(Verdict::Sound, false), (Verdict::Unknown(refusal()), true)] {
        let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
        bench.step(Input::TakeUp);
        let Work::Verifying(ticket) = bench.attachment.work() else { panic!() };
        bench.step(Input::Verified { ticket, verdict: Verdict::Unknown(refusal()) });
        assert!(bench.attachment.has_failed());
        bench.step(Input::TakeUp);
        let Work::Verifying(ticket) = bench.attachment.work() else { panic!() };
        let case = format!("{verdict:?}");
        bench.step(Input::Verified { ticket, verdict });
        assert_eq!(bench.attachment.has_failed(), failed, "{case}");
    }
}
