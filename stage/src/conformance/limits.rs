//! What the stage itself cannot do, and what is wrong with the runs beside it.

use super::{Outcome, Run, State};
use crate::plan::Plugin;

/// A test that cannot pass on a stage, whatever the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its whole name.
    pub test: &'static str,
    /// Why it cannot.
    pub reason: &'static str,
}

/// All of them. Whoever adds one shows that it fails with `ptp` as well: one that passes there is told.
pub const LIMITS: &[Limit] = &[];

/// What there is to complain of; empty: all is well. `whole`: no test was left out on purpose.
pub fn complaints(runs: &[Run], whole: bool, limits: &[Limit]) -> Vec<String> {
    let of_run = |run: &Run| -> Vec<String> {
        let told = complaints_of(&run.outcome, whole, limits);
        told.into_iter().map(|what| format!("with {}: {what}", run.plugin.name())).collect()
    };
    let mut all: Vec<String> = runs.iter().flat_map(of_run).collect();
    if let Some(reference) = runs.iter().find(|run| run.plugin == Plugin::Ptp) {
        all.extend(limits.iter().filter_map(|limit| no_limit(&reference.outcome, *limit)));
    }
    all
}

fn complaints_of(outcome: &Outcome, whole: bool, limits: &[Limit]) -> Vec<String> {
    let mut all: Vec<String> = outcome.beside.iter().map(|what| format!("the suite: {what}")).collect();
    if outcome.tests.iter().all(|test| test.state == State::Skipped) {
        all.push("no test ran".to_owned());
    }
    let is_limit = |name: &str| limits.iter().any(|limit| limit.test == name);
    for test in outcome.tests.iter().filter(|test| !is_limit(&test.name)) {
        match test.state {
            State::Failed => all.push(format!("{} failed: {}", test.name, test.why)),
            State::Skipped if whole => all.push(format!("{} did not run: {}", test.name, test.why)),
            State::Passed | State::Skipped => {}
        }
    }
    all
}

fn no_limit(reference: &Outcome, limit: Limit) -> Option<String> {
    let test = reference.test(limit.test)?;
    (test.state == State::Passed).then(|| {
        format!("{} is listed as the stage's limit ({}), and passes with ptp", limit.test, limit.reason)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Test;
    use super::*;

    const LISTED: &[Limit] = &[Limit { test: "b", reason: "no load balancers" }];

    fn run(plugin: Plugin, states: &[(&str, State)]) -> Run {
        let test = |(name, state): &(&str, State)| Test {
            name: (*name).to_owned(),
            state: *state,
            time: Duration::ZERO,
            why: "so".to_owned(),
        };
        let tests = states.iter().map(test).collect();
        Run { plugin, outcome: Outcome { tests, beside: Vec::new(), time: Duration::ZERO } }
    }

    #[test]
    fn a_test_that_fails_and_is_no_limit_is_told_of_either_network() {
        let runs = [
            run(Plugin::Holdfast, &[("a", State::Failed), ("b", State::Failed)]),
            run(Plugin::Ptp, &[("a", State::Passed), ("b", State::Failed)]),
        ];
        assert_eq!(complaints(&runs, true, LISTED), ["with holdfast: a failed: so"]);
        assert_eq!(complaints(&runs[1..], true, &[]), ["with ptp: b failed: so"]);
    }

    #[test]
    fn a_limit_that_passes_with_the_reference_plugin_is_none() {
        let runs = [run(Plugin::Ptp, &[("a", State::Passed), ("b", State::Passed)])];
        let told = complaints(&runs, true, LISTED);
        assert_eq!(told, ["b is listed as the stage's limit (no load balancers), and passes with ptp"]);
        // Holdfast's pass says nothing of the stage that its failure would not.
        let runs = [run(Plugin::Holdfast, &[("b", State::Passed)])];
        assert_eq!(complaints(&runs, true, LISTED), [""; 0]);
    }

    #[test]
    fn a_test_that_is_meant_and_did_not_run_is_told_unless_it_was_left_out_on_purpose() {
        let runs = [run(Plugin::Holdfast, &[("a", State::Passed), ("c", State::Skipped)])];
        assert_eq!(complaints(&runs, true, LISTED), ["with holdfast: c did not run: so"]);
        assert_eq!(complaints(&runs, false, LISTED), [""; 0]);
    }

    #[test]
    fn a_run_of_nothing_is_no_success() {
        for states in [&[][..], &[("a", State::Skipped)]] {
            assert_eq!(complaints(&[run(Plugin::Ptp, states)], false, &[]), ["with ptp: no test ran"]);
        }
        let mut broken = run(Plugin::Ptp, &[("a", State::Passed)]);
        broken.outcome.beside.push("BeforeSuite: x".to_owned());
        assert_eq!(complaints(&[broken], true, &[]), ["with ptp: the suite: BeforeSuite: x"]);
    }
}
