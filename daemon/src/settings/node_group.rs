//! Settings for some nodes of a cluster: one DaemonSet, several kinds of nodes.
//!
//! Each entry of the ConfigMap `holdfast-node-groups` is a group, in lines of `NAME=value`:
//!
//! ```text
//! data:
//!   batch: |
//!     selector=eks.amazonaws.com/nodegroup=batch,!spot
//!     WARM_IP_TARGET=20
//! ```
//!
//! `selector` is required; its terms are those of label selectors: `key=value`, `key!=value`, `key`, `!key`. A node may be of several
//! groups: of what they say differently the last one's counts, in the order of their names.

use std::collections::BTreeMap;

use holdfast_model::settings::{SettingText, SettingsLayer, SettingsPlace};

use super::layers::Place;
use super::reader::{Problem, Wrong};
use super::{is_for_clusters, not_for_clusters};

/// What the ConfigMap is called.
pub(crate) const NODE_GROUPS: &str = "holdfast-node-groups";

const SELECTOR: &str = "selector";

/// What the groups say that a node with these labels is of.
pub(super) fn layers(
    data: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    wrong: &mut Wrong,
) -> Vec<SettingsLayer> {
    // A mistake in a group of others is theirs to be told.
    let of_one = |(name, text): (&String, &String)| {
        let (layer, selects, problems) = group(name, text, labels);
        if selects != Some(false) {
            wrong.extend(problems.told());
        }
        selects.is_some_and(|selects| selects).then_some(layer)
    };
    data.iter().filter_map(of_one).collect()
}

/// A group, whether the node is of it, and what is wrong with it. `None`: that cannot be told.
fn group(name: &str, text: &str, labels: &BTreeMap<String, String>) -> (SettingsLayer, Option<bool>, Wrong) {
    let place = SettingsPlace::NodeGroup(name.to_owned());
    let (mut values, mut selects, mut wrong) = (BTreeMap::new(), None, Wrong::default());
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        let problem = |wanted: String| Problem::new(&Place::Cluster(place.clone()), key, value, wanted);
        if key == SELECTOR {
            match selected(value, labels) {
                Ok(so) => selects = Some(so),
                Err(wanted) => wrong.push(problem(wanted)),
            }
        } else if !is_for_clusters(key) {
            wrong.push(problem(not_for_clusters(key)));
        } else {
            values.insert(key.to_owned(), SettingText { key: key.to_owned(), text: value.to_owned() });
        }
    }
    if selects.is_none() && wrong.is_empty() {
        let wanted = "want a line like selector=eks.amazonaws.com/nodegroup=batch: no node is of this group";
        wrong.push(Problem::new(&Place::Cluster(place.clone()), SELECTOR, "", wanted.to_owned()));
    }
    (SettingsLayer { place, values }, selects, wrong)
}

/// Whether all terms hold.
fn selected(selector: &str, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let mut all = true;
    for term in selector.split(',').map(str::trim) {
        all &= holds(term, labels)?;
    }
    Ok(all)
}

fn holds(term: &str, labels: &BTreeMap<String, String>) -> Result<bool, String> {
    let has = |key: &str, value: &str| labels.get(key.trim()).is_some_and(|known| known == value.trim());
    let key_of = |text: &str| {
        let text = text.trim();
        let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        plain.then(|| text.to_owned()).ok_or_else(|| {
            format!("{term:?} is no term of a selector: want key=value, key!=value, key or !key, with commas between")
        })
    };
    if let Some((key, value)) = term.split_once("!=") {
        return key_of(key).map(|key| !has(&key, value));
    }
    if let Some((key, value)) = term.split_once('=') {
        return key_of(key).map(|key| has(&key, value.trim_start_matches('=')));
    }
    match term.strip_prefix('!') {
        Some(key) => key_of(key).map(|key| !labels.contains_key(&key)),
        None => key_of(term).map(|key| labels.contains_key(&key)),
    }
}

#[cfg(test)]
mod tests;
