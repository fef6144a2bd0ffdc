//! What runs once for a cluster: `holdfast controller`, of which several replicas stand ready and one leads.
//!
//! What it owns: the election ([`election`], [`stand`]) and, as the only loop so far, the managed fields of the daemon's
//! DaemonSet ([`table`]): they are what the chart rendered, whoever edits them, and every other field is the user's.
//!
//! What it never does: decide from a clock of another machine, act without the lease, make a DaemonSet that is not there, or see
//! kube. Names, clock and connection come in as arguments.
//!
//! ```text
//!   ConfigMap (what the chart rendered) ──> desired ──┐
//!                                                     ├──> decide ──> nothing, or one write ──> the DaemonSet
//!   DaemonSet (as it is) ─────────────────> seen ─────┘      ^
//!                            renders: an upgrade under way? ─┘
//! ```
//!
//! A write names uid and version of what it was decided from, so one that is late changes nothing; the next look decides anew.
//! So there is no memory but for what is being waited for, and what the server makes of what was written.
//!
//! # What its role must allow
//!
//! | API group | resource, by name, in its own namespace | verbs |
//! |---|---|---|
//! | `apps` | `daemonsets` | get, list, watch, patch |
//! | core | `configmaps` | list, watch |
//! | `coordination.k8s.io` | `leases` | get, create, update |
//!
//! Start reading at [`table`], then [`mod@decide`] and [`tend`].

pub mod decide;
pub mod desired;
pub mod election;
pub mod kept;
pub mod ownership;
pub mod pace;
pub mod renders;
pub mod run;
pub mod seen;
pub mod stand;
pub mod table;
pub mod tend;
pub mod tree;

pub use run::{Settings, run};
