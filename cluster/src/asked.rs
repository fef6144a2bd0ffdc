//! What is asked of the API server, in the words that roles use.

use std::fmt;

/// A kind of objects, as its path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Its group; empty for the core one.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The plural, in lower case, which rights are given by.
    pub plural: &'static str,
}

impl Kind {
    /// `pods`.
    pub const PODS: Self = Self { group: "", version: "v1", plural: "pods" };
    /// `nodes`.
    pub const NODES: Self = Self { group: "", version: "v1", plural: "nodes" };
    /// `configmaps`.
    pub const CONFIG_MAPS: Self = Self { group: "", version: "v1", plural: "configmaps" };
    /// `daemonsets`.
    pub const DAEMON_SETS: Self = Self { group: "apps", version: "v1", plural: "daemonsets" };
    /// `events`, of the group that took over from the core one.
    pub const EVENTS: Self = Self { group: "events.k8s.io", version: "v1", plural: "events" };
    /// `eniconfigs`.
    pub const ENI_CONFIGS: Self =
        Self { group: "crd.k8s.amazonaws.com", version: "v1alpha1", plural: "eniconfigs" };
    /// `cninodes`.
    pub const CNI_NODES: Self =
        Self { group: "vpcresources.k8s.aws", version: "v1alpha1", plural: "cninodes" };
    /// `leases`, by which one of several leads.
    pub const LEASES: Self = Self { group: "coordination.k8s.io", version: "v1", plural: "leases" };

    /// The path of all objects, or of those in a namespace.
    pub(crate) fn path(self, namespace: Option<&str>) -> String {
        let Self { group, version, plural } = self;
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

impl fmt::Display for Kind {
    /// As roles and `kubectl` name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// What is done, as roles name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read all objects of a selection.
    List,
    /// Hear of their changes.
    Watch,
    /// Make one.
    Create,
    /// Put another in the place of one.
    Update,
    /// Change one.
    Patch,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
        })
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The cluster's API server.
    Api,
    /// The own node's kubelet.
    Kubelet,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "the API server",
            Self::Kubelet => "kubelet",
        })
    }
}

/// What was asked for, in the words that roles use: a fault names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of whom.
    pub server: Server,
    /// What was to be done.
    pub verb: Verb,
    /// Of which kind.
    pub kind: Kind,
    /// With which part of it, such as `status`.
    pub subresource: Option<&'static str>,
    /// In which namespace.
    pub namespace: Option<String>,
    /// The object's name, or the field selector of several.
    pub which: Option<String>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.kind)?;
        if let Some(part) = self.subresource {
            write!(f, "/{part}")?;
        }
        match (&self.namespace, &self.which) {
            (Some(namespace), Some(which)) => write!(f, " ({namespace}/{which})"),
            (Some(one), None) | (None, Some(one)) => write!(f, " ({one})"),
            (None, None) => Ok(()),
        }
    }
}
