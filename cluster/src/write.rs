//! What the node tells the cluster, written from what it should be.
//!
//! Nothing here is sent because something happened: [`Wanted`] says what should stand there, the views of
//! [`crate::watch`] what does, and [`Writer`] what to send next, without a clock and without a connection. So a write that was
//! lost is repeated, one whose answer was lost is settled by what is seen, and nothing is sent twice.
//!
//! A write that arrives late changes nothing: each names what it was based on, and the server refuses it when that is not so any
//! more.
//!
//! | what | how | what it is based on |
//! |---|---|---|
//! | a pod's addresses | JSON patch | the pod's uid and the annotation's old value, as tests in the patch: kubelet, who writes a new pod's status at the same time, is no conflict |
//! | a condition of the node | strategic merge patch of `nodes/status`, which merges conditions by type | uid and version of the node, which is written every few minutes |
//! | features of the CNINode | merge patch of the whole list | uid and version: the list has other writers |
//! | warnings | events, made under a name chosen once, then counted up | an event has no other writer |
//!
//! Not server-side apply: it takes fields over by who wrote them, and asks for nothing about what they were. A patch that hung in
//! a proxy and arrives after its successor would win.

mod bucket;
mod condition;
mod features;
mod held;
mod pod_ips;
mod run;
mod wanted;
mod warnings;
mod writer;

pub use condition::{Condition, ConditionStatus};
pub use run::{Sources, write};
pub use wanted::{PodId, Wanted};
pub use warnings::{Regarding, Warning, WarningId};
pub use writer::{Seen, Step, Write, Writer, WriterSettings, Written};
