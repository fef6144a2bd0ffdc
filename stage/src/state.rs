//! What is known of a stage by those who come later: two files, each with one writer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroups::Hierarchy;
use crate::plan::Plan;
use crate::process_id::ProcessId;

/// Written by who brings the stage up, before anything that it names is made: enough to remove it all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What it is to be.
    pub plan: Plan,
    /// The hierarchies in which it has a cgroup.
    pub hierarchies: Vec<Hierarchy>,
    /// That cgroup.
    pub cgroup: String,
    /// Who keeps it; `None`: nobody was let begin.
    pub keeper: Option<Keeper>,
}

/// The processes in which a stage lives, as the machine numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Made the namespaces, and waits.
    pub outer: ProcessId,
    /// The first in them: with it the kernel ends all others, and it is gone only when they are.
    pub first: ProcessId,
}

/// Written by the keeper, first when all nodes were ready: what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The network namespace of the control plane, as the keeper finds it.
    pub control: PathBuf,
    /// Its nodes.
    pub nodes: Vec<LiveNode>,
    /// Its parts.
    pub parts: Vec<LivePart>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveNode {
    /// Its name.
    pub name: String,
    /// Its address in the VPC.
    pub address: String,
    /// Its instance.
    pub instance: String,
    /// The process whose namespaces are the node's, as the keeper numbers it.
    pub holder: u32,
}

/// A part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePart {
    /// Its name.
    pub name: String,
    /// How it ended, if it did.
    pub ended: Option<String>,
}

/// What the keeper tells who waits for it, one line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Word {
    /// Something was done.
    Done(String),
    /// All is there.
    Up,
    /// It cannot be.
    Failed(String),
}

/// What the keeper is told: it may begin, since who it is was written down.
pub(crate) const GO: &str = "go";
/// What the keeper is told: it is to stay although nobody waits any more.
pub(crate) const STAY: &str = "stay";
