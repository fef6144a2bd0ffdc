use std::fs::File;
use std::os::fd::OwnedFd;

use holdfast_model::lease::{Face, LeasePhase};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey};
use holdfast_model::time::WallTime;

use super::*;

mod lives;

fn key() -> SandboxKey {
    SandboxKey { container_id: "c".into(), ifname: "eth0".into(), network: "aws-cni".into() }
}

fn netns(inode: u64) -> NetnsRef {
    NetnsRef { path: format!("/run/netns/{inode}"), inode }
}

fn lease(inode: u64, phase: LeasePhase) -> Lease {
    Lease {
        sandbox: key(),
        pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
        netns: netns(inode),
        faces: Vec::<Face>::new(),
        phase,
        created: WallTime(0),
    }
}

fn request(inode: u64) -> Box<AddRequest> {
    Box::new(AddRequest {
        sandbox: key(),
        pod: PodRef { namespace: "default".into(), name: "web-0".into(), uid: None },
        netns: OwnedFd::from(File::open("/dev/null").unwrap()).into(),
        netns_ref: netns(inode),
        host_veth: "eni0".into(),
        fallback_veth: "eni1".into(),
        mtu: 9001,
        patience: None,
    })
}

fn refusal() -> HostFault {
    HostFault::Refused { step: "a step".into(), cause: "no".into() }
}

type AddAnswer = oneshot::Receiver<Result<Lease, AddError>>;
type DelAnswer = oneshot::Receiver<Deleted>;

/// An attachment, and the lease that the ledger has of its sandbox.
struct Bench {
    attachment: Attachment,
    lease: Option<Lease>,
    tickets: u64,
    /// The last commits of a lease and of a release.
    leased: u64,
    release: u64,
}

impl Bench {
    fn new(lease: Option<Lease>) -> Self {
        Self { attachment: Attachment::default(), lease, tickets: 0, leased: 0, release: 0 }
    }

    /// Gives an input; the acts, answers aside, which are given.
    fn step(&mut self, input: Input) -> Vec<Act> {
        self.tickets += 1;
        let acts = self.attachment.step(&key(), input, self.lease.as_ref(), self.tickets);
        for act in &acts {
            match act {
                Act::AnswerAdd(result) => self.attachment.answer_add(result),
                Act::AnswerDels => {
                    let done = if self.attachment.is_owed() { Deleted::Owed } else { Deleted::Durable };
                    self.attachment.answer_dels(done);
                }
                // As the planner does it.
                Act::Release { ended, commit } => {
                    self.release = *commit;
                    let lease = self.lease.as_mut().filter(|lease| ended.is_of(lease));
                    lease.expect("what is released is there").phase = LeasePhase::Releasing;
                }
                Act::Activate => self.lease.as_mut().expect("it is there").phase = LeasePhase::Active,
                Act::Undo => self.lease = None,
                Act::Finish => {
                    // The planner ends no lease that is not being released.
                    self.lease = self.lease.take().filter(|lease| lease.phase != LeasePhase::Releasing);
                }
                _ => {}
            }
        }
        acts.into_iter().filter(|act| !matches!(act, Act::AnswerAdd(_) | Act::AnswerDels)).collect()
    }

    /// The names of what is to be done.
    fn acts(&mut self, input: Input) -> Vec<String> {
        let acts = self.step(input);
        acts.iter()
            .map(|act| format!("{act:?}").chars().take_while(|c| c.is_alphanumeric()).collect())
            .collect()
    }

    fn add(&mut self, inode: u64) -> AddAnswer {
        let (reply, answer) = oneshot::channel();
        let (at, hold) = (BootTime(0), Duration::from_secs(10));
        self.step(Input::Add { request: request(inode), reply, at, hold, order: 1 });
        answer
    }

    fn del(&mut self) -> DelAnswer {
        let (reply, answer) = oneshot::channel();
        self.step(Input::Del { reply, host_read: true });
        answer
    }

    fn lease_durable(&mut self) -> Vec<String> {
        self.acts(Input::LeaseDurable { commit: self.leased })
    }

    fn release_durable(&mut self) -> Vec<String> {
        self.acts(Input::ReleaseDurable { commit: self.release })
    }

    /// The ledger took a lease for the ADD that waits.
    fn take_lease(&mut self, inode: u64) {
        self.lease = Some(lease(inode, LeasePhase::Pending));
        self.tickets += 1;
        self.leased = self.tickets;
        self.step(Input::Leased { commit: self.leased });
    }
}

/// An ADD on its way, up to the state that is named.
fn on_its_way(work: Work) -> (Bench, AddAnswer) {
    let mut bench = Bench::new(None);
    let answer = bench.add(1);
    bench.take_lease(1);
    if work == Work::Wiring {
        assert_eq!(bench.lease_durable(), ["Wire"]);
    }
    assert_eq!(bench.attachment.work(), work);
    (bench, answer)
}

fn none<T>(answer: &mut oneshot::Receiver<T>) -> bool {
    matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

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

fn verifying(bench: &Bench) -> u64 {
    let Work::Verifying(ticket) = bench.attachment.work() else { panic!("it is being compared") };
    ticket
}

#[test]
fn a_pending_lease_whose_namespace_cannot_be_seen_is_kept() {
    let mut bench = Bench::new(Some(lease(1, LeasePhase::Pending)));
    bench.step(Input::TakeUp);
    let ticket = verifying(&bench);
    assert_eq!(bench.acts(Input::Verified { ticket, verdict: Verdict::Hidden(refusal()) }), ["Activate"]);
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
