//! What reaches the engine's loop. Every task that it starts reports back with one of these.

use std::collections::BTreeMap;

use holdfast_model::cloud::{CloudAnswer, CloudRead, EniView};
use holdfast_model::host::{HostObserved, LinkAlias};
use holdfast_model::ids::{EniId, IntentId};
use holdfast_model::leak::LeakCall;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeIdentity;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::BootTime;
use holdfast_planner::Sighting;
use holdfast_ports::{CloudError, HostFault, MetadataError, MetadataHint};
use holdfast_store::Report;

use crate::attachment::{Verdict, WiringFault};
use crate::request::Request;

pub(crate) enum Event {
    Request(Request),
    /// The disk has, or refuses, everything up to a point.
    Committed(Report),
    /// A pod's wiring ended.
    Wired {
        sandbox: SandboxKey,
        result: Result<(), WiringFault>,
    },
    /// A lease was compared with the kernel.
    Verified {
        sandbox: SandboxKey,
        /// Which comparison.
        ticket: u64,
        verdict: Verdict,
    },
    /// A pod's rules and routes were removed, or not.
    Unwired {
        sandbox: SandboxKey,
        result: Result<(), HostFault>,
    },
    /// Links were removed, or not.
    LinksRemoved {
        removed: Vec<(SandboxKey, Result<(), HostFault>)>,
    },
    /// Sandboxes were looked for.
    Sighted {
        seen: BTreeMap<SandboxKey, Sighting>,
    },
    /// The kernel has said where it sends these pods' packets.
    WaysAsked {
        whose: BTreeMap<LinkAlias, SandboxKey>,
        diverted: Result<Vec<(LinkAlias, String)>, HostFault>,
    },
    /// A sandbox that had lost its link was wired anew, or not.
    Rewired {
        sandbox: SandboxKey,
        result: Result<(), HostFault>,
    },
    /// EC2 answered a change.
    Changed {
        intent: IntentId,
        result: Result<CloudAnswer, CloudError>,
    },
    /// EC2 answered a read.
    Read {
        read: CloudRead,
        began: BootTime,
        result: Result<CloudAnswer, CloudError>,
    },
    /// The metadata service answered a read, in EC2's place.
    ReadMetadata {
        read: CloudRead,
        began: BootTime,
        result: Result<Vec<EniView>, MetadataError>,
    },
    /// The metadata service said who we are.
    Identity(Result<NodeIdentity, MetadataError>),
    /// The metadata service gave a hint.
    Hint(Result<MetadataHint, MetadataError>),
    /// EC2 answered about what ended instances have left behind.
    Leak {
        call: LeakCall,
        began: BootTime,
        result: Result<CloudAnswer, CloudError>,
    },
    /// EC2 added tags, or not.
    Tagged {
        eni: EniId,
        tags: BTreeMap<String, String>,
        result: Result<CloudAnswer, CloudError>,
    },
    /// EC2 said what the node's type can carry, or not.
    Limits {
        instance_type: String,
        result: Result<InstanceLimits, CloudError>,
    },
    /// An ENI's kernel side is set up, or not.
    EniSetUp {
        eni: EniId,
        result: Result<(), HostFault>,
    },
    /// The host's network was read.
    HostSeen(Result<HostObserved, HostFault>),
    /// Drift was mended, or not; the NAT table among it, or not.
    HostMended {
        nat: bool,
        result: Result<(), HostFault>,
    },
    /// Something of ours in the kernel may have changed.
    Drifted,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Request(_) => "Request",
            Self::Committed(_) => "Committed",
            Self::Wired { .. } => "Wired",
            Self::Verified { .. } => "Verified",
            Self::Unwired { .. } => "Unwired",
            Self::LinksRemoved { .. } => "LinksRemoved",
            Self::Sighted { .. } => "Sighted",
            Self::WaysAsked { .. } => "WaysAsked",
            Self::Rewired { .. } => "Rewired",
            Self::Changed { .. } => "Changed",
            Self::Read { .. } => "Read",
            Self::ReadMetadata { .. } => "ReadMetadata",
            Self::Identity(_) => "Identity",
            Self::Hint(_) => "Hint",
            Self::Leak { .. } => "Leak",
            Self::Tagged { .. } => "Tagged",
            Self::Limits { .. } => "Limits",
            Self::EniSetUp { .. } => "EniSetUp",
            Self::HostSeen(_) => "HostSeen",
            Self::HostMended { .. } => "HostMended",
            Self::Drifted => "Drifted",
        })
    }
}
