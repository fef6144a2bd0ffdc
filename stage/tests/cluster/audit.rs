//! What the API server's audit log says that the daemon asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::rig::Stage;

/// Who asks: each of its requests is noted.
const USER: &str = "system:serviceaccount:kube-system:aws-node";

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// As roles name it.
    pub(crate) right: Right,
    /// The object, where one is named.
    pub(crate) name: String,
    /// Path and query.
    pub(crate) target: String,
    /// The answer.
    pub(crate) code: u64,
}

/// What a rule of a role gives: API group, resource with its part, verb.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right(pub(crate) String, pub(crate) String, pub(crate) String);

/// All requests so far, each once.
pub(crate) fn noted(stage: &Stage) -> Vec<Noted> {
    let log = fs::read_to_string(stage.folder().join("control/audit.log")).unwrap();
    let mut noted = BTreeMap::new();
    // The last line may be under way.
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        assert_eq!(event["user"]["username"], USER, "nobody else is noted");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let part = object["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
        let one = Noted {
            right: Right(
                text(&object["apiGroup"]),
                format!("{}{part}", text(&object["resource"])),
                text(&event["verb"]),
            ),
            name: text(&object["name"]),
            target: text(&event["requestURI"]),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        };
        // A watch is noted when it begins and when it ends.
        noted.insert(text(&event["auditID"]), one);
    }
    noted.into_values().collect()
}

/// The rights that a role's rules give.
pub(crate) fn given(role: &Value) -> BTreeSet<Right> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                rights.extend(
                    texts(&rule["verbs"])
                        .into_iter()
                        .map(|verb| Right(group.clone(), resource.clone(), verb)),
                );
            }
        }
    }
    rights
}
