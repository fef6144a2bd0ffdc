//! Features of the node's CNINode.

use serde_json::{Value, json};

use super::wanted::Wanted;
use crate::crd::cninode::Feature;
use crate::version::Version;
use crate::watch::View;
use crate::watch::objects::CniNodeView;

/// A list of features that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FeaturesChange {
    pub(super) name: String,
    uid: String,
    pub(super) based_on: Version,
    features: Vec<Feature>,
}

/// The list that should be written, if what stands there lacks something. Nothing while there is no CNINode: others make it.
/// Nothing either while what stands there cannot be read, since what others asked for would be lost, or is older than what
/// was written last.
pub(super) fn missing(
    wanted: &Wanted,
    seen: &View<CniNodeView>,
    written: &Version,
) -> Option<FeaturesChange> {
    let (key, node) = seen.objects.iter().next()?;
    let stand = node.features.as_ref().ok()?;
    if node.version < *written {
        return None;
    }
    let mut features = stand.clone();
    for feature in &wanted.features {
        match features.iter_mut().find(|standing| standing.name == feature.name) {
            Some(standing) => standing.value.clone_from(&feature.value),
            None => features.push(feature.clone()),
        }
    }
    (features != *stand).then(|| FeaturesChange {
        name: key.name.clone(),
        uid: node.uid.clone(),
        based_on: node.version.clone(),
        features,
    })
}

impl FeaturesChange {
    /// The change, and what must be so for it.
    pub(super) fn patch(&self) -> Value {
        json!({
            "metadata": {"uid": self.uid, "resourceVersion": self.based_on},
            "spec": {"features": self.features},
        })
    }
}
