//! What the API server says of the cluster, judged.

use serde_json::Value;

/// Whether all these nodes are ready, from `kubectl get nodes -o json`; otherwise what lacks.
pub(crate) fn all_ready(answer: &str, names: &[String]) -> Result<(), String> {
    let list: Value = serde_json::from_str(answer).map_err(|error| format!("the list of nodes: {error}"))?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let lacks: Vec<String> = names.iter().filter_map(|name| lack(&items, name)).collect();
    if lacks.is_empty() { Ok(()) } else { Err(lacks.join("; ")) }
}

fn lack(nodes: &[Value], name: &str) -> Option<String> {
    let Some(node) = nodes.iter().find(|node| node["metadata"]["name"] == name) else {
        return Some(format!("{name} has not registered"));
    };
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    match ready {
        Some(condition) if condition["status"] == "True" => None,
        Some(condition) => Some(format!(
            "{name} is not ready: {}",
            condition["message"].as_str().unwrap_or("no reason given")
        )),
        None => Some(format!("{name} says nothing of being ready")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_that_lacks_or_is_not_ready_is_named_with_its_reason() {
        let node = |name: &str, status: &str| {
            let condition =
                json!({ "type": "Ready", "status": status, "message": "cni plugin not initialized" });
            json!({ "metadata": { "name": name }, "status": { "conditions": [condition] } })
        };
        let names = ["node-a".to_owned(), "node-b".to_owned()];
        let judge = |items: Value| all_ready(&json!({ "items": items }).to_string(), &names);
        assert_eq!(judge(json!([node("node-a", "True"), node("node-b", "True")])), Ok(()));
        let lacks = judge(json!([node("node-a", "False")])).unwrap_err();
        assert_eq!(lacks, "node-a is not ready: cni plugin not initialized; node-b has not registered");
        assert!(judge(json!([node("node-a", "Unknown"), node("node-b", "True")])).is_err());
        assert!(all_ready("", &names).is_err());
    }
}
