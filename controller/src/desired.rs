//! What the managed fields are to be: the DaemonSet as the chart rendered it, which a ConfigMap carries.
//!
//! It is the chart that says it, not this program: so an upgrade by Helm changes both and is nobody's drift, and values of the
//! user's that end up in a managed field (an image of his own, his probes) are restored as he gave them.

use holdfast_cluster::watch::View;
use holdfast_cluster::watch::objects::ConfigMapView;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::table::{self, Unrendered};
use crate::tree::{Path, is_empty};

/// The ConfigMap's entry that is the DaemonSet, in JSON.
pub const DAEMON_SET: &str = "daemonset.json";
/// The ConfigMap's entry that is the digest of that text, SHA-256 in hexadecimal.
pub const DIGEST: &str = "render";

/// What was rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The digest that is its name.
    pub render: String,
    /// Of each managed field: where it is, what it is to be if that was rendered, and else whose it is.
    pub fields: Vec<(Path, Option<Value>, Unrendered)>,
}

/// Why nothing is known that could be restored. Then nothing is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDesired {
    /// It was not read yet, or not whole.
    #[error("the ConfigMap was not read yet")]
    NotRead,
    /// There is none.
    #[error("there is no such ConfigMap: the chart makes it")]
    NoMap,
    /// It has not what the chart puts there.
    #[error("the ConfigMap lacks {0}: it is not the chart's")]
    Lacks(&'static str),
    /// Text and digest do not belong together.
    #[error(
        "the ConfigMap was edited: its text is not that of its digest; upgrade the release to write it anew"
    )]
    Edited,
    /// It is no DaemonSet.
    #[error("what the ConfigMap holds is no DaemonSet: {0}")]
    NotOne(String),
}

/// What the ConfigMap says.
pub fn desired(map: &View<ConfigMapView>) -> Result<Desired, NoDesired> {
    let map = match map.only() {
        Some(map) => map,
        None if map.complete => return Err(NoDesired::NoMap),
        None => return Err(NoDesired::NotRead),
    };
    let entry = |name| map.data.get(name).ok_or(NoDesired::Lacks(name));
    let (text, render) = (entry(DAEMON_SET)?, entry(DIGEST)?);
    if digest(text) != *render {
        return Err(NoDesired::Edited);
    }
    let mut object: Value =
        serde_json::from_str(text).map_err(|error| NoDesired::NotOne(error.to_string()))?;
    let container = Path(table::Part::Container.steps().to_vec());
    if object.get("kind").and_then(Value::as_str) != Some("DaemonSet") || container.find(&object).is_none() {
        return Err(NoDesired::NotOne(format!("no DaemonSet with a container {}", table::CONTAINER)));
    }
    // A digest cannot be in the text that it is of.
    let annotation =
        Path([table::Part::Annotations.steps(), &[crate::tree::Step::Field(table::RENDER)]].concat());
    annotation.put(&mut object, Value::String(render.clone()));
    let fields = table::fields().map(|(path, unrendered)| {
        let value = path.find(&object).filter(|value| !is_empty(value)).cloned();
        (path, value, unrendered)
    });
    Ok(Desired { render: render.clone(), fields: fields.collect() })
}

/// SHA-256, in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
