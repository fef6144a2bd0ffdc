//! The result of an ADD behind another plugin's: what that one gave is passed on, as the specification demands.

use serde_json::{Map, Value};

use super::conf::ConfError;
use super::result::CniResult;

/// What stands in `prevResult`, as it is written: a plugin knows not all that others put there.
pub type Previous = Map<String, Value>;

/// Puts a result behind what an earlier plugin of the list gave. Of that one's own interfaces, addresses, routes and name
/// service nothing is lost; ours come last, and their places are counted on.
pub fn behind(previous: Option<&Previous>, result: &CniResult) -> Result<Value, ConfError> {
    let ours = serde_json::to_value(result).expect("a result is a plain struct with string keys");
    let (Some(previous), Value::Object(mut ours)) = (previous, ours.clone()) else { return Ok(ours) };
    let mut whole = previous.clone();
    let before = list(&whole, "interfaces")?.len();
    for ip in ours.get_mut("ips").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(at) = ip.get("interface").and_then(Value::as_u64) {
            ip["interface"] = (at + before as u64).into();
        }
    }
    for key in ["interfaces", "ips", "routes"] {
        let mut all = list(&whole, key)?;
        all.extend(list(&ours, key)?);
        if !all.is_empty() {
            whole.insert(key.to_owned(), all.into());
        }
    }
    whole.insert("cniVersion".to_owned(), result.cni_version.clone().into());
    whole.entry("dns").or_insert_with(|| Value::Object(Map::new()));
    Ok(Value::Object(whole))
}

fn list(result: &Previous, key: &str) -> Result<Vec<Value>, ConfError> {
    match result.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.clone()),
        Some(_) => Err(ConfError::Key { key: "prevResult", problem: format!("{key} is not a list") }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours() -> CniResult {
        let result = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "eni1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
            "ips": [{"interface": 1, "address": "10.0.5.17/32"}],
            "dns": {},
        });
        serde_json::from_value(result).unwrap()
    }

    fn behind_of(previous: &Value) -> Result<Value, ConfError> {
        behind(previous.as_object(), &ours())
    }

    #[test]
    fn alone_it_is_what_it_is() {
        assert_eq!(behind(None, &ours()).unwrap(), serde_json::to_value(ours()).unwrap());
    }

    #[test]
    fn all_that_an_earlier_plugin_gave_is_there_and_ours_follows() {
        let previous = json!({
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "other0", "sandbox": "/run/netns/x", "mtu": 1400}],
            "ips": [{"interface": 0, "address": "192.0.2.9/24", "gateway": "192.0.2.1"}],
            "routes": [{"dst": "192.0.2.0/24", "advmss": 1300}],
            "dns": {"nameservers": ["192.0.2.53"]},
            "of": "tomorrow",
        });
        assert_eq!(
            behind_of(&previous).unwrap(),
            json!({
                "cniVersion": "1.1.0",
                "interfaces": [
                    {"name": "other0", "sandbox": "/run/netns/x", "mtu": 1400},
                    {"name": "eni1"},
                    {"name": "eth0", "sandbox": "/run/netns/x"},
                ],
                "ips": [
                    {"interface": 0, "address": "192.0.2.9/24", "gateway": "192.0.2.1"},
                    {"interface": 2, "address": "10.0.5.17/32"},
                ],
                "routes": [{"dst": "192.0.2.0/24", "advmss": 1300}],
                "dns": {"nameservers": ["192.0.2.53"]},
                "of": "tomorrow",
            })
        );
    }

    #[test]
    fn one_that_is_no_result_is_refused() {
        let error = behind_of(&json!({"interfaces": {}})).unwrap_err();
        assert_eq!(error.to_string(), "prevResult: interfaces is not a list");
        assert!(behind_of(&json!({"ips": null})).is_ok());
    }
}
