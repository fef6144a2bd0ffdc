//! Metrics in the Prometheus library's own form.
//!
//! Of the `prometheus` crate only the data and the text format are used. Its counters and registry are for values that are
//! bumped where things happen; ours are derived at the moment of the scrape. `prometheus-client`, the newer library,
//! cannot tell the Amazon VPC CNI's metrics: it ends every counter's name in `_total`, and knows no summaries.

use std::time::Duration;

use holdfast_engine::Durations;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};

use crate::catalogue::{Kind, Spec};

/// What is told in one scrape. Without a sample a metric is not told at all.
#[derive(Debug, Default)]
pub(crate) struct Families(Vec<MetricFamily>);

impl Families {
    /// A counter or gauge without labels, if it is known.
    pub(crate) fn plain(&mut self, spec: &Spec, value: Option<f64>) {
        self.series(spec, value.map(|value| ([], value)));
    }

    /// A counter or gauge with a value for each of these labels.
    pub(crate) fn series<'a, const N: usize>(
        &mut self,
        spec: &Spec,
        samples: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        self.add(spec, samples, |metric, value| {
            if spec.kind == Kind::Counter {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        });
    }

    /// A summary without quantiles: how often, and how much altogether.
    pub(crate) fn summaries<'a, const N: usize>(
        &mut self,
        spec: &Spec,
        samples: impl IntoIterator<Item = ([&'a str; N], (u64, f64))>,
    ) {
        self.add(spec, samples, |metric, (count, sum)| {
            let mut summary = Summary::default();
            summary.set_sample_count(count);
            summary.set_sample_sum(sum);
            metric.set_summary(summary);
        });
    }

    /// Histograms of what took how long.
    pub(crate) fn durations<'a, const N: usize>(
        &mut self,
        spec: &Spec,
        samples: impl IntoIterator<Item = ([&'a str; N], Durations)>,
    ) {
        self.add(spec, samples, |metric, took| {
            let buckets = took.cumulative().map(|(bound, count)| (bound.as_secs_f64(), count));
            metric.set_histogram(histogram(buckets, took.count(), took.sum()));
        });
    }

    /// A histogram, with the library's default bounds, of what happens once.
    pub(crate) fn once<const N: usize>(&mut self, spec: &Spec, labels: [&str; N], took: Option<Duration>) {
        self.add(spec, took.map(|took| (labels, took)), |metric, took| {
            let within = |bound: &f64| (*bound, u64::from(took.as_secs_f64() <= *bound));
            metric.set_histogram(histogram(prometheus::DEFAULT_BUCKETS.iter().map(within), 1, took));
        });
    }

    fn add<'a, const N: usize, T>(
        &mut self,
        spec: &Spec,
        samples: impl IntoIterator<Item = ([&'a str; N], T)>,
        set: impl Fn(&mut Metric, T),
    ) {
        debug_assert_eq!(spec.labels.len(), N, "{}", spec.name);
        let metric = |(values, sample): ([&'a str; N], T)| {
            let label = |(name, value): (&&str, &str)| {
                let mut label = LabelPair::default();
                label.set_name((*name).to_owned());
                label.set_value(value.to_owned());
                label
            };
            let mut metric = Metric::from_label(spec.labels.iter().zip(values).map(label).collect());
            set(&mut metric, sample);
            metric
        };
        let metrics: Vec<Metric> = samples.into_iter().map(metric).collect();
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(spec.name.to_owned());
        family.set_help(spec.help.to_owned());
        family.set_field_type(match spec.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Summary => MetricType::SUMMARY,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// In the text format that every scraper reads.
    pub(crate) fn text(mut self) -> prometheus::Result<String> {
        self.0.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&self.0)
    }
}

fn histogram(buckets: impl Iterator<Item = (f64, u64)>, count: u64, sum: Duration) -> Histogram {
    let bucket = |(bound, within)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(within);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.map(bucket).collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum.as_secs_f64());
    histogram
}
