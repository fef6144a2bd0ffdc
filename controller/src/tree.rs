//! Places in an object, and whether what stands there is as it was rendered.

use std::fmt;

use serde_json::{Map, Value, json};

/// One step of the way to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field.
    Field(&'static str),
    /// The item of a list that has this value in its key field.
    Item(&'static str, &'static str),
}

/// The way from an object's root to a place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Step>);

impl fmt::Display for Path {
    /// As people write it: `spec.template.spec.containers[aws-node].image`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if name.contains('.') => write!(f, "[{name}]")?,
                Step::Field(name) if place == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Item(_, value) => write!(f, "[{value}]")?,
            }
        }
        Ok(())
    }
}

impl Path {
    /// What stands there. An explicit null is nothing.
    pub fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        let found = self.0.iter().try_fold(root, |at, step| match step {
            Step::Field(name) => at.get(name),
            Step::Item(key, value) => {
                at.as_array()?.iter().find(|item| item.get(key).and_then(Value::as_str) == Some(value))
            }
        });
        found.filter(|value| !value.is_null())
    }

    /// The place as a JSON pointer (RFC 6901), which names items by their number in this very object.
    pub fn pointer(&self, root: &Value) -> Option<String> {
        let mut at = root;
        let mut text = String::new();
        for step in &self.0 {
            let (name, next) = match step {
                Step::Field(name) => (escaped(name), at.get(name)?),
                Step::Item(key, value) => {
                    let items = at.as_array()?;
                    let is_it = |item: &Value| item.get(key).and_then(Value::as_str) == Some(value);
                    let place = items.iter().position(is_it)?;
                    (place.to_string(), &items[place])
                }
            };
            text.push('/');
            text.push_str(&name);
            at = next;
        }
        Some(text)
    }

    /// Where a JSON patch adds it to this object, if it has what leads there.
    pub fn place(&self, root: &Value) -> Option<String> {
        let (last, before) = self.0.split_last()?;
        let parent = Path(before.to_vec());
        let (at, pointer) = (parent.find(root)?, parent.pointer(root)?);
        match last {
            Step::Field(name) if at.is_object() => Some(format!("{pointer}/{}", escaped(name))),
            Step::Item(..) if at.is_array() => Some(format!("{pointer}/-")),
            _ => None,
        }
    }

    /// Puts a value there, with all that leads to it.
    pub fn put(&self, root: &mut Value, value: Value) {
        let mut at = root;
        for (place, step) in self.0.iter().enumerate() {
            at = match step {
                Step::Field(name) => {
                    let next_is_item = matches!(self.0.get(place + 1), Some(Step::Item(..)));
                    let empty = if next_is_item { json!([]) } else { Value::Object(Map::new()) };
                    let Some(fields) = at.as_object_mut() else { return };
                    fields.entry(*name).or_insert(empty)
                }
                Step::Item(key, value) => {
                    let Some(items) = at.as_array_mut() else { return };
                    let is_it = |item: &Value| item.get(key).and_then(Value::as_str) == Some(value);
                    let place = items.iter().position(is_it).unwrap_or_else(|| {
                        items.push(json!({ *key: value }));
                        items.len() - 1
                    });
                    &mut items[place]
                }
            };
        }
        *at = value;
    }
}

/// A name as JSON pointers have it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// How what stands in a place compares to what was rendered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// It is the same.
    Same,
    /// Something lacks or has another value: saying again what it is to be is enough.
    Differs,
    /// Something is there that was not rendered, and has to be taken away.
    Foreign,
}

/// What the API server fills in by itself where nothing was said.
fn filled_in(name: &str) -> Option<Value> {
    let usual = match name {
        "apiVersion" => json!("v1"),
        "defaultMode" => json!(420),
        "failureThreshold" => json!(3),
        "initialDelaySeconds" => json!(0),
        "periodSeconds" => json!(10),
        "protocol" => json!("TCP"),
        "scheme" => json!("HTTP"),
        "service" => json!(""),
        "successThreshold" | "timeoutSeconds" => json!(1),
        _ => return None,
    };
    Some(usual)
}

/// Compares what stands there with what was rendered, all the way down.
pub fn compare(stands: &Value, rendered: &Value) -> Match {
    match (stands, rendered) {
        (Value::Object(stands), Value::Object(rendered)) => {
            let lacking = rendered.iter().map(|(name, value)| match stands.get(name) {
                Some(there) => compare(there, value),
                None if is_not_kept(name, value) => Match::Same,
                None => Match::Differs,
            });
            let more = stands.iter().filter(|(name, _)| rendered.get(*name).is_none_or(Value::is_null));
            let more = more.map(|(name, value)| {
                let expected = is_empty(value) || is_filled_in(name, value, stands);
                if expected { Match::Same } else { Match::Foreign }
            });
            lacking.chain(more).max().unwrap_or(Match::Same)
        }
        // Lists of objects are merged by their keys: an item too many is not taken away by saying the others again.
        (Value::Array(stands), Value::Array(rendered))
            if stands.iter().chain(rendered).any(Value::is_object) =>
        {
            let same = stands.len() == rendered.len()
                && stands.iter().zip(rendered).all(|(one, other)| compare(one, other) == Match::Same);
            if same { Match::Same } else { Match::Foreign }
        }
        (stands, rendered) if stands == rendered => Match::Same,
        _ => Match::Differs,
    }
}

/// What says no more than its absence. A `false` says more, since most flags of a pod have three states, and so does an empty
/// object: it is a volume's source, for one.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// The flags of which the API server keeps no `false`: they have two states.
const TWO_STATES: &[&str] = &["hostIPC", "hostNetwork", "hostPID", "readOnly"];

/// The numbers of which it keeps no 0: where there is none they are 0. A user's number, for one, is 0 or nobody's.
const FROM_ZERO: &[&str] = &["initialDelaySeconds"];

/// What may be rendered, and is not there afterwards.
fn is_not_kept(name: &str, rendered: &Value) -> bool {
    match rendered {
        Value::Bool(false) => TWO_STATES.contains(&name),
        Value::Number(number) => number.as_i64() == Some(0) && FROM_ZERO.contains(&name),
        other => is_empty(other),
    }
}

fn is_filled_in(name: &str, value: &Value, beside: &Map<String, Value>) -> bool {
    // Older servers: on the node's own network each port is the node's.
    (name == "hostPort" && beside.get("containerPort") == Some(value))
        // Of a probe's question. Other paths, as of a volume, have no default.
        || (name == "path" && beside.contains_key("port") && value == "/")
        || filled_in(name).is_some_and(|usual| usual == *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Path {
        Path(vec![
            Step::Field("spec"),
            Step::Field("containers"),
            Step::Item("name", "a"),
            Step::Field("image"),
        ])
    }

    #[test]
    fn a_place_is_found_put_and_pointed_at() {
        let mut root = json!({"spec": {"containers": [{"name": "b"}, {"name": "a", "image": "i"}]}});
        assert_eq!(image().find(&root), Some(&json!("i")));
        assert_eq!(image().pointer(&root).unwrap(), "/spec/containers/1/image");
        image().put(&mut root, json!("j"));
        assert_eq!(root["spec"]["containers"][1]["image"], "j");
        let mut made = json!({});
        image().put(&mut made, json!("j"));
        assert_eq!(made, json!({"spec": {"containers": [{"name": "a", "image": "j"}]}}));
        assert_eq!(image().pointer(&json!({"spec": {}})), None);
        assert_eq!(
            image().place(&json!({"spec": {"containers": [{"name": "a"}]}})).unwrap(),
            "/spec/containers/0/image"
        );
        assert_eq!(image().place(&json!({"spec": {"containers": []}})), None);
        let item = Path(image().0[..3].to_vec());
        assert_eq!(item.place(&json!({"spec": {"containers": []}})).unwrap(), "/spec/containers/-");
        assert_eq!(item.place(&json!({"spec": {"containers": null}})), None);
        assert_eq!(image().find(&json!({"spec": {"containers": [{"name": "a", "image": null}]}})), None);
        let label = Path(vec![Step::Field("labels"), Step::Field("example.com/a~b")]);
        let root = json!({"labels": {"example.com/a~b": "x"}});
        assert_eq!(label.pointer(&root).unwrap(), "/labels/example.com~1a~0b");
        assert_eq!(label.place(&json!({"labels": {}})).unwrap(), "/labels/example.com~1a~0b");
        assert_eq!(label.to_string(), "labels[example.com/a~b]");
        assert_eq!(image().to_string(), "spec.containers[a].image");
    }

    #[test]
    fn what_is_too_much_is_told_from_what_is_other() {
        for (stands, rendered, expected) in [
            (json!({"a": 1}), json!({"a": 1}), Match::Same),
            (json!({"a": 2}), json!({"a": 1}), Match::Differs),
            (json!({}), json!({"a": 1}), Match::Differs),
            (
                json!({}),
                json!({"readOnly": false, "initialDelaySeconds": 0, "b": [], "c": null}),
                Match::Same,
            ),
            (json!({}), json!({"runAsUser": 0}), Match::Differs),
            (json!({"path": "/", "port": 1}), json!({"port": 1}), Match::Same),
            (json!({"path": "/x", "port": 1}), json!({"port": 1}), Match::Foreign),
            (json!({"path": "/"}), json!({}), Match::Foreign),
            (json!({}), json!({"allowPrivilegeEscalation": false}), Match::Differs),
            (json!({}), json!({"emptyDir": {}}), Match::Differs),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Match::Foreign),
            (json!({"a": 2, "b": 2}), json!({"a": 1}), Match::Foreign),
            (json!({"a": 1, "b": []}), json!({"a": 1}), Match::Same),
            (json!({"a": 1, "b": {}}), json!({"a": 1}), Match::Foreign),
            (json!({"a": 1, "b": false}), json!({"a": 1}), Match::Foreign),
            (json!({"a": true}), json!({"a": null}), Match::Foreign),
            (json!({"periodSeconds": 10, "a": 1}), json!({"a": 1}), Match::Same),
            (json!({"periodSeconds": 11, "a": 1}), json!({"a": 1}), Match::Foreign),
            (json!({"containerPort": 1, "hostPort": 1}), json!({"containerPort": 1}), Match::Same),
            (json!({"containerPort": 1, "hostPort": 2}), json!({"containerPort": 1}), Match::Foreign),
            (json!(["x", "y"]), json!(["x"]), Match::Differs),
            (json!([{"p": 1}, {"p": 2}]), json!([{"p": 1}]), Match::Foreign),
            (json!([{"p": 2}]), json!([{"p": 1}]), Match::Foreign),
            (json!([{"p": 1}]), json!([{"p": 1}]), Match::Same),
            (json!([]), json!([{"p": 1}]), Match::Foreign),
        ] {
            assert_eq!(compare(&stands, &rendered), expected, "{stands} {rendered}");
        }
    }
}
