//! What ginkgo's report says.

use std::time::Duration;

use serde::Deserialize;

use super::Choice;
use crate::error::{Error, Result};

/// What came of one test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should.
    Passed,
    /// Not as it should, or it did not come to an end.
    Failed,
    /// Nothing: it was not chosen, or left itself out.
    Skipped,
}

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Its whole name.
    pub name: String,
    /// What came of it.
    pub state: State,
    /// How long it took.
    pub time: Duration,
    /// Why it failed or was left out, in its own words; empty if it passed.
    pub why: String,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The tests that ran, and those that are meant and did not, by name.
    pub tests: Vec<Test>,
    /// What went wrong beside the tests.
    pub beside: Vec<String>,
    /// How long all took.
    pub time: Duration,
}

impl Outcome {
    /// Reads the report that `--json-report` writes.
    pub fn read(json: &[u8]) -> Result<Self> {
        let garbled = |source| Error::Garbled { what: "the suite's report".to_owned(), source };
        let suites: Vec<Suite> = serde_json::from_slice(json).map_err(garbled)?;
        let mut outcome = Self { tests: Vec::new(), beside: Vec::new(), time: Duration::ZERO };
        for suite in suites {
            outcome.add(suite);
        }
        outcome.tests.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(outcome)
    }

    fn add(&mut self, suite: Suite) {
        self.time += Duration::from_nanos(suite.run_time);
        self.beside.extend(suite.special_suite_failure_reasons.unwrap_or_default());
        for spec in suite.spec_reports.unwrap_or_default() {
            let state = spec.state();
            if spec.leaf_node_type == "It" {
                let test = spec.into_test();
                if state != State::Skipped || Choice::is_meant(&test.name) {
                    self.tests.push(test);
                }
            } else if state == State::Failed {
                self.beside.push(format!("{}: {}", spec.leaf_node_type, spec.why()));
            }
        }
    }

    /// How many tests this came of.
    pub fn count(&self, state: State) -> usize {
        self.tests.iter().filter(|test| test.state == state).count()
    }

    /// The test of this name.
    pub fn test(&self, name: &str) -> Option<&Test> {
        self.tests.iter().find(|test| test.name == name)
    }
}

/// As ginkgo's `types.Report` has it, of which this is a small part. Times are nanoseconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    run_time: u64,
    special_suite_failure_reasons: Option<Vec<String>>,
    spec_reports: Option<Vec<Spec>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    run_time: u64,
    failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

impl Spec {
    /// What ginkgo may say besides (`failed`, `panicked`, `timedout`, `interrupted`, `aborted`, or something newer) is no
    /// success.
    fn state(&self) -> State {
        match self.state.as_str() {
            "passed" => State::Passed,
            "skipped" | "pending" => State::Skipped,
            _ => State::Failed,
        }
    }

    fn why(&self) -> String {
        let message = self.failure.as_ref().map_or("", |failure| failure.message.trim());
        if message.is_empty() { self.state.clone() } else { message.to_owned() }
    }

    fn into_test(self) -> Test {
        let state = self.state();
        let why = if state == State::Passed { String::new() } else { self.why() };
        let texts = self.container_hierarchy_texts.unwrap_or_default();
        let texts: Vec<&str> = texts.iter().chain([&self.leaf_node_text]).map(String::as_str).collect();
        let name = texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
        Test { name, state, time: Duration::from_nanos(self.run_time), why }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(text: &str, state: &str) -> Value {
        json!({
            "ContainerHierarchyTexts": ["[sig-network] Services", ""], "LeafNodeType": "It", "LeafNodeText": text,
            "State": state, "RunTime": 1_500_000_000_u64, "NumAttempts": 1,
        })
    }

    fn read(specs: &[Value]) -> Outcome {
        let suite = json!({ "SuiteDescription": "e2e", "RunTime": 9_000_000_000_u64, "SpecReports": specs });
        Outcome::read(json!([suite]).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_test_has_its_whole_name_and_its_time() {
        let outcome = read(&[spec("serves [Conformance]", "passed")]);
        assert_eq!(outcome.tests[0].name, "[sig-network] Services serves [Conformance]");
        assert_eq!(outcome.tests[0].time, Duration::from_millis(1500));
        assert_eq!((outcome.time, outcome.count(State::Passed)), (Duration::from_secs(9), 1));
    }

    #[test]
    fn what_is_not_said_to_have_passed_has_failed() {
        for state in ["failed", "panicked", "timedout", "interrupted", "aborted", "invalid", "new"] {
            assert_eq!(read(&[spec("x", state)]).count(State::Failed), 1, "{state}");
        }
    }

    #[test]
    fn of_tests_that_did_not_run_only_those_are_kept_that_are_meant() {
        let outcome = read(&[spec("a [Conformance]", "skipped"), spec("b", "skipped"), spec("c", "passed")]);
        let names: Vec<&str> = outcome.tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["[sig-network] Services a [Conformance]", "[sig-network] Services c"]);
    }

    #[test]
    fn what_fails_beside_the_tests_is_told() {
        let setup = json!({
            "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "failed", "RunTime": 1,
            "Failure": { "Message": "nodes are not ready\n" },
        });
        let fine = json!({ "LeafNodeType": "ReportAfterSuite", "LeafNodeText": "", "State": "passed", "RunTime": 1 });
        let suite = json!([{
            "RunTime": 1, "SpecReports": [setup, fine], "SpecialSuiteFailureReasons": ["Suite Timeout Elapsed"],
        }]);
        let outcome = Outcome::read(suite.to_string().as_bytes()).unwrap();
        assert_eq!(outcome.beside, ["Suite Timeout Elapsed", "SynchronizedBeforeSuite: nodes are not ready"]);
    }
}
