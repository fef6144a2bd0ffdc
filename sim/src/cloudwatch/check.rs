//! What CloudWatch's `PutMetricData` takes, by its reference.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Datum, Refusal};

/// Of one request.
const MOST_DATA: usize = 1000;
/// Of one datum.
const MOST_DIMENSIONS: usize = 30;
/// How far back and ahead a figure may lie.
const PAST: Duration = Duration::from_hours(14 * 24);
const FUTURE: Duration = Duration::from_hours(2);
/// The bounds of a value's magnitude.
const VALUES: std::ops::RangeInclusive<f64> = 8.515_920e-109..=1.174_271e108;
const UNITS: &[&str] = &[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

fn invalid(what: &str, words: &str) -> Refusal {
    Refusal::parameter("InvalidParameterValue", format!("The value for parameter {what} is invalid. {words}"))
}

fn missing(what: &str) -> Refusal {
    Refusal::parameter("MissingParameter", format!("The parameter {what} is required."))
}

/// Namespace and data of a request, if all of it can be taken. `now` is since 1970. What the box does not know is refused.
pub(super) fn request(request: &Value, now: Duration) -> Result<(String, Vec<Datum>), Refusal> {
    let members = object(request, "", &["Namespace", "MetricData"])?;
    let namespace = text(members, "", "Namespace")?;
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
    if !(1..=255).contains(&namespace.len()) || !namespace.chars().all(legal) || namespace.starts_with(':') {
        return Err(invalid(
            "Namespace",
            "It must have 1 to 255 letters, digits and .-_/#: and not begin with a colon.",
        ));
    }
    if namespace.starts_with("AWS/") {
        return Err(invalid("Namespace", "Namespaces that begin with AWS/ are reserved."));
    }
    let data = members.get("MetricData").and_then(Value::as_array).ok_or_else(|| missing("MetricData"))?;
    if data.is_empty() || data.len() > MOST_DATA {
        return Err(invalid("MetricData", "The collection must have 1 to 1000 members."));
    }
    let data = data
        .iter()
        .enumerate()
        .map(|(at, datum)| self::datum(datum, &format!("MetricData.member.{}.", at + 1), now));
    Ok((namespace.to_owned(), data.collect::<Result<_, _>>()?))
}

fn datum(datum: &Value, within: &str, now: Duration) -> Result<Datum, Refusal> {
    // Sets of values and statistics are not there.
    let known = ["MetricName", "Dimensions", "Timestamp", "Value", "Unit", "StorageResolution"];
    let members = object(datum, within, &known)?;
    let name = text(members, within, "MetricName")?;
    if !(1..=255).contains(&name.len()) || !printable(name) {
        return Err(invalid(
            &format!("{within}MetricName"),
            "It must have 1 to 255 printable characters of ASCII.",
        ));
    }
    let dimensions = match members.get("Dimensions") {
        None => &Vec::new(),
        Some(list) => {
            list.as_array().ok_or_else(|| invalid(&format!("{within}Dimensions"), "It is no list."))?
        }
    };
    if dimensions.len() > MOST_DIMENSIONS {
        return Err(invalid(&format!("{within}Dimensions"), "The collection must have at most 30 members."));
    }
    let dimensions = dimensions
        .iter()
        .enumerate()
        .map(|(at, dimension)| self::dimension(dimension, &format!("{within}Dimensions.member.{}.", at + 1)));
    let dimensions: Vec<(String, String)> = dimensions.collect::<Result<_, _>>()?;
    let names: BTreeSet<&str> = dimensions.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < dimensions.len() {
        return Err(invalid(&format!("{within}Dimensions"), "No two dimensions may have one name."));
    }
    let timestamp = match members.get("Timestamp") {
        None => now.as_secs_f64(),
        Some(at) => at.as_f64().ok_or_else(|| invalid(&format!("{within}Timestamp"), "It is no time."))?,
    };
    let oldest = now.saturating_sub(PAST).as_secs_f64();
    if !(oldest..=(now + FUTURE).as_secs_f64()).contains(&timestamp) {
        let words = "It must be within the past two weeks, and at most two hours ahead.";
        return Err(invalid(&format!("{within}Timestamp"), words));
    }
    let value = members.get("Value").ok_or_else(|| missing(&format!("{within}Value")))?;
    let value = value.as_f64().filter(|value| *value == 0.0 || VALUES.contains(&value.abs()));
    let value =
        value.ok_or_else(|| invalid(&format!("{within}Value"), "It is no number, or out of bounds."))?;
    let unit = members.get("Unit").map_or(Some("None"), Value::as_str).filter(|unit| UNITS.contains(unit));
    let unit = unit.ok_or_else(|| invalid(&format!("{within}Unit"), "There is no such unit."))?;
    if members.get("StorageResolution").is_some_and(|seconds| !matches!(seconds.as_u64(), Some(1 | 60))) {
        return Err(invalid(&format!("{within}StorageResolution"), "It must be 1 or 60."));
    }
    let dimensions = dimensions.into_iter().collect();
    Ok(Datum { name: name.to_owned(), dimensions, timestamp, value, unit: unit.to_owned() })
}

fn dimension(dimension: &Value, within: &str) -> Result<(String, String), Refusal> {
    let members = object(dimension, within, &["Name", "Value"])?;
    let (name, value) = (text(members, within, "Name")?, text(members, within, "Value")?);
    for (what, text, most) in [("Name", name, 255), ("Value", value, 1024)] {
        if text.trim().is_empty() || text.len() > most || text.starts_with(':') || !printable(text) {
            let words = format!(
                "It must have 1 to {most} printable characters of ASCII, not only spaces, and not begin with a colon."
            );
            return Err(invalid(&format!("{within}{what}"), &words));
        }
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn printable(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

fn object<'v>(value: &'v Value, within: &str, known: &[&str]) -> Result<&'v Map<String, Value>, Refusal> {
    let members = value.as_object().ok_or_else(|| invalid(within, "It is no structure."))?;
    match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(invalid(&format!("{within}{unknown}"), "The box does not know it.")),
        None => Ok(members),
    }
}

fn text<'v>(members: &'v Map<String, Value>, within: &str, name: &str) -> Result<&'v str, Refusal> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| missing(&format!("{within}{name}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn good() -> Value {
        json!({"Namespace": "Kubernetes", "MetricData": [{
            "MetricName": "eniAllocated", "Dimensions": [{"Name": "CLUSTER_ID", "Value": "prod"}],
            "Timestamp": 1_799_999_990.5, "Value": 3.0, "Unit": "Count",
        }]})
    }

    #[test]
    fn what_the_reference_allows_is_taken() {
        let (namespace, data) = request(&good(), NOW).unwrap();
        let dimensions = [("CLUSTER_ID".to_owned(), "prod".to_owned())].into();
        let (name, unit) = ("eniAllocated".to_owned(), "Count".to_owned());
        let datum = Datum { name, dimensions, timestamp: 1_799_999_990.5, value: 3.0, unit };
        assert_eq!((namespace.as_str(), data), ("Kubernetes", vec![datum]));
    }

    #[test]
    fn what_it_does_not_is_refused() {
        let many = |count: usize| vec![good()["MetricData"][0].clone(); count];
        let of_30 = |count: usize| -> Vec<Value> {
            (0..count).map(|n| json!({"Name": format!("n{n}"), "Value": "v"})).collect()
        };
        for (pointer, value, code) in [
            ("/Namespace", json!("AWS/EC2"), "InvalidParameterValue"),
            ("/Namespace", json!(""), "InvalidParameterValue"),
            ("/Namespace", json!("a\nb"), "InvalidParameterValue"),
            ("/Namespace", json!(7), "MissingParameter"),
            ("/MetricData", json!([]), "InvalidParameterValue"),
            ("/MetricData", json!(many(1001)), "InvalidParameterValue"),
            ("/MetricData/0/MetricName", json!(""), "InvalidParameterValue"),
            ("/MetricData/0/MetricName", json!("ä"), "InvalidParameterValue"),
            ("/MetricData/0/Value", json!("NaN"), "InvalidParameterValue"),
            ("/MetricData/0/Value", json!(1e200), "InvalidParameterValue"),
            ("/MetricData/0/Timestamp", json!(1_798_700_000.0), "InvalidParameterValue"),
            ("/MetricData/0/Timestamp", json!(1_800_007_201.0), "InvalidParameterValue"),
            ("/MetricData/0/Unit", json!("Apples"), "InvalidParameterValue"),
            ("/MetricData/0/Dimensions", json!(of_30(31)), "InvalidParameterValue"),
            ("/MetricData/0/Dimensions/0/Value", json!("  "), "InvalidParameterValue"),
            ("/MetricData/0/Dimensions/0/Name", json!(":x"), "InvalidParameterValue"),
            (
                "/MetricData/0/Dimensions/0",
                json!({"Name": "a", "Value": "b", "Colour": "c"}),
                "InvalidParameterValue",
            ),
        ] {
            let mut changed = good();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            let refused = request(&changed, NOW).map(|_| ()).unwrap_err();
            assert_eq!(refused.code, code, "{pointer} {value}: {refused:?}");
        }
        let mut most = good();
        most["MetricData"] = json!(many(1000));
        most["MetricData"][0]["Dimensions"] = json!(of_30(30));
        assert_eq!(request(&most, NOW).unwrap().1.len(), 1000);
    }
}
