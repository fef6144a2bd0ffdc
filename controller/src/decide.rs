//! What to write, if anything: from what was rendered and what is seen, without a clock and without a connection.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_cluster::Version;
use serde_json::{Value, json};

use crate::desired::Desired;
use crate::kept::Kept;
use crate::ownership::{Ownership, ownership};
use crate::seen::DaemonSetView;
use crate::table::{RENDER, Unrendered};
use crate::tree::{Match, Path, compare, is_empty};

/// A write that is due. Each names uid and version of what it was decided from.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// How it is done.
    pub how: How,
    /// Its body.
    pub body: Value,
    /// The fields that it is to put right, and what stands there.
    pub drifted: BTreeMap<String, Option<Value>>,
    /// The version that it was decided from. An answer with the same one says that nothing was changed.
    pub based_on: Version,
    /// What was noted as ours in that version.
    pub noted: Ownership,
    /// The render that the DaemonSet is of once it is written, if this says it.
    pub render: Option<String>,
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By server-side apply: the managed fields are these, and ours.
    Apply,
    /// By a JSON patch, for what applying cannot do: take away what somebody put into a managed field. What else is to be put right
    /// goes along.
    Patch,
}

/// What is due for this DaemonSet. After at most three writes that nobody disturbs, and one for each field that the server keeps
/// otherwise, it is nothing.
pub fn decide(desired: &Desired, seen: &DaemonSetView, kept: &Kept) -> Option<Write> {
    // Who deletes it in order means it, and what is gone nobody brings back.
    if seen.deleted {
        return None;
    }
    let (mut due, mut drifted, mut has_foreign) = (Vec::new(), BTreeMap::new(), false);
    for (path, rendered, unrendered) in &desired.fields {
        let stands = path.find(&seen.object);
        let matched = match (stands, rendered, unrendered) {
            (None, None, _) | (_, None, Unrendered::Users) => Match::Same,
            (Some(stands), None, Unrendered::Absent) if is_empty(stands) => Match::Same,
            (Some(_), None, Unrendered::Absent) => Match::Foreign,
            (Some(stands), Some(rendered), _) => compare(stands, rendered),
            (None, Some(rendered), _) => lacking(path, rendered),
        };
        if matched == Match::Same || kept.has(&path.to_string(), stands) {
            continue;
        }
        has_foreign |= matched == Match::Foreign;
        due.push((path, rendered.as_ref()));
        drifted.insert(path.to_string(), stands.cloned());
    }
    let rendered: Vec<Path> = desired
        .fields
        .iter()
        .filter(|(_, rendered, _)| rendered.is_some())
        .map(|(path, _, _)| path.clone())
        .collect();
    let noted = ownership(&seen.object, &rendered);
    let write = |how, body, drifted, render| {
        Some(Write { how, body, drifted, render, based_on: seen.version.clone(), noted: noted.clone() })
    };
    if has_foreign {
        let steps = due.iter().filter_map(|(path, rendered)| {
            let step = put_right(path, *rendered, seen);
            // What an apply has to make first. That follows.
            if step.is_none() {
                drifted.remove(&path.to_string());
            }
            step
        });
        let body = patch(seen, steps.collect::<Vec<_>>());
        let render = drifted.keys().any(|field| field.ends_with(RENDER)).then(|| desired.render.clone());
        return write(How::Patch, body, drifted, render);
    }
    let is_noted = !noted.more && noted.applied == rendered.into_iter().collect::<BTreeSet<_>>();
    if !drifted.is_empty() || !(is_noted || kept.notes(&noted)) {
        return write(How::Apply, applied_body(desired, seen), drifted, Some(desired.render.clone()));
    }
    let place = noted.written.filter(|_| !kept.notes(&noted))?;
    let step = json!({"op": "remove", "path": format!("/metadata/managedFields/{place}")});
    write(How::Patch, patch(seen, [step]), drifted, None)
}

/// A field that is not there: flags that are `false` are not there either.
fn lacking(path: &Path, rendered: &Value) -> Match {
    match path.0.last() {
        Some(crate::tree::Step::Field(name)) => compare(&json!({}), &json!({ *name: rendered })),
        _ => Match::Differs,
    }
}

/// Puts what was rendered in the place of what stands there, at once: a volume whose foreign source is gone and whose own is not
/// yet back would be an empty one. All that differs goes along, so that an upgrade which takes something out is carried on by one
/// write: whoever upgrades finds either nothing of it done or all.
fn put_right(path: &Path, rendered: Option<&Value>, seen: &DaemonSetView) -> Option<Value> {
    let stands = path.find(&seen.object).and_then(|_stands| path.pointer(&seen.object));
    Some(match (stands, rendered) {
        (Some(pointer), Some(value)) => json!({"op": "replace", "path": pointer, "value": value}),
        (Some(pointer), None) => json!({"op": "remove", "path": pointer}),
        (None, Some(value)) => json!({"op": "add", "path": path.place(&seen.object)?, "value": value}),
        (None, None) => return None,
    })
}

fn patch(seen: &DaemonSetView, steps: impl IntoIterator<Item = Value>) -> Value {
    let is_it = [
        json!({"op": "test", "path": "/metadata/uid", "value": seen.uid}),
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": seen.version}),
    ];
    Value::Array(is_it.into_iter().chain(steps).collect())
}

/// All managed fields that were rendered, and nothing else.
fn applied_body(desired: &Desired, seen: &DaemonSetView) -> Value {
    let name = |field: &str| seen.object.pointer(&format!("/metadata/{field}")).cloned();
    let mut body = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name("name"),
            "namespace": name("namespace"),
            "uid": seen.uid,
            "resourceVersion": seen.version,
        },
    });
    for (path, rendered, _) in &desired.fields {
        if let Some(rendered) = rendered {
            path.put(&mut body, rendered.clone());
        }
    }
    body
}

#[cfg(test)]
#[path = "decide/tests.rs"]
mod tests;
