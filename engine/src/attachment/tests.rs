//! One pod's way, step by step: an attachment, the lease that the ledger has of it, and a planner that is played.

mod adds;
mod dels;
mod found;
mod late;
mod lives;

use std::fs::File;
use std::os::fd::OwnedFd;

use holdfast_model::lease::{Face, LeasePhase};
use holdfast_model::sandbox::{NetnsRef, PodRef, SandboxKey, SandboxNames};
use holdfast_model::time::WallTime;

use super::*;

fn key() -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: "c".into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    })
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
        further: None,
        mtu: 9001,
        trace: None,
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

fn verifying(bench: &Bench) -> u64 {
    let Work::Verifying(ticket) = bench.attachment.work() else { panic!("it is being compared") };
    ticket
}
