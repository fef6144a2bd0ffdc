//! The daemons of a cluster, and what each serves, for who reads them all now and then: nothing is followed.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::door::Door;
use crate::fault::ApiFault;
use crate::request;
use crate::version::Version;
use crate::watch::{ObjectKey, PageWire, Trimmed};

/// The label of the daemons' pods, the same as of the Amazon VPC CNI's.
pub const LABEL: &str = "k8s-app=aws-node";
/// Pods on one page of their list. A page is held whole while it is read, and such a pod has about 10 kB.
const PAGE_SIZE: u32 = 100;
/// Pages of a list: more than a cluster has daemons. A server that goes on for ever is not listened to.
const MOST_PAGES: usize = 1000;

/// A daemon's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonPod {
    /// Its name.
    pub name: String,
    /// What tells it from another one of its name.
    pub uid: String,
    /// The node that it was given. `None`: none yet.
    pub node: Option<String>,
    /// Whether it is over, and only the object is left.
    pub over: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
    /// When it was made, as the server writes it: in the order of time.
    pub made: String,
}

/// A pod as it is read: nothing but this is kept of a page.
#[derive(Deserialize)]
struct PodWire {
    metadata: MetaWire,
    #[serde(default)]
    spec: SpecWire,
    #[serde(default)]
    status: StatusWire,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaWire {
    name: String,
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    resource_version: Version,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecWire {
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StatusWire {
    phase: String,
}

impl Trimmed for PodWire {
    type View = DaemonPod;

    fn trim(self) -> (ObjectKey, DaemonPod) {
        let Self { metadata, spec, status } = self;
        let key = ObjectKey::new(&metadata.namespace, metadata.name.clone());
        let pod = DaemonPod {
            name: metadata.name,
            uid: metadata.uid,
            node: spec.node_name.filter(|node| !node.is_empty()),
            over: matches!(&*status.phase, "Succeeded" | "Failed"),
            leaving: metadata.deletion_timestamp.is_some(),
            made: metadata.creation_timestamp.unwrap_or_default(),
        };
        (key, pod)
    }

    fn version(&self) -> &Version {
        &self.metadata.resource_version
    }
}

/// All daemons' pods of a namespace, or a fault: a list that ends early is none.
pub async fn pods(door: &Door, namespace: &str) -> Result<Vec<DaemonPod>, ApiFault> {
    let (mut all, mut continued) = (Vec::new(), None);
    for _page in 0..MOST_PAGES {
        let asked = request::labelled_pods(namespace, LABEL, PAGE_SIZE, continued.as_deref())?;
        let what = asked.asked.clone();
        let page: PageWire<PodWire> = door.ask(asked).await?;
        let page = page.page().map_err(|cause| crate::door::fault(&what, cause))?;
        all.extend(page.items.into_iter().map(|(_, pod)| pod));
        continued = page.continued;
        if continued.is_none() {
            return Ok(all);
        }
    }
    let asked = request::labelled_pods(namespace, LABEL, PAGE_SIZE, None)?.asked;
    Err(crate::door::fault(&asked, crate::Cause::Malformed(format!("more than {MOST_PAGES} pages"))))
}

/// What one of them serves at a port and path, of at most so many bytes.
pub async fn page(
    door: &Door,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
    largest: usize,
) -> Result<bytes::Bytes, ApiFault> {
    door.fetch(request::proxied(namespace, pod, port, path)?, largest).await
}
