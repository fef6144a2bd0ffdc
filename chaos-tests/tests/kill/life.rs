//! One life of the daemon, as its clients, its cloud and its clock see it.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use holdfast_chaos_tests::oracle::host_link_name;
use holdfast_model::eni::EniPhase;
use holdfast_model::lease::LeasePhase;
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::PodRef;
use nix::sys::signal::Signal;

use crate::child::{Child, Heard};
use crate::node::Node;
use crate::wire::{AddSandbox, FromNode, Passed, Side, ToNode};

/// A process that does nothing for this long, in real time, hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pool comes to rest within this, in the node's time.
const TWENTY_MINUTES: Duration = Duration::from_secs(20 * 60);

/// An ADD is answered within this, in the node's time: what an ENI takes, many times over. A machine that lets the
/// daemon wait for a second lets the node wait for ten and more.
const ADD_TAKES: Duration = Duration::from_secs(300);

/// An address that was a pod's is nobody's for so long: the default.
const REST: Duration = Duration::from_secs(30);

/// A DEL waits for nobody.
const DEL_TAKES: Duration = Duration::from_secs(60);

/// How fast time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Something is awaited: about ten times real time, fifty while EC2 is, and as in real time while a step of the
    /// process is under way. The daemon's own threads run in real time, and what they do may be late on a busy machine;
    /// patience with them is measured in the node's time.
    Work,
    /// Time alone is awaited: seconds at a leap, as long as no step of the process is under way.
    Rest,
}

impl Pace {
    /// What is waited for words of the process before time goes on.
    fn listens(self) -> Duration {
        match self {
            Self::Work => Duration::from_millis(2),
            Self::Rest => Duration::from_micros(500),
        }
    }
}

/// Why a script does not go on.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The process killed itself.
    Died,
    /// Something is wrong.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

#[derive(Debug)]
enum Asked {
    Add(String),
    Del(String),
    Dump,
}

/// A running daemon. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Life<'a> {
    node: &'a mut Node,
    child: Child,
    passed: Vec<(Passed, &'static str)>,
    stage: &'static str,
    /// Steps and reads begun and not ended, but for calls of EC2.
    under_way: i64,
    /// Calls of EC2 begun and not ended: it is the box's time that they take.
    calls: i64,
    /// What was asked, and when.
    asked: BTreeMap<u64, (Asked, u64)>,
    next_request: u64,
    refused: Vec<String>,
    dumped: Option<Ledger>,
    looked: u64,
    time_went_on: Instant,
}

impl<'a> Life<'a> {
    pub(crate) fn new(node: &'a mut Node, child: Child) -> Self {
        Self {
            node,
            child,
            passed: Vec::new(),
            stage: "start",
            under_way: 0,
            calls: 0,
            asked: BTreeMap::new(),
            next_request: 0,
            refused: Vec::new(),
            dumped: None,
            looked: 0,
            time_went_on: Instant::now(),
        }
    }

    /// What the steps from here on are counted under.
    pub(crate) fn stage(&mut self, stage: &'static str) {
        self.stage = stage;
    }

    /// The steps passed up to now, each with its stage.
    pub(crate) fn passed(&self) -> &[(Passed, &'static str)] {
        &self.passed
    }

    /// A new sandbox for a pod of this name; sends its ADD.
    pub(crate) fn add(&mut self, name: &str, container: &str) -> anyhow::Result<u64> {
        self.node.make_sandbox(name, container)?;
        self.add_again(container)
    }

    /// Sends the ADD of a sandbox once more.
    pub(crate) fn add_again(&mut self, container: &str) -> anyhow::Result<u64> {
        let sandbox = &self.node.sandboxes[container];
        let name = &sandbox.pod.name;
        let add = AddSandbox {
            key: sandbox.key.clone(),
            pod: PodRef { namespace: sandbox.pod.namespace.clone(), name: name.clone(), uid: None },
            netns: sandbox.pod.path().to_owned(),
            host_veth: host_link_name(&sandbox.pod.namespace, name),
            fallback_veth: format!("enix{container}"),
        };
        let request = self.ask(Asked::Add(container.to_owned()));
        self.child.mouth().tell(&ToNode::Add { request, sandbox: add })?;
        Ok(request)
    }

    /// Sends the DEL of a sandbox. Once it is answered, the runtime removes the sandbox.
    pub(crate) fn del(&mut self, container: &str) -> anyhow::Result<u64> {
        let sandbox = self.node.sandboxes.get_mut(container);
        let sandbox = sandbox.ok_or_else(|| anyhow!("{container} was deleted before"))?;
        sandbox.deleting = true;
        let key = sandbox.key.clone();
        let request = self.ask(Asked::Del(container.to_owned()));
        self.child.mouth().tell(&ToNode::Del { request, sandbox: key })?;
        Ok(request)
    }

    /// Waits until all of these are answered. An ADD that is refused is a failure.
    pub(crate) fn answered(&mut self, requests: &[u64]) -> Result<(), Halt> {
        let begun = Instant::now();
        while requests.iter().any(|request| self.asked.contains_key(request)) {
            self.go_on(Pace::Work)?;
            self.not_for_ever(begun, "answer")?;
        }
        match self.refused.pop() {
            None => Ok(()),
            Some(cause) => Err(Halt::Failed(anyhow!("an ADD was refused: {cause}"))),
        }
    }

    /// Lets time pass.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<(), Halt> {
        let until = self.node.now + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        while self.node.now < until {
            self.go_on(Pace::Rest)?;
        }
        Ok(())
    }

    /// The ledger as the engine has it.
    pub(crate) fn ledger(&mut self) -> Result<Ledger, Halt> {
        let request = self.ask(Asked::Dump);
        self.child.mouth().tell(&ToNode::Dump { request })?;
        self.answered(&[request])?;
        self.dumped.take().ok_or_else(|| Halt::Failed(anyhow!("a dump was answered without a ledger")))
    }

    /// Waits until the pool needs nothing more: the node is known, no intent is open, no ENI is on its way in or out, no
    /// lease on its way, enough addresses are there, and all is the same again ten seconds later.
    pub(crate) fn quiet(&mut self, at_least: usize) -> Result<Ledger, Halt> {
        let begun = self.node.now;
        let mut last = None;
        while Duration::from_millis(self.node.now - begun) < TWENTY_MINUTES {
            let ledger = self.ledger()?;
            let settled = ledger.node.is_some()
                && ledger.blocks.len() >= at_least
                && ledger.intents.is_empty()
                && ledger.leases.values().all(|lease| lease.phase == LeasePhase::Active)
                && ledger
                    .enis
                    .values()
                    .all(|eni| matches!(eni.phase, EniPhase::Attached { .. } | EniPhase::Gone));
            if settled && self.under_way + self.calls <= 0 && last.as_ref() == Some(&ledger) {
                return Ok(ledger);
            }
            last = Some(ledger);
            self.rest(Duration::from_secs(10))?;
        }
        Err(Halt::Failed(anyhow!("not quiet within twenty minutes: {last:#?}")))
    }

    /// Stops the daemon in order.
    pub(crate) fn stop(&mut self) -> Result<(), Halt> {
        self.child.mouth().tell(&ToNode::Stop)?;
        let begun = Instant::now();
        loop {
            match self.child.hear(PATIENCE)? {
                Heard::Message(message) => self.take(*message)?,
                Heard::Nothing => self.not_for_ever(begun, "end when it is told to stop")?,
                Heard::End => break,
            }
        }
        let status = self.child.ended(PATIENCE)?;
        if status.signal() == Some(Signal::SIGKILL as i32) {
            return Err(Halt::Died);
        }
        if !status.success() {
            return Err(self.failed(&format!("the daemon's stop ended with {status}")));
        }
        Ok(())
    }

    /// What the process wrote to its log last.
    pub(crate) fn last_words(&self) -> String {
        self.child.last_words()
    }

    fn ask(&mut self, what: Asked) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.asked.insert(request, (what, self.node.now));
        request
    }

    /// Hears what the process says; when it says nothing, time goes on by a step, and the engine looks.
    fn go_on(&mut self, pace: Pace) -> Result<(), Halt> {
        if self.listen(pace.listens())? {
            return Ok(());
        }
        let real = std::mem::replace(&mut self.time_went_on, Instant::now()).elapsed();
        let millis = match pace {
            _ if self.under_way > 0 => (real.as_millis() as u64).clamp(1, 20),
            _ if self.calls > 0 => 100,
            Pace::Work => 20,
            Pace::Rest => 2000,
        };
        self.node.pass(millis)?;
        let now = self.node.now;
        self.child.mouth().tell(&ToNode::Time(now))?;
        let begun = Instant::now();
        while self.looked < now {
            if !self.listen(Duration::from_millis(100))? {
                self.not_for_ever(begun, "look at the clock")?;
            }
        }
        Ok(())
    }

    fn listen(&mut self, wait: Duration) -> Result<bool, Halt> {
        match self.child.hear(wait)? {
            Heard::Message(message) => self.take(*message).map(|()| true).map_err(Halt::Failed),
            Heard::Nothing => Ok(false),
            Heard::End => {
                let status = self.child.ended(PATIENCE)?;
                if status.signal() == Some(Signal::SIGKILL as i32) {
                    return Err(Halt::Died);
                }
                Err(self.failed(&format!("the daemon ended by itself with {status}")))
            }
        }
    }

    fn take(&mut self, message: FromNode) -> anyhow::Result<()> {
        match message {
            FromNode::Step(passed) => {
                *if passed.is_call() { &mut self.calls } else { &mut self.under_way } += match passed.side {
                    Side::Before => 1,
                    Side::Amid => 0,
                    Side::After => -1,
                };
                self.passed.push((passed, self.stage));
                Ok(())
            }
            FromNode::Reading(begins) => {
                self.under_way += if begins { 1 } else { -1 };
                Ok(())
            }
            FromNode::Looked(now) => {
                self.looked = now;
                Ok(())
            }
            FromNode::Http { question, request } => {
                let mouth = self.child.mouth();
                self.node.carry(request, move |answer| {
                    // A process that is dead hears nothing.
                    drop(mouth.tell(&ToNode::Http { question, answer }));
                });
                Ok(())
            }
            FromNode::Added { request, result } => {
                let Some((Asked::Add(container), since)) = self.asked.remove(&request) else {
                    return Err(anyhow!("an answer to an ADD that was not asked"));
                };
                self.in_time("ADD", &container, since, ADD_TAKES)?;
                match (result, self.node.sandboxes.get_mut(&container)) {
                    (Ok(lease), Some(sandbox)) => {
                        ensure!(
                            sandbox.address.is_none_or(|address| address == lease.faces[0].address),
                            "{container} was given {:?} and then {}",
                            sandbox.address,
                            lease.faces[0].address
                        );
                        let first = sandbox.address.replace(lease.faces[0].address).is_none();
                        let freed = self.node.freed.get(&lease.faces[0].address).copied().filter(|_| first);
                        let rested = freed.map(|freed| Duration::from_millis(self.node.now - freed));
                        ensure!(
                            rested.is_none_or(|rested| rested >= REST),
                            "{} was given again {rested:?} after a pod had it",
                            lease.faces[0].address
                        );
                    }
                    (Ok(lease), None) => return Err(anyhow!("{container} is gone and was given {lease:?}")),
                    (Err(cause), _) => self.refused.push(format!("{container}: {cause}")),
                }
                Ok(())
            }
            FromNode::Deleted { request, done } => {
                let Some((Asked::Del(container), since)) = self.asked.remove(&request) else {
                    return Err(anyhow!("an answer to a DEL that was not asked"));
                };
                self.in_time("DEL", &container, since, DEL_TAKES)?;
                ensure!(done, "the engine ended before it answered the DEL of {container}");
                let gone = self.node.sandboxes.remove(&container);
                if let Some(address) = gone.and_then(|sandbox| sandbox.address) {
                    self.node.freed.insert(address, self.node.now);
                }
                Ok(())
            }
            FromNode::Dumped { request, ledger } => {
                self.asked.remove(&request);
                self.dumped = Some(*ledger);
                Ok(())
            }
        }
    }

    fn in_time(&self, what: &str, container: &str, since: u64, bound: Duration) -> anyhow::Result<()> {
        let took = Duration::from_millis(self.node.now - since);
        ensure!(took <= bound, "the {what} of {container} was answered after {took:?} of the node's time");
        Ok(())
    }

    fn not_for_ever(&self, begun: Instant, what: &str) -> Result<(), Halt> {
        if begun.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(self.failed(&format!("the daemon did not {what} within {} s", PATIENCE.as_secs())))
    }

    fn failed(&self, what: &str) -> Halt {
        Halt::Failed(anyhow!("{what}; its last words:\n{}", self.last_words()))
    }
}
