//! Which fields the API server notes as ours, read from `metadata.managedFields`.

use std::collections::BTreeSet;

use holdfast_cluster::request::MANAGER;
use serde_json::{Map, Value};

use crate::tree::{Path, Step};

/// What it notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Of the fields asked for, those that we have applied.
    pub applied: BTreeSet<Path>,
    /// Whether we have applied others as well: an older table, or an older render, had more.
    pub more: bool,
    /// Where the note is of what we have written otherwise than by applying. Such a note would keep a field for ever that we
    /// once had.
    pub written: Option<usize>,
}

/// What of these fields is noted as ours.
pub fn ownership(object: &Value, fields: &[Path]) -> Ownership {
    let mut found = Ownership::default();
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    for (place, entry) in entries.into_iter().flatten().enumerate() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("manager") != MANAGER || !text("subresource").is_empty() {
            continue;
        }
        match (text("operation"), entry.get("fieldsV1").and_then(Value::as_object)) {
            ("Apply", Some(tree)) => {
                let paths: Vec<(&Path, &[Step])> =
                    fields.iter().map(|path| (path, path.0.as_slice())).collect();
                look(tree, &paths, &mut found);
            }
            ("Update", _) => found.written = Some(place),
            _ => {}
        }
    }
    found
}

/// Goes down the tree along the fields asked for. `paths` are those that lead through this node, with the rest of their way.
fn look<'p>(tree: &Map<String, Value>, paths: &[(&'p Path, &'p [Step])], found: &mut Ownership) {
    for (name, below) in tree.iter().filter(|(name, _)| *name != ".") {
        let here: Vec<(&Path, &[Step])> = paths
            .iter()
            .filter_map(|(path, rest)| {
                let (first, rest) = rest.split_first()?;
                is_named(*first, name).then_some((*path, rest))
            })
            .collect();
        if here.is_empty() {
            // The key of an item goes with it.
            let is_key = paths.iter().any(|(path, rest)| is_key_of(path, rest, name));
            found.more |= !is_key;
            continue;
        }
        if let Some((path, _)) = here.iter().find(|(_, rest)| rest.is_empty()) {
            found.applied.insert((*path).clone());
        } else if let Some(below) = below.as_object() {
            look(below, &here, found);
        }
    }
}

/// Whether a node of the tree is this step.
fn is_named(step: Step, node: &str) -> bool {
    match step {
        Step::Field(name) => node.strip_prefix("f:") == Some(name),
        Step::Item(key, value) => node
            .strip_prefix("k:")
            .and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok())
            .is_some_and(|keys| keys.get(key).and_then(Value::as_str) == Some(value)),
    }
}

/// Whether a node is the key field of the item that this path has just gone into.
fn is_key_of(path: &Path, rest: &[Step], node: &str) -> bool {
    let gone = path.0.len() - rest.len();
    match gone.checked_sub(1).map(|last| path.0[last]) {
        Some(Step::Item(key, _)) => node.strip_prefix("f:") == Some(key),
        _ => false,
    }
}
