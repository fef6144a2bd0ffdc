//! A real Kubernetes cluster on one machine: etcd, API server, controllers, scheduler; nodes with containerd, kubelet and
//! kube-proxy on the simulated VPC. One call brings it up, another takes it down, whatever happened in between.
//!
//! ```text
//!   the machine                    the stage's own mounts, PIDs, network (the keeper)
//!   up, down, status ── state.json    ├── vpcsim: router, internet, and a network namespace per instance
//!                                     ├── control-plane: an instance of the VPC with etcd and the API server
//!                                     ├── node-a: an instance with all kinds of namespaces of its own
//!                                     └── node-b: …
//! ```
//!
//! **Nothing is made in the machine's own namespaces**, so there is nothing in them to be removed: all processes of a stage
//! are in one PID namespace, whose first process takes them with it, and with them go mounts and networks. What is left is
//! a cgroup and a folder, whose names are written down before they are made.
//!
//! What is to be is decided by pure functions (`plan`, `control`, `node`, `network`, `chart`, `vpc`, `cluster`, the recipes of
//! `build`); `bring_up` carries it out. `conformance` runs Kubernetes' own suite on a stage that is up.

mod bring_up;
pub mod build;
mod cgroups;
mod chart;
mod cluster;
mod component;
pub mod conformance;
mod control;
mod crew;
mod dns;
mod down;
pub mod drive;
mod enter;
mod error;
mod init;
mod keeper;
mod network;
mod node;
mod places;
mod plan;
mod process_id;
mod record;
mod release;
mod state;
mod status;
mod tend;
mod up;
mod vpc;

pub use component::Place;
pub use down::{Removed, down};
pub use enter::place_of;
pub use error::{Error, Result};
pub use init::{NodeInit, run as init};
pub use keeper::keep;
pub use places::{Places, RunFolder, go_of};
pub use plan::{Chart, Holdfast, Plan, Plugin, Programs};
pub use release::{Product, Release};
pub use status::{Status, command_in, status};
pub use tend::{join, tend};
pub use up::up;

/// An error with its causes, in one line.
pub fn words_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
