//! What one daemon's page says of the figures that are published.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::exposition::{Unreadable, samples};
use crate::table::{How, TABLE};

/// Series of counters, and of summaries, that are kept of one page: EC2's calls, each with its errors, have fewer. What a node tells
/// beyond them is not remembered.
pub const MOST_SERIES: usize = 500;

/// A series: the metric, and its labels as they are written.
pub type Series = (&'static str, String);

/// What a summary has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// How often.
    pub count: f64,
    /// How much altogether.
    pub sum: f64,
}

/// A page's figures. A metric that is not on the page has none, and neither has one of which a sample is no number: what a
/// daemon does not know is not to be added up with what others know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Gauges by metric, summed over their labels.
    pub gauges: BTreeMap<&'static str, f64>,
    /// Counters.
    pub counters: BTreeMap<Series, f64>,
    /// Counters of which a sample is no number; no series of theirs is told.
    pub unknown: BTreeSet<&'static str>,
    /// Summaries.
    pub summaries: BTreeMap<Series, Seen>,
}

/// Why a page tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFigures {
    /// It is not of the format.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Somebody else's page, or that of a daemon that is not up yet.
    #[error("the page has none of the daemon's metrics")]
    None,
}

impl Figures {
    /// Reads a page.
    pub fn read(page: &str) -> Result<Self, NoFigures> {
        let mut figures = Self::default();
        // Unknown metrics, to be left out whatever else is said of them.
        let mut unknown = Vec::new();
        for sample in samples(page)? {
            for row in TABLE {
                match (row.how, sample.name.strip_prefix(row.metric)) {
                    (How::Sum, Some("")) => {
                        let sum = figures.gauges.entry(row.metric).or_default();
                        *sum += sample.value;
                        if !sum.is_finite() {
                            unknown.push(row.metric);
                        }
                    }
                    (How::Increase, Some("")) => {
                        let series = (row.metric, sample.labels.to_owned());
                        if let Some(count) = kept(&mut figures.counters, series) {
                            *count += sample.value;
                            if !count.is_finite() || sample.value < 0.0 {
                                figures.unknown.insert(row.metric);
                            }
                        }
                    }
                    (How::LargestMean, Some(part @ ("_sum" | "_count"))) if sample.value.is_finite() => {
                        let series = (row.metric, sample.labels.to_owned());
                        if let Some(seen) = kept(&mut figures.summaries, series) {
                            let field = if part == "_sum" { &mut seen.sum } else { &mut seen.count };
                            *field += sample.value;
                        }
                    }
                    _ => {}
                }
            }
        }
        figures.gauges.retain(|metric, _| !unknown.contains(metric));
        figures.counters.retain(|(metric, _), _| !figures.unknown.contains(metric));
        if figures == Self::default() && unknown.is_empty() {
            return Err(NoFigures::None);
        }
        Ok(figures)
    }

    /// What every daemon tells and this one does not know: its engine is silent, or it has just begun.
    pub fn lacks(&self) -> Option<&'static str> {
        let mut every = TABLE.iter().filter(|row| row.of_every_node).map(|row| row.metric);
        every.find(|metric| !self.gauges.contains_key(metric))
    }
}

/// Where a series is added up; nowhere once there are too many.
fn kept<T: Default>(all: &mut BTreeMap<Series, T>, series: Series) -> Option<&mut T> {
    let room = all.len() < MOST_SERIES;
    match all.entry(series) {
        Entry::Occupied(there) => Some(there.into_mut()),
        Entry::Vacant(free) => room.then(|| free.insert(T::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_added_up_and_other_metrics_left_alone() {
        let page = "awscni_assigned_ip_per_cidr{cidr=\"10.0.0.7/32\"} 1\n\
                    awscni_assigned_ip_per_cidr{cidr=\"10.0.0.8/32\"} 2\n\
                    awscni_ec2api_req_count{fn=\"A\"} 3\n\
                    awscni_ec2api_req_count{fn=\"B\"} 4\n\
                    awscni_ec2api_req_count_other 99\n\
                    awscni_aws_api_latency_ms_sum{api=\"A\"} 30\n\
                    awscni_aws_api_latency_ms_count{api=\"A\"} 3\n\
                    awscni_aws_api_latency_ms{api=\"A\",quantile=\"0.99\"} 7\n\
                    holdfast_status{status=\"ready\"} 1\n";
        let figures = Figures::read(page).unwrap();
        assert_eq!(figures.gauges, BTreeMap::from([("awscni_assigned_ip_per_cidr", 3.0)]));
        let series = |labels: &str| ("awscni_ec2api_req_count", labels.to_owned());
        let counters = [(series("fn=\"A\""), 3.0), (series("fn=\"B\""), 4.0)];
        assert_eq!(figures.counters, BTreeMap::from(counters));
        let key = ("awscni_aws_api_latency_ms", "api=\"A\"".to_owned());
        assert_eq!(figures.summaries, BTreeMap::from([(key, Seen { count: 3.0, sum: 30.0 })]));
    }

    #[test]
    fn what_is_no_number_is_unknown_not_zero() {
        let page = "awscni_eni_max NaN\n\
                    awscni_eni_max 3\n\
                    awscni_ip_max 1e308\n\
                    awscni_ip_max{x=\"y\"} 1e308\n\
                    awscni_eni_allocated 2\n\
                    awscni_add_ip_req_count NaN\n\
                    awscni_ipamd_error_count{fn=\"a\"} -1\n\
                    awscni_ipamd_error_count{fn=\"b\"} 5\n";
        let figures = Figures::read(page).unwrap();
        assert_eq!(figures.gauges, BTreeMap::from([("awscni_eni_allocated", 2.0)]));
        let unknown = BTreeSet::from(["awscni_add_ip_req_count", "awscni_ipamd_error_count"]);
        assert_eq!((figures.counters, figures.unknown), (BTreeMap::new(), unknown));
    }

    #[test]
    fn a_page_without_end_is_kept_in_part() {
        let series = |at: usize| format!("awscni_aws_api_latency_ms_count{{api=\"{at}\"}} 1\n");
        let page: String = (0..2 * MOST_SERIES).map(series).collect();
        assert_eq!(Figures::read(&page).unwrap().summaries.len(), MOST_SERIES);
        let page = page.replace("awscni_aws_api_latency_ms_count", "awscni_aws_api_error_count");
        assert_eq!(Figures::read(&page).unwrap().counters.len(), MOST_SERIES);
    }

    #[test]
    fn a_page_of_something_else_is_no_page() {
        assert_eq!(Figures::read("up 1\n"), Err(NoFigures::None));
        assert_eq!(Figures::read(""), Err(NoFigures::None));
        assert!(matches!(Figures::read("<html>\n"), Err(NoFigures::Unreadable(_))));
        // A daemon's, that knows nothing yet.
        assert_eq!(Figures::read("awscni_eni_max NaN\n"), Ok(Figures::default()));
    }
}
