//! The definitions as files.

use holdfast_cluster::crd;

/// Where they are kept.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/chart/holdfast/crds");

/// Name and text of each file.
pub(crate) fn files() -> anyhow::Result<Vec<(String, String)>> {
    let rendered = crd::installed().into_iter().map(|definition| {
        let name = definition.metadata.name.clone().unwrap_or_default();
        // By way of a value, whose maps have their keys in order.
        let value = serde_json::to_value(&definition)?;
        Ok((format!("{name}.yaml"), serde_saphyr::to_string(&value)?))
    });
    rendered.collect()
}
