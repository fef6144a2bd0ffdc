//! Sandboxes: what a lease is keyed by. Never a pod's name, which a later pod may bear as well.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The names of one attachment of one sandbox: the CNI network's name, the runtime's container id, the interface name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxNames {
    /// The runtime's id of the sandbox (`CNI_CONTAINERID`).
    pub container_id: String,
    /// The interface inside the sandbox (`CNI_IFNAME`).
    pub ifname: String,
    /// The name of the network configuration; `aws-cni` in a drop-in installation.
    pub network: String,
}

/// What a lease is known by. Its clones share the names: a lease has it in the ledger three times, and a full node has
/// hundreds of leases.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "SandboxNames", into = "SandboxNames")]
pub struct SandboxKey(Arc<SandboxNames>);

impl From<SandboxNames> for SandboxKey {
    fn from(names: SandboxNames) -> Self {
        Self(Arc::new(names))
    }
}

impl From<SandboxKey> for SandboxNames {
    fn from(key: SandboxKey) -> Self {
        Arc::unwrap_or_clone(key.0)
    }
}

impl Deref for SandboxKey {
    type Target = SandboxNames;

    fn deref(&self) -> &SandboxNames {
        &self.0
    }
}

impl fmt::Debug for SandboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SandboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

/// The pod a sandbox belongs to, for people and for the host interface's name. It never identifies a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace; empty when the runtime named none.
    pub namespace: String,
    /// Name; empty when the runtime named none.
    pub name: String,
    /// The API server's unique id, when the runtime passed it.
    pub uid: Option<String>,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A sandbox's network namespace: where the runtime keeps it, and which kernel object that was when we saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetnsRef {
    /// The path the runtime gave (`CNI_NETNS`).
    pub path: String,
    /// The namespace's inode number: another namespace may later be bound to the same path.
    pub inode: u64,
}
