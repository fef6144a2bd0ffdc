//! `/metrics`: all metrics, of one instant.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::answers::Answers;
use crate::calls::Calls;
use crate::families::Families;
use crate::site::{Page, Site};
use crate::snapshot::{Shared, Snapshot, Source};
use crate::{ours, upstream};

/// The format's name, as scrapers ask for it.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What has happened since the process began, so far as the engine does not know.
#[derive(Debug)]
pub struct Record {
    /// This program's version.
    pub version: &'static str,
    /// Calls of EC2.
    pub calls: Arc<Calls>,
    /// ADDs and DELs.
    pub answers: Answers,
    /// How long it took from the start of the process until the plugin was served; unset: it is not yet.
    pub served_after: OnceLock<Duration>,
}

impl Record {
    /// Nothing yet.
    pub fn new(version: &'static str) -> Self {
        Self { version, calls: Arc::default(), answers: Answers::default(), served_after: OnceLock::new() }
    }
}

/// Above 2^53 a value is rounded. Nothing here gets there.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
pub(crate) fn as_value(count: u64) -> f64 {
    count as f64
}

/// All that there is to tell.
pub(crate) fn page(record: &Record, snapshot: &Snapshot) -> prometheus::Result<String> {
    let mut families = Families::default();
    upstream::tell(&mut families, record, snapshot);
    ours::tell(&mut families, record, snapshot);
    families.text()
}

/// The site of the metrics port.
#[derive(Debug)]
pub struct Metrics<S> {
    record: Arc<Record>,
    source: Arc<S>,
    last: Shared<Snapshot>,
}

impl<S: Source> Metrics<S> {
    /// Tells of what was recorded, and of what the source says when it is asked.
    pub fn new(record: Arc<Record>, source: Arc<S>) -> Self {
        Self { record, source, last: Shared::default() }
    }
}

impl<S: Source> Site for Metrics<S> {
    async fn page(&self, path: &str) -> Page {
        if path != "/metrics" {
            return Page::not_found("the metrics are at /metrics");
        }
        let snapshot = self.last.get(self.source.snapshot()).await;
        match page(&self.record, &snapshot) {
            Ok(text) => Page::found(TEXT, text),
            // It is about labels and names, which are ours.
            Err(error) => Page::failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
