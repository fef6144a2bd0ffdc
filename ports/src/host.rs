//! The host's network.

use std::future::Future;

use holdfast_model::host::{EniWiring, HostAction, HostObserved, LinkAlias, NatWanted, PodWired, PodWiring};
use holdfast_model::sandbox::NetnsRef;

use crate::netns::Netns;

/// Changes and reads the host's network namespace.
pub trait HostNet: Send + Sync + 'static {
    /// Reads all links, and all rules and routes of ours. Complete, or an error: an interrupted dump is
    /// repeated, never returned. `nat` is what should be there, to be compared with what is.
    fn observe(&self, nat: &NatWanted) -> impl Future<Output = Result<HostObserved, HostFault>> + Send;

    /// Carries actions out, in order, each whatever became of those before it: one that cannot be done must not
    /// keep the rest from the node. Gives the first failure.
    fn apply(&self, actions: Vec<HostAction>) -> impl Future<Output = Result<(), HostFault>> + Send;

    /// Sets an ENI up and reads it back. [`HostFault::LinkMissing`] until the kernel has the link.
    fn set_up_eni(&self, wiring: EniWiring) -> impl Future<Output = Result<(), HostFault>> + Send;

    /// Wires a pod and reads it back. A link of the same name that belongs to another sandbox is in the way:
    /// the caller knows that sandbox to be over. On failure nothing of ours is left.
    fn wire_pod(
        &self,
        wiring: PodWiring,
        netns: Netns,
    ) -> impl Future<Output = Result<PodWired, HostFault>> + Send;

    /// Removes a pod's rules and routes at once; its link is left to [`HostNet::remove_links`], which waits for
    /// the kernel. Succeeds when there is nothing to remove.
    fn unwire_pod(&self, wiring: PodWiring) -> impl Future<Output = Result<(), HostFault>> + Send;

    /// Removes the host ends of these pods and returns when they are gone. A link of that name whose alias is
    /// another's is left alone.
    /// Gives one result for each pod: one link that will not go keeps no other from going.
    fn remove_links(&self, pods: Vec<PodWiring>) -> impl Future<Output = Vec<Result<(), HostFault>>> + Send;

    /// Compares a pod's wiring with what should be, on both sides when the namespace is given. Empty: as it
    /// should be.
    fn check_pod(
        &self,
        wiring: PodWiring,
        netns: Option<Netns>,
    ) -> impl Future<Output = Result<Vec<String>, HostFault>> + Send;

    /// Asks the kernel where it sends packets of these pods, and packets to them, on the host's side. Gives each whose
    /// packets go elsewhere than they should, with what takes them there, in words. Of one without a link it says nothing.
    fn diverted(
        &self,
        pods: Vec<PodWiring>,
    ) -> impl Future<Output = Result<Vec<(LinkAlias, String)>, HostFault>> + Send;

    /// Opens the namespace at a path and tells which it is.
    fn open_netns(&self, path: String) -> impl Future<Output = Result<(Netns, NetnsRef), HostFault>> + Send;

    /// Whether a sandbox is still there: by the link whose other end is in it, else by the path to its namespace.
    fn liveness(&self, netns: NetnsRef, pod: PodWiring) -> impl Future<Output = Liveness> + Send;

    /// Resolves when something may have changed that is ours; at the latest when the caller loses patience.
    fn drifted(&self) -> impl Future<Output = ()> + Send;
}

/// Whether a sandbox is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its link is there, so its other end is, and so is the namespace that this is in, whether a path leads there or
    /// not: the kernel takes both ends away together.
    Joined,
    /// The path leads to the same kernel object, and there is no link to it.
    Severed,
    /// There is no link, and the path is gone or leads to another object.
    Gone,
    /// There is no link, and of the path it could not be told.
    Unknown,
}

/// Why a change to the host's network failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// The kernel has no link with this MAC (yet).
    #[error("no link with MAC {mac}: the interface has not appeared yet")]
    LinkMissing {
        /// Which.
        mac: String,
    },
    /// Which link is an ENI's cannot be told. None is touched.
    #[error(
        "links {links} all bear the MAC {mac}: which of them is the ENI's cannot be told, so none is set up; give the \
         others another MAC"
    )]
    LinkAmbiguous {
        /// Which.
        mac: String,
        /// Their names.
        links: String,
    },
    /// The namespace cannot be entered.
    #[error("network namespace {netns}: {cause}")]
    Netns {
        /// Which.
        netns: String,
        /// What was seen.
        cause: String,
    },
    /// The namespace is there and this process may not enter it, nor was a socket inside handed to it.
    #[error(
        "network namespace {netns} may not be entered: this takes CAP_SYS_ADMIN, or a plugin of this version, which hands \
         a socket over"
    )]
    Barred {
        /// Which.
        netns: String,
    },
    /// Something in the sandbox is in the way. Nothing was made yet: the address may be given to another at once.
    #[error("{what} exists already in the sandbox")]
    Occupied {
        /// What.
        what: String,
    },
    /// The kernel refused a step.
    #[error("{step}: {cause}")]
    Refused {
        /// Which step.
        step: String,
        /// What the kernel said.
        cause: String,
    },
    /// A setting of the kernel's has the wrong value and cannot be written.
    #[error(
        "the kernel's setting {name} cannot be set to {value}: {cause}; set it on the node, or let the daemon write it: \
         mount /proc/sys writable, where need be under another name that HOLDFAST_PROC_SYS tells"
    )]
    Setting {
        /// Which, below `/proc/sys`.
        name: String,
        /// To what.
        value: String,
        /// What the kernel said.
        cause: String,
    },
    /// Something of somebody else's has the place that ours needs. It is left as it is.
    #[error("{what} is in the way and not of our making: remove it, or keep what made it from this node")]
    Foreign {
        /// What.
        what: String,
    },
    /// What was written does not read back.
    #[error("read-back after set-up differs: {0}")]
    ReadBack(String),
}
