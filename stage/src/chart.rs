//! Holdfast as a platform team installs it: by its chart, onto nodes that have its image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::plan::Chart;

/// The release's name, as the notes for operators have it.
const RELEASE: &str = "aws-node";

/// What a daemon must be told to find the simulated EC2, as values that come after the user's. Nothing else of the chart's
/// defaults is touched: its image is one that the nodes have.
pub(crate) fn values(environment: &BTreeMap<String, String>) -> Value {
    let set: Vec<Value> =
        environment.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({ "extraEnv": set })
}

/// The command that installs it, with the user's values before those at `ours`. What Helm keeps for itself goes to `home`.
pub(crate) fn install(chart: &Chart, kubeconfig: &Path, ours: &Path, home: &Path) -> Vec<String> {
    let word = |path: &Path| path.display().to_string();
    let mut argv = vec!["env".to_owned()];
    for kind in ["CACHE", "CONFIG", "DATA"] {
        argv.push(format!("HELM_{kind}_HOME={}", word(&home.join(kind.to_lowercase()))));
    }
    argv.extend([word(&chart.helm), "install".to_owned(), RELEASE.to_owned(), word(&chart.folder)]);
    argv.extend(["--namespace=kube-system".to_owned(), format!("--kubeconfig={}", word(kubeconfig))]);
    for values in chart.values.iter().map(PathBuf::as_path).chain([ours]) {
        argv.push(format!("--values={}", word(values)));
    }
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_values_come_first_and_the_boxs_after_them() {
        let chart = Chart {
            helm: "/h/helm".into(),
            folder: "/c".into(),
            image: "/i.tar".into(),
            values: vec!["/mine.yaml".into()],
        };
        let argv = install(&chart, Path::new("/k"), Path::new("/ours"), Path::new("/home"));
        let values: Vec<&str> = argv.iter().filter_map(|word| word.strip_prefix("--values=")).collect();
        assert_eq!(values, ["/mine.yaml", "/ours"]);
        let box_says = BTreeMap::from([("AWS_REGION".to_owned(), "us-west-2".to_owned())]);
        assert_eq!(values_of(&box_says), json!([{ "name": "AWS_REGION", "value": "us-west-2" }]));
    }

    fn values_of(environment: &BTreeMap<String, String>) -> Value {
        values(environment)["extraEnv"].clone()
    }
}
