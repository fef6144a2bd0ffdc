//! Random lives of one attachment: whatever happens, everybody is answered, and the kernel is never asked for two things at once.

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Add(u64),
    Del,
    /// The engine gives the ADD that waits a lease, or ends the older one.
    Serve,
    /// The disk takes what it was given longest ago, refuses all, hangs.
    Written,
    Refused,
    Hangs,
    /// The kernel's work ends well or badly.
    Done(bool),
    TakeUp,
    /// The sandbox is found gone.
    Gone,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (1..3_u64).prop_map(Turn::Add),
        2 => Just(Turn::Del),
        4 => Just(Turn::Serve),
        4 => Just(Turn::Written),
        1 => Just(Turn::Refused),
        1 => Just(Turn::Hangs),
        4 => prop::bool::weighted(0.7).prop_map(Turn::Done),
        1 => Just(Turn::TakeUp),
        1 => Just(Turn::Gone),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    Lease,
    Release,
}

/// The engine around one attachment.
struct Life {
    bench: Bench,
    /// With the disk.
    commits: Vec<(Commit, Option<Lease>)>,
    durable: Option<Lease>,
    kernel: Option<Act>,
    adds: Vec<AddAnswer>,
    dels: Vec<DelAnswer>,
}

impl Life {
    fn new() -> Self {
        Self {
            bench: Bench::new(None),
            commits: Vec::new(),
            durable: None,
            kernel: None,
            adds: Vec::new(),
            dels: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) {
        for act in self.bench.step(input) {
            match act {
                Act::Release(_) => self.commits.push((Commit::Release, self.bench.lease.clone())),
                Act::Wire | Act::Verify { .. } | Act::Unwire => self.begin(act),
                Act::RemoveLinks => {
                    self.begin(act);
                    self.give(Input::LinksTaken);
                }
                Act::Undo | Act::Finish => self.durable = None,
                Act::Activate | Act::RetryKernel | Act::AnswerAdd(_) | Act::AnswerDels => {}
            }
        }
    }

    fn begin(&mut self, act: Act) {
        if matches!(act, Act::Wire) {
            let inode = |lease: &Option<Lease>| lease.as_ref().map(|lease| lease.netns.inode);
            assert!(self.durable.is_some(), "wired before the disk knew of it");
            assert_eq!(inode(&self.bench.lease), inode(&self.durable));
        }
        // A comparison is only a look, and may be overtaken.
        let before = self.kernel.replace(act).filter(|before| !matches!(before, Act::Verify { .. }));
        assert!(before.is_none(), "{:?} while {before:?} is under way", self.kernel);
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Add(inode) => {
                let (reply, answer) = oneshot::channel();
                self.adds.push(answer);
                let (at, hold) = (BootTime(0), Duration::from_secs(10));
                self.give(Input::Add { request: request(inode), reply, at, hold, order: 1 });
            }
            Turn::Del => {
                let (reply, answer) = oneshot::channel();
                self.dels.push(answer);
                self.give(Input::Del { reply, host_read: true });
            }
            Turn::Serve => self.serve(),
            Turn::Written => self.written(),
            Turn::Refused => self.refused(),
            Turn::Hangs if self.commits.is_empty() => {}
            Turn::Hangs => self.give(Input::DiskHangs { cause: "hangs".into() }),
            Turn::Done(well) => self.done(well),
            Turn::TakeUp => self.give(Input::TakeUp),
            Turn::Gone => {
                if let Some(ended) = self.bench.lease.as_ref().map(Ended::asked) {
                    self.give(Input::Ended(ended));
                }
            }
        }
    }

    fn serve(&mut self) {
        let waiting = self.bench.attachment.waiting().map(|add| add.request.netns_ref.inode);
        let Some(inode) = waiting.filter(|_| self.bench.attachment.work() == Work::Idle) else { return };
        match &self.bench.lease {
            None => {
                self.bench.take_lease(inode);
                self.commits.push((Commit::Lease, self.bench.lease.clone()));
            }
            Some(older) if older.phase == LeasePhase::Active => {
                let ended = Ended::replaced(older);
                self.give(Input::Ended(ended));
            }
            Some(_) => {}
        }
    }

    fn written(&mut self) {
        if self.commits.is_empty() {
            return;
        }
        let (commit, lease) = self.commits.remove(0);
        self.durable = lease;
        self.give(match commit {
            Commit::Lease => Input::LeaseDurable,
            Commit::Release => Input::ReleaseDurable,
        });
    }

    /// The disk refuses all that it has and what is begun meanwhile, and is back.
    fn refused(&mut self) {
        while !self.commits.is_empty() {
            let (commit, _) = self.commits.remove(0);
            self.give(match commit {
                Commit::Lease => Input::LeaseRefused { cause: "full".into() },
                Commit::Release => Input::ReleaseRefused,
            });
        }
        // Memory is set back to what the disk has.
        self.bench.lease = self.durable.clone();
        self.give(Input::DiskIsBack);
    }

    fn done(&mut self, well: bool) {
        let result = || if well { Ok(()) } else { Err(refusal()) };
        let input = match self.kernel.take() {
            None => return,
            Some(Act::Wire) => Input::Wired(result().map_err(|fault| WiringFault { fault, made: 0 })),
            Some(Act::Unwire) => Input::Unwired(result()),
            Some(Act::RemoveLinks) => Input::LinksRemoved(result()),
            Some(Act::Verify { ticket, .. }) => {
                let verdict = if well { Verdict::Sound } else { Verdict::Unsound { why: String::new() } };
                Input::Verified { ticket, verdict }
            }
            Some(other) => panic!("{other:?} is not the kernel's"),
        };
        self.give(input);
    }

    /// Everything ends well from here on, and nobody asks for anything new.
    fn settle(&mut self) {
        for _ in 0..64 {
            self.written();
            self.done(true);
            self.give(Input::TakeUp);
            self.serve();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn everybody_is_answered_and_nothing_is_done_twice_at_once(
        turns in prop::collection::vec(turn(), 1..60),
        ends in any::<bool>(),
    ) {
        let mut life = Life::new();
        for turn in turns {
            life.turn(turn);
        }
        life.settle();
        if ends {
            life.turn(Turn::Del);
            life.settle();
        }
        prop_assert!(life.adds.iter_mut().all(|add| add.try_recv().is_ok()), "an ADD was not answered");
        prop_assert!(life.dels.iter_mut().all(|del| del.try_recv().is_ok()), "a DEL was not answered");
        if ends {
            prop_assert_eq!(life.bench.lease.as_ref(), None);
        }
        prop_assert!(life.bench.attachment.is_at_rest(), "{:?}", life.bench.attachment);
    }
}
