//! What is known of objects in the cluster, kept up to date.
//!
//! ```text
//!            ┌──────── 410, a store set back, nonsense, silence ───────┐
//!            v                                                         │
//!   list: page, page, … ──last page──> watch from the list's version ──┤
//!            ^                          ^                              │
//!            └─ same page, after a pause └────── broken, ended ────────┘
//! ```
//!
//! What was seen stays known until a *complete* list lacks it, or the server says that it was deleted: a list that ended
//! early, an answer that cannot be read and a server that is away prove no absence. What a page or an event shows is known at
//! once.
//!
//! [`Follow`] is that machine, without a clock and without a connection; [`follow`] drives it and publishes a [`View`].
//! Objects are cut down to what is used while they are read ([`objects`]), one page at a time.
//!
//! This is not kube's own watcher, because that one waits for ever for a list that does not come; asks for ever for a version
//! that the server does not have, after its store was set back; and does not hand on how long a busy server asked to wait.

mod follow;
pub mod objects;
mod pause;
mod run;
mod view;
mod wire;

pub use follow::{Event, Follow, Next, Page};
pub use pause::Pauses;
pub use run::follow;
pub use view::{ObjectKey, Staleness, View};
pub(crate) use wire::PageWire;
pub use wire::{Meta, Trimmed};
