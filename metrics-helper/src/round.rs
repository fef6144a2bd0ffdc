//! One look at the cluster: what all pages say together.

use std::collections::BTreeMap;

use holdfast_model::time::WallTime;

use crate::figures::Figures;
use crate::growth::Growth;
use crate::table::{How, NODES, NODES_READ, TABLE};

/// The figures of one look.
///
/// A sum over fewer nodes than there are is told as what it is: beside it stands of how many nodes it is, and how many there
/// are. What no node tells is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// When it was.
    pub at: WallTime,
    /// Nodes that have a daemon's pod.
    pub nodes: usize,
    /// Of these, the nodes that the sums are of: whose pages were read, and lack nothing.
    pub read: usize,
    /// The figures, by their names in CloudWatch.
    pub figures: BTreeMap<&'static str, f64>,
}

impl Round {
    /// Adds pages up, each with the uid of the pod that it is of. Of one that lacks what every daemon tells only growth counts.
    pub fn of<'f>(
        at: WallTime,
        nodes: usize,
        pages: impl IntoIterator<Item = (&'f str, &'f Figures)>,
        growth: &mut Growth,
    ) -> Self {
        let (mut read, mut figures) = (0, BTreeMap::new());
        for (uid, page) in pages {
            let is_whole = page.lacks().is_none();
            read += usize::from(is_whole);
            let grown = growth.read(uid, page);
            for row in TABLE {
                let (value, add): (_, fn(f64, f64) -> f64) = match row.how {
                    How::Sum => (page.gauges.get(row.metric).filter(|_| is_whole), |a, b| a + b),
                    How::Increase => (grown.counters.get(row.metric), |a, b| a + b),
                    How::LargestMean => (grown.means.get(row.metric), f64::max),
                };
                if let Some(value) = value {
                    let entry = figures.entry(row.published);
                    entry.and_modify(|sum| *sum = add(*sum, *value)).or_insert(*value);
                }
            }
        }
        figures.retain(|_, value| is_told(*value));
        Self { at, nodes, read, figures }
    }

    /// All that is published of it.
    pub fn published(&self) -> BTreeMap<&'static str, f64> {
        let mut all = self.figures.clone();
        for (name, count) in [(NODES, self.nodes), (NODES_READ, self.read)] {
            all.insert(name, count_of(count));
        }
        all
    }

    /// For Prometheus: gauges under the daemons' names.
    pub fn exposition(&self) -> String {
        let line = |metric: &str, help: &str, value: f64| {
            format!("# HELP {metric} {help}\n# TYPE {metric} gauge\n{metric} {value}\n")
        };
        let sums = TABLE.iter().filter(|row| row.of_every_node).filter_map(|row| {
            let value = self.figures.get(row.published)?;
            Some(line(row.metric, "Of all nodes that were read, together.", *value))
        });
        let nodes = [
            line("holdfast_nodes", "Nodes that have a daemon's pod.", count_of(self.nodes)),
            line(
                "holdfast_nodes_read",
                "Of these, the nodes that these figures are of.",
                count_of(self.read),
            ),
        ];
        sums.chain(nodes).collect()
    }
}

/// What CloudWatch takes: its documentation of `MetricDatum` has the bounds.
fn is_told(value: f64) -> bool {
    value == 0.0 || (8.515_921e-109..=1.174_270e108).contains(&value.abs())
}

/// Exact: of nodes there are not so many.
fn count_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Figures {
        Figures::read(text).unwrap()
    }

    /// A page on which what every daemon tells is 0 where the text does not tell it.
    fn whole(text: &str) -> Figures {
        let mut figures = page(text);
        for row in TABLE.iter().filter(|row| row.of_every_node) {
            figures.gauges.entry(row.metric).or_insert(0.0);
        }
        figures
    }

    fn round(nodes: usize, pages: &[(&str, &Figures)], growth: &mut Growth) -> Round {
        Round::of(WallTime(7), nodes, pages.iter().copied(), growth)
    }

    /// Those that are not 0.
    fn told(round: &Round) -> BTreeMap<&'static str, f64> {
        round
            .figures
            .iter()
            .filter(|(_, value)| **value != 0.0)
            .map(|(name, value)| (*name, *value))
            .collect()
    }

    #[test]
    fn gauges_are_summed_and_counters_grow() {
        let mut growth = Growth::default();
        let text = |assigned: u32, adds: u32| {
            format!("awscni_assigned_ip_addresses {assigned}\nawscni_add_ip_req_count {adds}\n")
        };
        let (a, b) = (whole(&text(3, 100)), whole(&text(4, 7)));
        let first = round(2, &[("a", &a), ("b", &b)], &mut growth);
        assert_eq!(told(&first), BTreeMap::from([("assignIPAddresses", 7.0)]));
        assert!(!first.figures.contains_key("addReqCount"), "nothing to compare with yet");
        let (a, b) = (whole(&text(3, 102)), whole(&text(4, 1)));
        let second = round(2, &[("a", &a), ("b", &b)], &mut growth);
        assert_eq!(
            told(&second),
            BTreeMap::from([("addReqCount", 3.0), ("assignIPAddresses", 7.0)]),
            "one daemon that started anew swallows nothing of the other"
        );
    }

    #[test]
    fn a_sum_over_fewer_nodes_says_so() {
        let none = round(3, &[], &mut Growth::default());
        assert_eq!(none.published(), BTreeMap::from([("holdfastNodes", 3.0), ("holdfastNodesRead", 0.0)]));
    }

    #[test]
    fn a_node_that_does_not_know_its_pool_is_not_read() {
        let adds = "awscni_add_ip_req_count 5\n";
        let whole = whole(&format!("awscni_assigned_ip_addresses 1\nawscni_eni_max 1\n{adds}"));
        let mut growth = Growth::default();
        // As of a daemon whose engine is silent, and of one that does not know the limits of its type yet.
        let silent = page(adds);
        let mut begins = whole.clone();
        begins.gauges.remove("awscni_eni_max");
        let pages = [("a", &whole), ("b", &silent), ("c", &begins)];
        round(3, &pages, &mut growth);
        let told = round(3, &pages, &mut growth);
        assert_eq!((told.nodes, told.read), (3, 1));
        let figures =
            ["assignIPAddresses", "eniMaxAvailable", "addReqCount"].map(|name| told.figures.get(name));
        assert_eq!(figures, [Some(&1.0), Some(&1.0), Some(&0.0)], "all sums are of the same nodes");
    }

    #[test]
    fn what_cannot_be_told_is_absent() {
        let huge = whole("awscni_eni_max 1e308\nawscni_ip_max 1e200\nawscni_eni_allocated 1e-200\n");
        let told = round(2, &[("a", &huge), ("b", &huge)], &mut Growth::default());
        let names: Vec<_> = told.figures.into_keys().collect();
        assert_eq!(names, ["assignIPAddresses", "totalIPAddresses", "totalIPv4Prefixes"]);
    }

    #[test]
    fn the_page_for_prometheus_is_one() {
        let a = whole(
            "awscni_eni_max 3\nawscni_total_ip_addresses 20.5\nawscni_assigned_ip_per_cidr{cidr=\"x\"} 1\n",
        );
        let told = round(1, &[("a", &a)], &mut Growth::default()).exposition();
        let samples = crate::exposition::samples(&told).unwrap();
        let samples: Vec<_> = samples.iter().map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(
            samples,
            [
                ("awscni_assigned_ip_addresses", 0.0),
                ("awscni_total_ip_addresses", 20.5),
                ("awscni_total_ipv4_prefixes", 0.0),
                ("awscni_eni_allocated", 0.0),
                ("awscni_eni_max", 3.0),
                ("awscni_ip_max", 0.0),
                ("holdfast_nodes", 1.0),
                ("holdfast_nodes_read", 1.0)
            ]
        );
    }
}
