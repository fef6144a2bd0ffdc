use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_cluster::Version;
use holdfast_cluster::watch::objects::ConfigMapView;
use holdfast_cluster::watch::{ObjectKey, View};

use super::*;
use crate::desired::{DAEMON_SET, DIGEST, NoDesired, desired, digest};
use crate::table::{self, RENDER};

/// By who has learnt nothing yet.
fn decide(desired: &Desired, seen: &DaemonSetView) -> Option<Write> {
    super::decide(desired, seen, &Kept::default())
}

fn fields(write: &Write) -> Vec<&str> {
    write.drifted.keys().map(String::as_str).collect()
}

/// The DaemonSet of the plain manifests, which are generated from the chart.
fn rendered() -> Value {
    let manifests =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/manifests/holdfast.yaml"))
            .unwrap();
    let found = manifests.split("\n---\n").find(|text| text.contains("\nkind: DaemonSet\n")).unwrap();
    serde_saphyr::from_str(found).unwrap()
}

fn map_of(object: &Value) -> View<ConfigMapView> {
    let text = object.to_string();
    let data = BTreeMap::from([(DIGEST.to_owned(), digest(&text)), (DAEMON_SET.to_owned(), text)]);
    map(Some(data))
}

fn map(data: Option<BTreeMap<String, String>>) -> View<ConfigMapView> {
    let objects = data.map(|data| (ObjectKey::default(), ConfigMapView { data, ..ConfigMapView::default() }));
    View { objects: objects.into_iter().collect(), complete: true, stale: None }
}

fn seen(object: &Value) -> DaemonSetView {
    DaemonSetView {
        uid: "u-1".to_owned(),
        version: Version::new("7"),
        deleted: false,
        object: Arc::new(object.clone()),
    }
}

/// A small server-side apply: what the body says is so, and noted as ours.
fn applied(object: &Value, body: &Value) -> Value {
    fn merge(into: &mut Value, body: &Value) {
        match (into, body) {
            (Value::Object(into), Value::Object(body)) => {
                for (name, value) in body {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
            (Value::Array(into), Value::Array(body)) if body.iter().any(Value::is_object) => {
                for item in body {
                    let key = ["name", "mountPath"].into_iter().find(|key| item.get(key).is_some());
                    let key = if item.get("mountPath").is_some() { Some("mountPath") } else { key };
                    let same = |other: &&mut Value| key.is_some_and(|key| other.get(key) == item.get(key));
                    match into.iter_mut().find(same) {
                        Some(other) => merge(other, item),
                        None => into.push(item.clone()),
                    }
                }
            }
            (into, body) => *into = body.clone(),
        }
    }
    let mut object = object.clone();
    merge(&mut object, body);
    let fields: Vec<Path> =
        table::fields().map(|(path, _)| path).filter(|path| path.find(body).is_some()).collect();
    object["metadata"]["managedFields"] =
        serde_json::json!([{"manager": "holdfast", "operation": "Apply", "fieldsV1": noted(&fields)}]);
    object
}

/// As the API server notes fields.
fn noted(fields: &[Path]) -> Value {
    let mut tree = serde_json::json!({});
    for path in fields {
        let mut at = &mut tree;
        for step in &path.0 {
            let name = match step {
                crate::tree::Step::Field(name) => format!("f:{name}"),
                crate::tree::Step::Item(key, value) => format!("k:{}", serde_json::json!({ *key: value })),
            };
            at = at.as_object_mut().unwrap().entry(name).or_insert(serde_json::json!({}));
            if let crate::tree::Step::Item(key, _) = step {
                at[format!("f:{key}")] = serde_json::json!({});
                at["."] = serde_json::json!({});
            }
        }
    }
    tree
}

fn settled() -> (Desired, Value) {
    let rendered = rendered();
    let desired = desired(&map_of(&rendered)).unwrap();
    let write = decide(&desired, &seen(&rendered)).expect("nothing is noted as ours yet");
    assert_eq!(write.how, How::Apply);
    let object = applied(&rendered, &write.body);
    assert_eq!(decide(&desired, &seen(&object)), None, "what was applied is all that is wanted");
    (desired, object)
}

#[test]
fn a_write_names_what_it_was_decided_from_and_nothing_that_is_the_users() {
    let rendered = rendered();
    let write = decide(&desired(&map_of(&rendered)).unwrap(), &seen(&rendered)).unwrap();
    assert_eq!(write.body["metadata"]["uid"], "u-1");
    assert_eq!(write.body["metadata"]["resourceVersion"], "7");
    assert_eq!(write.body["metadata"]["name"], "aws-node");
    let spec = &write.body["spec"];
    assert_eq!(spec.as_object().unwrap().keys().collect::<Vec<_>>(), ["template"]);
    let pod = spec["template"]["spec"].as_object().unwrap();
    for users in ["tolerations", "affinity", "nodeSelector", "securityContext"] {
        assert!(!pod.contains_key(users), "{users}");
    }
    assert!(pod["containers"][0].get("resources").is_none());
    let names: Vec<&str> = pod["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(names.iter().all(|name| name.starts_with("MY_") || name.starts_with("HO")), "{names:?}");
}

#[test]
fn each_managed_field_is_restored_wherever_it_was_edited() {
    let (desired, object) = settled();
    for (path, rendered, unrendered) in &desired.fields {
        if rendered.is_none() && *unrendered == Unrendered::Users {
            continue;
        }
        let mut edited = object.clone();
        // Another value of a scalar; of what has parts, something more in it.
        let other = match path.find(&object) {
            Some(Value::Object(fields)) => {
                let mut fields = fields.clone();
                fields.insert("foreign".to_owned(), serde_json::json!({"x": 1}));
                Value::Object(fields)
            }
            Some(Value::Array(items)) => Value::Array([items.as_slice(), items.as_slice()].concat()),
            Some(Value::Bool(flag)) => Value::Bool(!flag),
            Some(Value::Number(_)) => serde_json::json!(77),
            _ => serde_json::json!("foreign"),
        };
        path.put(&mut edited, other);
        let write = decide(&desired, &seen(&edited)).unwrap_or_else(|| panic!("{path} stays edited"));
        assert_eq!(fields(&write), [path.to_string()]);
        assert!(write.body.to_string().contains("u-1"));
    }
}

#[test]
fn each_managed_field_that_is_gone_comes_back() {
    let (desired, object) = settled();
    for (path, rendered, _) in desired.fields.iter().filter(|(_, rendered, _)| rendered.is_some()) {
        let mut edited = object.clone();
        let pointer = path.pointer(&edited).unwrap();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let last = last.replace("~1", "/");
        match edited.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.remove(&last)),
            Value::Array(items) => drop(items.remove(last.parse().unwrap())),
            _ => unreachable!(),
        }
        let write = decide(&desired, &seen(&edited)).unwrap_or_else(|| panic!("{path} stays away"));
        assert_eq!((write.how, fields(&write)), (How::Apply, vec![path.to_string().as_str()]));
        assert_eq!(path.find(&write.body), rendered.as_ref());
    }
}

#[test]
fn what_the_user_changes_is_left_alone() {
    let (desired, object) = settled();
    let pod = "/spec/template/spec";
    let container = "/spec/template/spec/containers/0";
    let edits: &[(&str, &str, Value)] = &[
        ("/spec", "updateStrategy", serde_json::json!({"type": "OnDelete"})),
        ("/spec", "minReadySeconds", serde_json::json!(5)),
        ("/metadata/labels", "team", serde_json::json!("network")),
        ("/metadata/annotations", "note", serde_json::json!("x")),
        (pod, "nodeSelector", serde_json::json!({"a": "b"})),
        (pod, "tolerations", serde_json::json!([])),
        (pod, "affinity", Value::Null),
        (pod, "securityContext", serde_json::json!({"fsGroup": 1})),
        (pod, "initContainers", serde_json::json!([{"name": "i", "image": "j"}])),
        (container, "resources", serde_json::json!({"limits": {"memory": "1Gi"}})),
        (container, "envFrom", serde_json::json!([{"configMapRef": {"name": "x"}}])),
        (container, "terminationMessagePolicy", serde_json::json!("FallbackToLogsOnError")),
    ];
    for (parent, name, value) in edits {
        let mut edited = object.clone();
        edited.pointer_mut(parent).unwrap()[*name] = value.clone();
        assert_eq!(decide(&desired, &seen(&edited)), None, "{parent}/{name}");
    }
    for (list, item) in [
        (format!("{container}/env"), serde_json::json!({"name": "WARM_IP_TARGET", "value": "5"})),
        (format!("{container}/env"), serde_json::json!({"name": "MINIMUM_IP_TARGET", "value": "5"})),
        (format!("{container}/env"), serde_json::json!({"name": "ANYTHING", "value": "5"})),
        (format!("{container}/volumeMounts"), serde_json::json!({"name": "x", "mountPath": "/x"})),
        (format!("{pod}/volumes"), serde_json::json!({"name": "x", "emptyDir": {}})),
        (format!("{pod}/containers"), serde_json::json!({"name": "agent", "image": "other"})),
    ] {
        // In front, so that nothing is where it was.
        let mut edited = object.clone();
        edited.pointer_mut(&list).unwrap().as_array_mut().unwrap().insert(0, item);
        assert_eq!(decide(&desired, &seen(&edited)), None, "{list}");
    }
}

#[test]
fn a_volume_is_never_without_its_source_in_between() {
    let (desired, object) = settled();
    let mut edited = object;
    let volumes = edited.pointer_mut("/spec/template/spec/volumes").unwrap().as_array_mut().unwrap();
    let place = volumes.iter().position(|volume| volume["name"] == "state").unwrap();
    volumes[place] = serde_json::json!({"name": "state", "emptyDir": {}});
    let write = decide(&desired, &seen(&edited)).unwrap();
    assert_eq!(write.how, How::Patch);
    let steps = write.body.as_array().unwrap();
    assert_eq!(steps.len(), 3);
    assert_eq!(steps[0], serde_json::json!({"op": "test", "path": "/metadata/uid", "value": "u-1"}));
    assert_eq!(
        steps[1],
        serde_json::json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"})
    );
    assert_eq!(steps[2]["op"], "replace");
    assert_eq!(steps[2]["path"], format!("/spec/template/spec/volumes/{place}"));
    assert_eq!(steps[2]["value"]["hostPath"]["path"], "/var/lib/holdfast");
}

/// Whoever upgrades by server-side apply is stopped by a field of ours with another value.
#[test]
fn an_upgrade_that_takes_something_out_is_carried_on_by_one_write() {
    let (_, object) = settled();
    let mut rendered = rendered();
    let container = rendered.pointer_mut("/spec/template/spec/containers/0").unwrap();
    container["readinessProbe"] = serde_json::json!({"httpGet": {"port": 1, "path": "/"}});
    container["image"] = serde_json::json!("new:2");
    container["workingDir"] = serde_json::json!("/app");
    let desired = desired(&map_of(&rendered)).unwrap();
    let write = decide(&desired, &seen(&object)).unwrap();
    assert_eq!((write.how, write.render.as_ref()), (How::Patch, Some(&desired.render)));
    let steps = write.body.as_array().unwrap();
    let step = |end: &str| steps.iter().find(|step| step["path"].as_str().unwrap().ends_with(end)).unwrap();
    assert_eq!(step("/image")["value"], "new:2");
    assert_eq!((&step("/workingDir")["op"], &step("/workingDir")["value"]), (&"add".into(), &"/app".into()));
    assert_eq!(step("/readinessProbe")["value"], serde_json::json!({"httpGet": {"port": 1, "path": "/"}}));
    assert_eq!(step("/annotations/holdfast~1render")["value"], desired.render);
}

#[test]
fn rights_and_programs_that_were_added_are_taken_away() {
    let (desired, object) = settled();
    for (place, name, value) in [
        ("/spec/template/spec", "hostPID", serde_json::json!(true)),
        ("/spec/template/spec", "automountServiceAccountToken", serde_json::json!(false)),
        ("/spec/template/spec/containers/0", "command", serde_json::json!(["/bin/sh"])),
        ("/spec/template/spec/containers/0/securityContext", "privileged", serde_json::json!(true)),
        ("/spec/template/spec/containers/0/livenessProbe", "httpGet", serde_json::json!({"port": 1})),
    ] {
        let mut edited = object.clone();
        edited.pointer_mut(place).unwrap()[name] = value;
        let write = decide(&desired, &seen(&edited)).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(write.how, How::Patch, "{name}");
        let last = write.body.as_array().unwrap().last().unwrap().clone();
        assert!(!last.to_string().contains(&format!("{name}\":")), "{last}");
    }
}

/// A number that says something although it is 0: without it the daemon is whom its pod says.
#[test]
fn a_user_of_number_zero_comes_back() {
    let (desired, object) = settled();
    for name in ["runAsUser", "runAsGroup"] {
        let mut edited = object.clone();
        let context = edited.pointer_mut("/spec/template/spec/containers/0/securityContext").unwrap();
        assert_eq!(context.as_object_mut().unwrap().remove(name), Some(serde_json::json!(0)));
        let write = decide(&desired, &seen(&edited)).unwrap_or_else(|| panic!("{name} stays away"));
        assert_eq!(fields(&write), ["spec.template.spec.containers[aws-node].securityContext"]);
    }
}

/// Whatever the server adds by itself, or a hook changes: it is asked once, and no other field waits for that one.
#[test]
fn what_the_server_keeps_otherwise_holds_nothing_else_back() {
    let (desired, mut object) = settled();
    let container = "/spec/template/spec/containers/0";
    object.pointer_mut(container).unwrap()["livenessProbe"]["serversOwn"] = serde_json::json!(true);
    object.pointer_mut(container).unwrap()["imagePullPolicy"] = serde_json::json!("Hooked");
    let mut edited = object.clone();
    edited.pointer_mut(container).unwrap()["image"] = serde_json::json!("evil:1");
    let named = |name: &str| format!("spec.template.spec.containers[aws-node].{name}");
    let mut kept = Kept::default();
    kept.of(&desired.render);
    let first = super::decide(&desired, &seen(&edited), &kept).unwrap();
    assert_eq!(first.how, How::Patch);
    assert_eq!(fields(&first), [named("image"), named("imagePullPolicy"), named("livenessProbe")]);
    let image = serde_json::json!({"op": "replace", "path": format!("{container}/image"), "value": "localhost/holdfast:0.1.0"});
    assert!(first.body.as_array().unwrap().contains(&image), "{}", first.body);
    // The image was restored by it. Server and hook had their way again, so the next one changes nothing.
    let second = super::decide(&desired, &seen(&object), &kept).unwrap();
    assert_eq!(fields(&second), [named("imagePullPolicy"), named("livenessProbe")]);
    kept.learn(&second);
    assert_eq!(super::decide(&desired, &seen(&object), &kept), None);
    let third = super::decide(&desired, &seen(&edited), &kept).unwrap();
    assert_eq!((third.how, fields(&third)), (How::Apply, vec![named("image").as_str()]));
    // Who edits such a field is somebody else.
    object.pointer_mut(container).unwrap()["imagePullPolicy"] = serde_json::json!("Always");
    assert!(super::decide(&desired, &seen(&object), &kept).is_some());
    kept.of("another");
    assert_eq!(
        super::decide(&desired, &seen(&object), &kept).unwrap().how,
        How::Patch,
        "of another render nothing is known"
    );
}

#[test]
fn what_is_noted_as_ours_and_is_not_managed_is_given_up() {
    let (desired, object) = settled();
    let mut older = object.clone();
    older["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:minReadySeconds"] = serde_json::json!({});
    let write = decide(&desired, &seen(&older)).expect("an older table had more");
    assert_eq!((write.how, write.drifted.len()), (How::Apply, 0));

    let mut stripped = object.clone();
    stripped["metadata"]["managedFields"] = serde_json::json!([]);
    assert_eq!(decide(&desired, &seen(&stripped)).unwrap().how, How::Apply);

    let mut written = object;
    let entries = written["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.insert(0, serde_json::json!({"manager": "kubectl-edit", "operation": "Update"}));
    entries.push(serde_json::json!({"manager": "holdfast", "operation": "Update", "fieldsV1": {}}));
    let write = decide(&desired, &seen(&written)).unwrap();
    assert_eq!(write.body[2], serde_json::json!({"op": "remove", "path": "/metadata/managedFields/2"}));
}

#[test]
fn one_that_is_being_deleted_is_left_alone() {
    let (desired, mut object) = settled();
    object["spec"]["template"]["spec"]["hostNetwork"] = serde_json::json!(false);
    let deleted = DaemonSetView { deleted: true, ..seen(&object) };
    assert_eq!(decide(&desired, &deleted), None);
}

#[test]
fn nothing_is_wanted_by_a_map_that_is_not_the_charts() {
    let good = map_of(&rendered());
    let data = good.only().unwrap().data.clone();
    let edit = |name: &str, value: Option<&str>| {
        let mut data = data.clone();
        match value {
            Some(value) => drop(data.insert(name.to_owned(), value.to_owned())),
            None => drop(data.remove(name)),
        }
        desired(&map(Some(data)))
    };
    assert_eq!(desired(&View::default()), Err(NoDesired::NotRead));
    assert_eq!(desired(&map(None)), Err(NoDesired::NoMap));
    assert_eq!(edit(DIGEST, None), Err(NoDesired::Lacks(DIGEST)));
    assert_eq!(edit(DAEMON_SET, None), Err(NoDesired::Lacks(DAEMON_SET)));
    assert_eq!(edit(DAEMON_SET, Some("{}")), Err(NoDesired::Edited));
    for text in ["{}", "[", r#"{"kind": "DaemonSet"}"#] {
        let data = [(DAEMON_SET.to_owned(), text.to_owned()), (DIGEST.to_owned(), digest(text))];
        let refused = desired(&map(Some(BTreeMap::from(data))));
        assert!(matches!(refused, Err(NoDesired::NotOne(_))), "{text}: {refused:?}");
    }
}

/// The table speaks of what the chart renders: a name that changed there would silently be managed no more.
#[test]
fn every_row_is_about_something_that_the_chart_renders() {
    let desired = desired(&map_of(&rendered())).unwrap();
    // Only with a network configuration of the user's.
    let on_request = ["conflist", "/etc/holdfast/cni", "HOLDFAST_CONFLIST"];
    for (path, rendered, unrendered) in &desired.fields {
        let named = path.to_string();
        let expected =
            *unrendered == Unrendered::Users && !on_request.iter().any(|name| named.contains(name));
        if expected {
            assert!(rendered.is_some(), "{named}");
        }
    }
    let annotation = desired.fields.iter().find(|(path, ..)| path.to_string().contains(RENDER));
    assert_eq!(annotation.unwrap().1, Some(Value::String(desired.render.clone())));
    // And the other way round: whatever the chart mounts, and tells where, is in the table.
    let rendered = rendered();
    let pod = rendered.pointer("/spec/template/spec").unwrap();
    for (list, key) in
        [("/volumes", "name"), ("/containers/0/volumeMounts", "mountPath"), ("/containers/0/env", "name")]
    {
        for item in pod.pointer(list).unwrap().as_array().unwrap() {
            let name = item[key].as_str().unwrap();
            let managed =
                desired.fields.iter().any(|(path, ..)| path.to_string().ends_with(&format!("[{name}]")));
            assert!(managed, "{list} {name}");
        }
    }
}

#[test]
fn the_table_for_people_is_this_one() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/drift.md")).unwrap();
    let described = table::described();
    assert!(page.contains(&described), "docs/drift.md does not have this table:\n{described}");
}
