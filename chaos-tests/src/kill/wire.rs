//! What the test and `chaos_node` say to each other: one JSON object per line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use holdfast_model::cloud::{CloudAnswer, CloudCall};
use holdfast_model::ids::MacAddr;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::node::NodeIdentity;
use holdfast_model::sandbox::{PodRef, SandboxKey};
use holdfast_ports::{CloudError, MetadataError, MetadataHint};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// To the process, on its stdin. Its end is the process's end.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToNode {
    /// It is this late: milliseconds since the node began. Answered by [`FromNode::Looked`].
    Time(u64),
    /// EC2's answer.
    Cloud {
        /// To which question.
        question: u64,
        /// What.
        result: Result<CloudAnswer, CloudError>,
    },
    /// The metadata service's answer.
    Identity {
        /// To which question.
        question: u64,
        /// Who the node is, or the cause.
        result: Result<NodeIdentity, MetadataFailed>,
    },
    /// The metadata service's answer.
    Hint {
        /// To which question.
        question: u64,
        /// What it shows, or the cause.
        result: Result<Shown, MetadataFailed>,
    },
    /// ADD.
    Add {
        /// Named in the answer.
        request: u64,
        /// For whom.
        sandbox: AddSandbox,
    },
    /// DEL.
    Del {
        /// Named in the answer.
        request: u64,
        /// Whose.
        sandbox: SandboxKey,
    },
    /// The whole state.
    Dump {
        /// Named in the answer.
        request: u64,
    },
    /// Stop in order, and end.
    Stop,
}

/// From the process, on its stdout, each written before the process goes on.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromNode {
    /// It comes to a step. Should this be the appointed one, nothing follows.
    Step(Passed),
    /// It begins (true) or ends (false) to read the kernel: no step, but time is not to leap meanwhile.
    Reading(bool),
    /// The engine has looked at the world as of this time.
    Looked(u64),
    /// A call to EC2.
    Cloud {
        /// Named in the answer.
        question: u64,
        /// What.
        call: CloudCall,
    },
    /// Who am I?
    Identity {
        /// Named in the answer.
        question: u64,
    },
    /// What does the metadata service show?
    Hint {
        /// Named in the answer.
        question: u64,
    },
    /// An ADD ended: a lease, or the cause in words.
    Added {
        /// Which.
        request: u64,
        /// How.
        result: Result<Lease, String>,
    },
    /// A DEL ended; false when the engine ended first.
    Deleted {
        /// Which.
        request: u64,
        /// Whether it succeeded.
        done: bool,
    },
    /// The state.
    Dumped {
        /// Which request.
        request: u64,
        /// The ledger.
        ledger: Box<Ledger>,
    },
}

/// On which side of the deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Nothing of it is done.
    Before,
    /// Some of it is done.
    Amid,
    /// It is done, and nobody was told yet.
    After,
}

/// A step that the process came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Passed {
    /// Where.
    pub side: Side,
    /// What is done.
    pub deed: String,
    /// How many times this process was here before.
    pub nth: u64,
}

impl Passed {
    /// Its kind: the same for each repetition.
    pub fn kind(&self) -> String {
        let side = match self.side {
            Side::Before => "before",
            Side::Amid => "amid",
            Side::After => "after",
        };
        format!("{side} {}", self.deed)
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind(), self.nth)
    }
}

/// At which step a life ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Death {
    /// At this one.
    At(Passed),
    /// At whichever is the nth, counted from zero.
    AtNth(u64),
}

/// A sandbox that wants an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddSandbox {
    /// Who.
    pub key: SandboxKey,
    /// Whose.
    pub pod: PodRef,
    /// Where its namespace is.
    pub netns: PathBuf,
    /// The host end's name.
    pub host_veth: String,
    /// The same when that one is taken.
    pub fallback_veth: String,
}

/// Why the metadata service did not tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetadataFailed {
    /// What was asked for.
    pub path: String,
    /// The cause.
    pub cause: String,
}

impl From<MetadataFailed> for MetadataError {
    fn from(failed: MetadataFailed) -> Self {
        Self { path: failed.path, cause: failed.cause }
    }
}

impl From<MetadataError> for MetadataFailed {
    fn from(error: MetadataError) -> Self {
        Self { path: error.path, cause: error.cause }
    }
}

/// A [`MetadataHint`]: JSON has no maps by MAC.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Shown {
    /// Each interface with its addresses.
    pub enis: Vec<(MacAddr, BTreeSet<IpAddr>)>,
    /// Each interface's subnet.
    pub subnet_cidrs: Vec<(MacAddr, Ipv4Net)>,
    /// The VPC's ranges.
    pub vpc_cidrs: Vec<Ipv4Net>,
}

impl From<Shown> for MetadataHint {
    fn from(shown: Shown) -> Self {
        Self {
            enis: BTreeMap::from_iter(shown.enis),
            subnet_cidrs: BTreeMap::from_iter(shown.subnet_cidrs),
            vpc_cidrs: shown.vpc_cidrs,
        }
    }
}

impl From<MetadataHint> for Shown {
    fn from(hint: MetadataHint) -> Self {
        Self {
            enis: hint.enis.into_iter().collect(),
            subnet_cidrs: hint.subnet_cidrs.into_iter().collect(),
            vpc_cidrs: hint.vpc_cidrs,
        }
    }
}
