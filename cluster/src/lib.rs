//! The door to the API server: what is followed there, what is written there, and the custom resources that a node is told by.
//! The only crate that sees kube; of its types none but those of the custom resources appear in what this crate exports.
//!
//! What it owns: one request at a time with a deadline ([`door`]), what became of it ([`fault`]), views of objects that are never
//! emptied by a failure ([`watch`]), and writes that are repeated until they stand ([`mod@write`]).
//!
//! What it never does: decide what should stand in the cluster, keep anything over a restart, or make anybody wait. Server, token
//! and clock come in as arguments; nothing is read from the environment.
//!
//! # How it is put to use
//!
//! ```text
//!   Door::open ── one for all
//!     follow::<NodeObject>(own_node) ──────────> View<NodeView> ────┐
//!     follow::<PodObject>(local_pods) ─────────> View<PodView> ─────┤
//!     follow::<CniNodeObject>(own_cni_node) ───> View<CniNodeView> ─┼──> write(…) ──> the API server
//!     follow_kubelet ──────────────────────────> View<PodView>   (whose id and annotations are known without the API server)
//!     follow::<EniConfigObject>(eni_configs)     (configuration)    │
//!     follow::<ConfigMapObject>(config_map)      (configuration)    │
//!   the daemon, from its ledger ───────────────> Wanted ────────────┘
//! ```
//!
//! Each of these is a future that is spawned and lasts as long as the daemon; dropping it ends it.
//! `kube_client` logs by itself what it cannot read: a filter should leave it out, since every fault is told here.
//!
//! # What its role must allow
//!
//! | API group | resource | verbs |
//! |---|---|---|
//! | core | `nodes` (the own one, by name), `configmaps` (by name) | list, watch |
//! | core | `nodes/status` | patch |
//! | `apps` | `daemonsets` (by name) | list, watch |
//! | core | `pods` (those of the own node, metadata only) | list, watch; patch where addresses are annotated |
//! | `events.k8s.io` | `events` | create, patch |
//! | `crd.k8s.amazonaws.com` | `eniconfigs` | list, watch |
//! | `vpcresources.k8s.aws` | `cninodes` (the own one, by name) | list, watch; patch where features are asked for |
//!
//! And for what reads the daemons' pages ([`daemons`]), in its own namespace: core `pods` list, `pods/proxy` get.
//!
//! Start reading at [`watch`], then [`mod@write`].

pub mod asked;
pub mod crd;
pub mod daemons;
pub mod deadline;
pub mod door;
pub mod fault;
pub mod pods_api;
pub mod request;
pub mod version;
pub mod watch;
pub mod write;

pub use deadline::Deadlines;
pub use door::{Door, DoorSettings};
pub use fault::{ApiFault, Cause};
pub use version::Version;
