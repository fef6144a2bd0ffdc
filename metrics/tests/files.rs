//! The files that name metrics name such as there are: dashboard, alert rules, documentation.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use holdfast_metrics::catalogue::{ALL, Kind, Spec};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Words that look like names of metrics of these families.
fn names(text: &str) -> BTreeSet<&str> {
    let is_in_a_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_in_a_name(letter));
    let families = ["awscni_", "holdfast_", "pod_network_"];
    words.filter(|word| families.iter().any(|family| word.starts_with(family))).collect()
}

/// The names under which a metric's samples are queried.
fn queried(spec: &Spec) -> Vec<String> {
    let parts: &[&str] = match spec.kind {
        Kind::Counter | Kind::Gauge => &[""],
        Kind::Summary => &["_sum", "_count"],
        Kind::Histogram => &["_bucket", "_sum", "_count"],
    };
    parts.iter().map(|part| format!("{}{part}", spec.name)).collect()
}

#[test]
fn dashboard_and_alerts_query_metrics_that_there_are() {
    let known: BTreeSet<String> = ALL.iter().flat_map(|spec| queried(spec)).collect();
    for (path, least) in [("deploy/dashboards/holdfast.json", 25), ("deploy/alerts/holdfast.yaml", 14)] {
        let text = file(path);
        let unknown: Vec<&str> = names(&text)
            .into_iter()
            // In words, of a metric as a whole.
            .filter(|name| {
                !(known.contains(*name) || is_one(name) && text.contains(&format!("metric {name}")))
            })
            .collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{path}");
        assert!(names(&text).len() >= least, "{path} was read: {:?}", names(&text));
    }
}

/// A daemon that is away, or whose loop is stuck, has no state that another rule could go by.
#[test]
fn there_is_a_rule_for_each_way_to_say_nothing() {
    let text = file("deploy/alerts/holdfast.yaml");
    for rule in [
        "expr: up == 0 and on (instance, job) last_over_time(holdfast_build_info[6h])",
        "expr: holdfast_build_info unless on (instance, job) holdfast_status",
    ] {
        assert!(text.contains(rule), "{rule}");
    }
}

fn is_one(name: &str) -> bool {
    ALL.iter().any(|spec| spec.name == name)
}

/// Each label that an alert selects or groups by is one of its metric, or one that a scrape adds.
#[test]
fn labels_in_the_files_are_labels_of_metrics() {
    let mut known: BTreeSet<&str> = ALL.iter().flat_map(|spec| spec.labels).copied().collect();
    known.extend(["instance", "le", "severity"]);
    for path in ["deploy/dashboards/holdfast.json", "deploy/alerts/holdfast.yaml"] {
        let text = file(path).replace("\\\"", "\"");
        let groups = text.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
        let grouped = groups.flat_map(|list| list.split(',').map(str::trim));
        let selected = text.split(['{', ',']).filter_map(|part| {
            let (label, _) = part.split_once("=~\"").or_else(|| part.split_once("=\""))?;
            label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(label)
        });
        let unknown: Vec<&str> = grouped.chain(selected).filter(|label| !known.contains(label)).collect();
        assert_eq!(unknown, Vec::<&str>::new(), "{path}");
    }
}

/// The documentation has a row for each metric, with its type and labels.
#[test]
fn each_metric_is_documented_as_it_is() {
    let text = file("docs/metrics.md");
    let rows: Vec<[&str; 3]> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let (name, kind, labels) = (cells.next()?, cells.next()?, cells.next()?);
            let is_row = ["counter", "gauge", "summary", "histogram"].contains(&kind);
            is_row.then_some([name, kind, labels])
        })
        .collect();
    let told: BTreeSet<String> = rows.iter().map(|row| row.join(" ").replace('`', "")).collect();
    let expected: BTreeSet<String> = ALL
        .iter()
        .map(|spec| {
            format!("{} {} {}", spec.name, format!("{:?}", spec.kind).to_lowercase(), spec.labels.join(", "))
        })
        .collect();
    assert_eq!(told, expected);
    assert_eq!(rows.len(), ALL.len(), "each once");
}
