//! The whole state, for a support ticket. It holds no secret: the engine knows none.

use std::time::Duration;

use holdfast_model::host::NatSeen;
use holdfast_model::invariants::{self, Violation};
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::SandboxKey;
use holdfast_planner as planner;
use holdfast_ports::Spawner;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::world::World;

/// What the engine knows and does at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct Dump {
    /// The ledger.
    pub ledger: Ledger,
    /// Invariants that the ledger breaks. Any entry is a defect.
    pub violations: Vec<Violation>,
    /// ADDs that have not been answered.
    pub waiting: Vec<WaitingAdd>,
    /// Why the pool does not grow although it should.
    pub refusal: Option<String>,
    /// Why the ledger cannot be written, if so.
    pub ledger_failing: Option<String>,
    /// ENIs whose kernel set-up was read back.
    pub ready_enis: Vec<String>,
    /// Calls to EC2 that rest, and why.
    pub pauses: Vec<String>,
    /// Whether the metadata service has confirmed who we are since the start.
    pub identified: bool,
    /// Whether the host's network was read since the start.
    pub host_read: bool,
    /// What the last look at the NAT table showed.
    pub nat: NatSeen,
    /// Why the host's network is not as it should be, if it could not be put right.
    pub host_fault: Option<String>,
    /// What happened lately, oldest first.
    pub journal: Vec<JournalEntry>,
}

/// Journal entries shown: what a person reads through.
const JOURNAL: usize = 500;

/// How long a dump waits for them: they are read behind the commits that are with the disk.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

/// An ADD that has not been answered.
#[derive(Debug, Clone, Serialize)]
pub struct WaitingAdd {
    /// Whose.
    pub sandbox: SandboxKey,
    /// The pod.
    pub pod: String,
    /// How far it has come.
    pub stage: String,
    /// How long it has been here, in milliseconds.
    pub for_ms: u128,
}

impl<W: World> Engine<W> {
    pub(crate) fn dump(&self, reply: oneshot::Sender<Dump>) {
        let mut dump = self.state();
        let (send, journal) = oneshot::channel();
        self.book.journal(JOURNAL, move |entries| {
            // Nobody waits any longer: see below.
            let _late: Result<(), _> = send.send(entries);
        });
        self.ports.spawner.spawn(async move {
            // The state is worth more than the journal, most of all when the disk hangs.
            if let Ok(Ok(entries)) = tokio::time::timeout(JOURNAL_PATIENCE, journal).await {
                dump.journal = entries;
            }
            // An asker that went away needs no answer.
            drop(reply.send(dump));
        });
    }

    fn state(&self) -> Dump {
        let now = self.now();
        let ledger = self.book.ledger().clone();
        let limits = planner::limits_of(&ledger, &self.observed);
        Dump {
            violations: invariants::check(&ledger, limits.as_ref()),
            waiting: self
                .attachments
                .iter()
                .filter_map(|(sandbox, attachment)| {
                    let add = attachment.add()?;
                    Some(WaitingAdd {
                        sandbox: sandbox.clone(),
                        pod: add.request.pod.to_string(),
                        stage: attachment.stage().to_owned(),
                        for_ms: now.boottime.since(add.since).as_millis(),
                    })
                })
                .collect(),
            refusal: self.report.refusal.as_ref().map(ToString::to_string),
            ledger_failing: self.condition().disk_trouble().map(str::to_owned),
            ready_enis: self.observed.ready_enis.iter().map(ToString::to_string).collect(),
            pauses: self
                .observed
                .pauses
                .iter()
                .map(|pause| {
                    format!("{:?} {:?} until {} ms: {}", pause.api, pause.scope, pause.until.0, pause.cause)
                })
                .collect(),
            identified: self.identified,
            host_read: self.looked,
            nat: self.nat_seen,
            host_fault: self.setting_fault.clone().or_else(|| self.host_fault.clone()),
            journal: Vec::new(),
            ledger,
        }
    }
}
