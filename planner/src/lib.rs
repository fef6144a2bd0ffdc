//! Every decision of the node daemon, as pure functions.
//!
//! Nothing here does IO, reads a clock or draws randomness: time, ids and jitter come in as arguments, so equal
//! inputs give equal answers. Start at [`plan()`]: it compares what is desired with the ledger and with what this
//! process has observed, and says what to do next. The engine's side of it, in order:
//!
//! ```text
//!   plan ──Step::Open(change)──> draw id, open() ──commit──> send call_of(intent) ──answer──> settle() ──commit──┐
//!    ^  ──Step::Repeat(intent)─────────────────────────────> send it again ────────────────> settle() ──commit──┤
//!    │  ──Step::Read(read)────────────────────────────────── read ─────────────────────────> adopt() ──commit──┤
//!    │  ──Step::SetUpEni(wiring)──> kernel ──> Observed::set_up_done / set_up_failed                            │
//!    │  ──Step::Adjust(changes)──> commit                                                                      │
//!    └─────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every function that yields ledger changes must be applied to the very ledger it was asked about: the engine
//! is the only writer, and calls and applies without a pause in between.

pub mod adopt;
mod agenda;
mod brake;
pub mod budget;
pub mod cards;
pub mod choose;
mod claims;
pub mod desired;
mod draft;
pub mod explain;
pub mod fits;
mod grow;
pub mod here;
pub mod hint;
pub mod host;
pub mod intents;
mod leaks;
mod learn;
pub mod lease;
pub mod lifecycle;
pub mod limits;
mod looks;
mod metadata_only;
pub mod observed;
pub mod orphan;
pub mod outcome;
pub mod pauses;
mod peak;
pub mod plan;
mod pool;
pub mod proof;
pub mod quarantine;
pub mod reading;
mod reads;
pub mod rebuild;
pub mod recover;
mod refused;
pub mod report;
pub mod seen;
mod share;
mod shrink;
mod source;
pub mod step;
mod subnets;
mod tagging;
pub mod targets;
#[cfg(test)]
mod toy;
pub mod traces;
pub mod wanted;
pub mod warm;

pub use adopt::adopt;
pub use budget::BudgetLevel;
pub use cards::managed_cards;
pub use choose::{Choice, free_addresses};
pub use desired::Desired;
pub use explain::{Explained, explain};
pub use here::Here;
pub use hint::{HintDiff, adopt_subnets, compare_hint, hint_settles, learn_cidrs};
pub use host::{Spared, UnreachedBy, desired_host, host_diff, set_up_already, spared, unreached, wirings_of};
pub use intents::{call_of, may_leave, open, settle};
pub use learn::learn;
pub use lease::{HostEnd, LeaseRequest, activate, begin_release, finish_release, open_lease, rewired, undo};
pub use observed::{Call, Observed, SetUpRest};
pub use outcome::{Fault, Outcome, PauseScope, Setback, Settlement};
pub use pauses::{Pause, Pauses};
pub use plan::{Plan, plan};
pub use proof::{Ended, NetnsSeen, Sighting, collect_garbage, reap};
pub use quarantine::review_quarantine;
pub use reading::Reading;
pub use rebuild::{rebuild_leases, traces_of};
pub use recover::{Recovered, Recovery, cut_off, recover};
pub use report::{Report, Shortage, report};
pub use share::Share;
pub use source::adopt_zone;
pub use step::Step;
pub use traces::Traces;
