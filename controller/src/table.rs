//! Which fields of the DaemonSet are managed. Every field that no row here speaks of is the user's and is never written.
//!
//! The rule behind the rows: managed is what the daemon cannot do without, what says which program runs with which rights, and
//! what must match one another. How it is tuned and where it runs is the user's.

use crate::tree::{Path, Step};

/// By what name the chart calls the container.
pub const CONTAINER: &str = "aws-node";

/// The annotation that says of which render the DaemonSet is: the digest that is beside that render in the ConfigMap.
pub const RENDER: &str = "holdfast/render";

/// What holds where the chart rendered nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrendered {
    /// Nothing may stand there.
    Absent,
    /// It is the user's.
    Users,
}

/// A managed field, with all that is below it: as rendered, and nothing else in it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which part of the object it is in.
    pub part: Part,
    /// Which fields of that part.
    pub names: Names,
    /// Where the chart rendered nothing.
    pub unrendered: Unrendered,
    /// Why it is managed.
    pub why: &'static str,
}

/// A part of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `metadata.labels`.
    Labels,
    /// `metadata.annotations`.
    Annotations,
    /// `spec.template.metadata.labels`.
    PodLabels,
    /// `spec.template.spec`.
    Pod,
    /// The container.
    Container,
}

/// Fields of a part.
#[derive(Clone, Copy, Debug)]
pub enum Names {
    /// These fields.
    Fields(&'static [&'static str]),
    /// Of a list, the items with these keys; every other item is the user's.
    Items {
        /// The list.
        list: &'static str,
        /// The items' key field.
        key: &'static str,
        /// The items.
        items: &'static [&'static str],
    },
}

use Names::{Fields, Items};
use Unrendered::{Absent, Users};

/// The names of what the chart mounts for the daemon, and of the variables that tell it where.
const VOLUMES: &[&str] = &["cni-bin", "cni-conf", "state", "run", "netns", "proc-sys-net", "conflist"];
const MOUNTS: &[&str] = &[
    "/host/opt/cni/bin",
    "/host/etc/cni/net.d",
    "/var/lib/holdfast",
    "/run/holdfast",
    "/run/netns",
    "/host/proc/sys/net",
    "/etc/holdfast/cni",
];
const VARIABLES: &[&str] = &[
    "MY_NODE_NAME",
    "MY_POD_NAME",
    "HOLDFAST_DAEMON_SET",
    "HOLDFAST_PROC_SYS",
    "HOLDFAST_PLUGIN",
    "HOST_CNI_BIN_PATH",
    "HOST_CNI_CONFDIR_PATH",
    "HOLDFAST_CONFLIST",
];
const NAMES: &[&str] = &["k8s-app", "app.kubernetes.io/name", "app.kubernetes.io/instance"];

/// The table.
pub const MANAGED: &[Row] = &[
    row(Part::Annotations, Fields(&[RENDER]), Users, "says of which render the DaemonSet is"),
    row(Part::Labels, Fields(NAMES), Users, "by which others find the DaemonSet"),
    row(Part::Labels, Fields(&["app.kubernetes.io/version"]), Users, "which version it is"),
    row(Part::PodLabels, Fields(NAMES), Users, "by which others find the pods"),
    row(Part::Pod, Fields(&["serviceAccountName"]), Absent, "whose rights it has"),
    row(Part::Pod, Fields(&["automountServiceAccountToken"]), Absent, "without its token it is deaf"),
    row(
        Part::Pod,
        Fields(&["priorityClassName"]),
        Absent,
        "a node's network is not evicted for a pod's sake",
    ),
    row(Part::Pod, Fields(&["hostNetwork"]), Absent, "the node's network is what it works on"),
    row(Part::Pod, Fields(&["hostPID", "hostIPC"]), Absent, "rights that it does not need"),
    row(
        Part::Pod,
        Fields(&["dnsPolicy", "enableServiceLinks"]),
        Users,
        "it must not depend on the network that it makes",
    ),
    row(
        Part::Pod,
        Fields(&["terminationGracePeriodSeconds"]),
        Users,
        "how long an update stands still for it",
    ),
    row(
        Part::Pod,
        Items { list: "volumes", key: "name", items: VOLUMES },
        Users,
        "what it works on; the ledger must outlive the pod",
    ),
    row(Part::Container, Fields(&["image", "imagePullPolicy"]), Users, "which program runs"),
    row(Part::Container, Fields(&["command", "args", "workingDir"]), Absent, "which program runs"),
    row(
        Part::Container,
        Items { list: "env", key: "name", items: VARIABLES },
        Users,
        "tell it what is mounted where, and which node it is on",
    ),
    row(Part::Container, Fields(&["ports"]), Absent, "where others look for its metrics"),
    row(
        Part::Container,
        Fields(&["livenessProbe", "readinessProbe"]),
        Users,
        "a wrong one ends a daemon that is well; yours, if your values say so",
    ),
    row(Part::Container, Fields(&["securityContext"]), Absent, "the least rights that it needs, and no more"),
    row(
        Part::Container,
        Items { list: "volumeMounts", key: "mountPath", items: MOUNTS },
        Users,
        "what it works on",
    ),
];

const fn row(part: Part, names: Names, unrendered: Unrendered, why: &'static str) -> Row {
    Row { part, names, unrendered, why }
}

impl Part {
    /// The way to it.
    pub fn steps(self) -> &'static [Step] {
        use Step::{Field, Item};
        const LABELS: &[Step] = &[Field("metadata"), Field("labels")];
        const ANNOTATIONS: &[Step] = &[Field("metadata"), Field("annotations")];
        const POD_LABELS: &[Step] = &[Field("spec"), Field("template"), Field("metadata"), Field("labels")];
        const POD: &[Step] = &[Field("spec"), Field("template"), Field("spec")];
        const IN_CONTAINER: &[Step] =
            &[Field("spec"), Field("template"), Field("spec"), Field("containers"), Item("name", CONTAINER)];
        match self {
            Self::Labels => LABELS,
            Self::Annotations => ANNOTATIONS,
            Self::PodLabels => POD_LABELS,
            Self::Pod => POD,
            Self::Container => IN_CONTAINER,
        }
    }
}

impl Row {
    /// The way to each of its fields.
    pub fn paths(&self) -> Vec<Path> {
        let start = self.part.steps();
        let path = |more: &[Step]| Path([start, more].concat());
        match self.names {
            Fields(names) => names.iter().map(|name| path(&[Step::Field(name)])).collect(),
            Items { list, key, items } => {
                items.iter().map(|item| path(&[Step::Field(list), Step::Item(key, item)])).collect()
            }
        }
    }
}

/// Each managed field, and what holds where it was not rendered.
pub fn fields() -> impl Iterator<Item = (Path, Unrendered)> {
    MANAGED.iter().flat_map(|row| row.paths().into_iter().map(|path| (path, row.unrendered)))
}

/// The table for people, in Markdown.
pub fn described() -> String {
    let head = "| in | managed | where the chart renders none | why |\n|---|---|---|---|\n".to_owned();
    let rows = MANAGED.iter().map(|row| {
        let fields: Vec<String> = match row.names {
            Fields(names) => names.iter().map(|name| format!("`{name}`")).collect(),
            Items { list, items, .. } => items.iter().map(|item| format!("`{list}[{item}]`")).collect(),
        };
        let unrendered = match row.unrendered {
            Absent => "nothing may be there",
            Users => "yours",
        };
        let part = Path(row.part.steps().to_vec());
        format!("| `{part}` | {} | {unrendered} | {} |\n", fields.join(", "), row.why)
    });
    std::iter::once(head).chain(rows).collect()
}
