//! The whole state, for a support ticket. It holds no secret: the engine knows none.

use holdfast_model::host::NatSeen;
use holdfast_model::invariants::Violation;
use holdfast_model::journal::JournalEntry;
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::SandboxKey;
use serde::Serialize;

/// What the engine knows and does at one instant. The ledger and its journal are put into words by whoever shows them.
#[derive(Debug, Clone, Serialize)]
pub struct Dump {
    /// The ledger.
    #[serde(skip)]
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
    /// What EC2 has given for pods and no pod can use: it could not be set up or wired, and others make up for it.
    pub out_of_service: Vec<String>,
    /// What EC2 is to be read for, and from when on.
    pub reads_wanted: Vec<String>,
    /// Whether the metadata service has confirmed who we are since the start.
    pub identified: bool,
    /// Whether the node takes no new pods, as far as the cluster has said.
    pub cordoned: bool,
    /// Whether the host's network was read since the start.
    pub host_read: bool,
    /// What the last look at the NAT table showed.
    pub nat: NatSeen,
    /// Why the host's network is not as it should be, if it could not be put right.
    pub host_fault: Option<String>,
    /// Packet filters of others that drop what is forwarded unless a rule of theirs accepts it.
    pub forward_drops: Vec<String>,
    /// Pods that were answered for and that nothing reaches any more, each with the reason.
    pub cut_off: Vec<String>,
    /// What happened lately, oldest first.
    #[serde(skip)]
    pub journal: Vec<JournalEntry>,
}

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
