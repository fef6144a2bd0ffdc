//! Holds that nothing big is compiled twice: each command of `./dev` that builds for release gives each shared crate the
//! same features, and below the EC2 adapter so does the daemon built alone. Another set of one small crate below the EC2
//! SDK costs minutes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// By package, with its version: each set of features with which it is compiled. One for what runs; sometimes another
/// for what only the compiler runs.
type Features = BTreeMap<String, BTreeSet<String>>;

/// One command that builds.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    packages: Vec<String>,
    with_tests: bool,
}

impl Build {
    fn of(packages: &[&str], with_tests: bool) -> Self {
        Self { packages: packages.iter().map(|package| (*package).to_owned()).collect(), with_tests }
    }

    /// From a line of the script, if it is one.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let builds = matches!(words[..], ["cargo", "build" | "test" | "clippy", ..]);
        if !builds || !words.contains(&"--release") {
            return None;
        }
        let named = words.windows(2).filter(|pair| pair[0] == "-p").map(|pair| pair[1].to_owned());
        let with_tests = words[1] == "test" || words.contains(&"--all-targets");
        Some(Self { packages: named.collect(), with_tests })
    }

    fn features(&self) -> Features {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--locked", "--manifest-path", manifest]);
        tree.args(["--no-dedupe", "--prefix", "none", "--format", "{p}|{f}"]);
        tree.args(["--edges", if self.with_tests { "normal,build,dev" } else { "normal,build" }]);
        for package in &self.packages {
            tree.args(["-p", package]);
        }
        let output = tree.output().expect("cargo runs");
        assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        let mut features = Features::new();
        // An empty line stands between the trees of two packages.
        let lines = String::from_utf8(output.stdout).unwrap();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let (package, set) = line.split_once('|').unwrap_or_else(|| panic!("not asked for: {line}"));
            features.entry(package.to_owned()).or_default().insert(set.to_owned());
        }
        features
    }
}

/// What is compiled for `first` and again for `second`: packages of both, with a set of features that only `first` has.
fn compiled_again(first: &Features, second: &Features) -> Vec<String> {
    let differs = first.iter().filter_map(|(package, sets)| {
        let other = second.get(package)?;
        (!sets.is_subset(other)).then(|| format!("{package}: {sets:?} and {other:?}"))
    });
    differs.collect()
}

#[test]
fn every_release_build_of_the_script_has_one_set_of_features() {
    let script = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../dev")).unwrap();
    let builds: Vec<Build> = script.lines().filter_map(Build::parse).collect();
    let tests = Build::of(&["holdfast-aws", "holdfast-daemon", "holdfast-chaos-tests"], true);
    let demo = Build::of(&["holdfast-daemon", "holdfast-sim", "holdfast-chaos-tests"], false);
    // The demo's, the linter's, and that of the tests.
    assert_eq!(builds.len(), 3, "the script's release builds were found: {builds:#?}");
    assert!(builds.contains(&tests) && builds.contains(&demo), "{builds:#?}");
    let most = tests.features();
    for build in builds {
        let again = compiled_again(&build.features(), &most);
        assert!(again.is_empty(), "{build:?} and {tests:?} differ:\n{}", again.join("\n"));
    }
}

#[test]
fn the_daemon_alone_has_the_same_sdk() {
    // And the same HTTP client under it, and all else that its adapter stands on.
    let sdk = Build::of(&["holdfast-aws"], false).features();
    assert!(sdk.len() > 50, "the adapter's tree was read: {sdk:?}");
    let mut alone = Build::of(&["holdfast-daemon"], false).features();
    alone.retain(|package, _| sdk.contains_key(package));
    assert!(alone.keys().any(|package| package.starts_with("aws-sdk-ec2 ")), "{alone:?}");
    let beside = Build::of(&["holdfast-daemon", "holdfast-sim", "holdfast-chaos-tests"], false).features();
    let again = compiled_again(&alone, &beside);
    assert!(again.is_empty(), "the daemon alone, and beside the others:\n{}", again.join("\n"));
}
