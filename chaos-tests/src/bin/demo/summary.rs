//! The end of the demo: what a person takes away.

use std::collections::BTreeMap;

use holdfast_chaos_tests::latency::{self, Latencies};
use holdfast_chaos_tests::report::{self, Report};
use holdfast_sim::admin::Counts;
use holdfast_sim::vpc::Action;

/// Collected on the way.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) pods: usize,
    pub(crate) adds: Latencies,
    pub(crate) dels: Latencies,
    pub(crate) asked: usize,
    pub(crate) pings: u64,
    pub(crate) kills: usize,
    pub(crate) cut_off: usize,
    pub(crate) unheard: usize,
    /// How often a daemon was started.
    pub(crate) starts: usize,
    ec2: BTreeMap<Action, usize>,
    imds: u64,
}

impl Summary {
    /// What EC2 and IMDS were asked in the whole run.
    pub(crate) fn count_calls(&mut self, counts: &Counts) {
        self.ec2.clone_from(&counts.ec2);
        self.imds = counts.imds.values().sum();
    }

    /// All EC2 calls.
    pub(crate) fn calls(&self) -> usize {
        self.ec2.values().sum()
    }

    /// Tells it.
    pub(crate) fn tell(&self, report: &Report) {
        report.headline("All promises held");
        report.row("pods", &format!("{} started, each with an address of its own", self.pods));
        report.row(
            "SIGKILLs survived",
            &format!(
                "{} in the middle of ADDs ({} cut off), and 1 per node with DELs unheard",
                self.kills, self.cut_off
            ),
        );
        report.row("DELs without a daemon", &format!("{}, all carried out later", self.unheard));
        report.row("packets lost", &format!("0 of {} questions and {} pings", self.asked, self.pings));
        for (name, latencies) in [("ADD, plugin process", &self.adds), ("DEL, plugin process", &self.dels)] {
            if let Some(summary) = latencies.summary() {
                let text = format!(
                    "median {}, p99 {}, of {}",
                    latency::readable(summary.median_us),
                    latency::readable(summary.p99_us),
                    summary.count
                );
                report.row(name, &text);
            }
        }
        let total = self.calls();
        report.row("EC2 calls", &format!("{total} in all, {} starts of a daemon included", self.starts));
        for (action, count) in &self.ec2 {
            report.row("", &format!("{count:>3} {action}"));
        }
        report.row("IMDS requests", &self.imds.to_string());
        report.row("left behind", "nothing");
        report.row("time", &report::seconds(report.elapsed()));
    }
}
