//! The table of what came of it, for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::{Limit, Run, State, Test};
use crate::plan::Plugin;
use crate::release::Release;

/// What the table is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What the cluster is made of.
    pub release: Release,
    /// How many nodes it has.
    pub nodes: usize,
}

/// The page, in Markdown.
pub fn table(head: &Head, runs: &[Run], limits: &[Limit]) -> String {
    let mut page = String::new();
    write(&mut page, head, runs, limits).expect("a string takes all that is written");
    page
}

fn write(page: &mut String, head: &Head, runs: &[Run], limits: &[Limit]) -> std::fmt::Result {
    let release = &head.release;
    writeln!(page, "# Conformance with Kubernetes {}\n", release.kubernetes)?;
    let argument = release.name.as_ref().map_or_else(String::new, |name| format!(" --release {name}"));
    writeln!(page, "Written by `./dev conformance{argument}`; what it does is in [stage.md](stage.md).\n")?;
    writeln!(
        page,
        "All conformance tests of networking (`[sig-network] … [Conformance]`) of Kubernetes' own end-to-end suite, on a cluster \
         of {} nodes:\nKubernetes {}, containerd {}, etcd {}, CoreDNS {}, kube-proxy with nftables. Beside Holdfast the \
         reference\nplugin `ptp` {} on the same stage: what fails there as well is the stage's limit.\n",
        head.nodes, release.kubernetes, release.containerd, release.etcd, release.coredns, release.plugins
    )?;
    writeln!(page, "| pods' network | passed | failed | did not run | time |\n|---|---|---|---|---|")?;
    for run in runs {
        let count = |state| run.outcome.count(state);
        writeln!(
            page,
            "| {} | {} | {} | {} | {} s |",
            title(run.plugin),
            count(State::Passed),
            count(State::Failed),
            count(State::Skipped),
            run.outcome.time.as_secs()
        )?;
    }
    writeln!(page, "\nTimes are of one run on two cores, eight tests at once: no measure of anything.\n")?;
    let titles: Vec<&str> = runs.iter().map(|run| title(run.plugin)).collect();
    writeln!(page, "| test | {} |\n|---|{}", titles.join(" | "), "---|".repeat(runs.len()))?;
    let names: BTreeSet<&str> =
        runs.iter().flat_map(|run| &run.outcome.tests).map(|test| test.name.as_str()).collect();
    for name in names {
        let results: Vec<String> = runs.iter().map(|run| result(run.outcome.test(name))).collect();
        writeln!(page, "| {} | {} |", short(name), results.join(" | "))?;
    }
    let met = |limit: &&Limit| runs.iter().any(|run| run.outcome.test(limit.test).is_some());
    let limits: Vec<&Limit> = limits.iter().filter(met).collect();
    if !limits.is_empty() {
        writeln!(page, "\n## What the stage cannot do\n\n| test | reason |\n|---|---|")?;
        for limit in limits {
            writeln!(page, "| {} | {} |", short(limit.test), limit.reason)?;
        }
    }
    Ok(())
}

fn title(plugin: Plugin) -> &'static str {
    match plugin {
        Plugin::Holdfast => "Holdfast",
        Plugin::Chart => "Holdfast, by its chart",
        Plugin::Ptp => "ptp",
    }
}

fn result(test: Option<&Test>) -> String {
    let Some(test) = test else { return "not there".to_owned() };
    match test.state {
        State::Passed => format!("passed, {}", seconds(test.time)),
        State::Failed => format!("**failed**, {}", seconds(test.time)),
        State::Skipped => "did not run".to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Without what all have in common, and as a cell of a table.
fn short(name: &str) -> String {
    name.replace("[sig-network] ", "").replace(" [Conformance]", "").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use crate::plan::tests::plan;

    fn run(plugin: Plugin, states: &[(&str, State)]) -> Run {
        let test = |(name, state): &(&str, State)| Test {
            name: format!("[sig-network] {name} [Conformance] [LinuxOnly]"),
            state: *state,
            time: Duration::from_millis(2340),
            why: String::new(),
        };
        let tests = states.iter().map(test).collect();
        Run { plugin, outcome: Outcome { tests, beside: Vec::new(), time: Duration::from_secs(99) } }
    }

    #[test]
    fn each_test_has_a_row_and_each_network_a_column() {
        let runs = [
            run(Plugin::Holdfast, &[("a", State::Passed), ("b", State::Failed)]),
            run(Plugin::Ptp, &[("a", State::Passed), ("b", State::Failed), ("c", State::Skipped)]),
        ];
        let limits = [
            Limit { test: "[sig-network] b [Conformance] [LinuxOnly]", reason: "there is none" },
            Limit { test: "of another release", reason: "" },
        ];
        let head = Head { release: plan(Plugin::Ptp).release, nodes: 2 };
        let page = table(&head, &runs, &limits);
        for line in [
            "| Holdfast | 1 | 1 | 0 | 99 s |",
            "| ptp | 1 | 1 | 1 | 99 s |",
            "| test | Holdfast | ptp |",
            "| a [LinuxOnly] | passed, 2.3 s | passed, 2.3 s |",
            "| b [LinuxOnly] | **failed**, 2.3 s | **failed**, 2.3 s |",
            "| c [LinuxOnly] | not there | did not run |",
            "| b [LinuxOnly] | there is none |",
        ] {
            assert!(page.lines().any(|other| other == line), "{line:?} is not in\n{page}");
        }
        assert!(!page.contains("of another release"), "{page}");
        assert!(!table(&head, &runs, &[]).contains("cannot do"));
    }
}
