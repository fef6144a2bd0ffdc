//! Structured logs: one JSON object a line on standard error, levels by `AWS_VPC_K8S_CNI_LOGLEVEL`.
//!
//! Who logs never waits for who reads. Lines go through a bounded [`queue`] to a thread that [`writer`] is the work of:
//! a reader that stops, a full disk or a closed pipe costs lines, which are counted and told, and nothing else.

mod queue;
mod writer;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as TextWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use queue::Queue;
use writer::LineWriter;

/// Bytes of lines that wait for a reader: minutes of a busy node's, and little beside what the process has.
const ROOM: usize = 1024 * 1024;

/// How long the end of the process waits for its last lines to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The process's log. Dropping it writes what is still to be written, as far as somebody takes it.
pub(crate) struct Log {
    queue: Arc<Queue>,
}

impl Drop for Log {
    fn drop(&mut self) {
        // Nobody reads: there is nobody to tell either.
        let _all_taken = self.queue.finish(LAST_WORDS);
    }
}

/// Sets the process's logging up, on standard error. A terminal gets text.
pub(crate) fn set_up(level: LevelFilter, terminal: bool) -> anyhow::Result<(Log, Level)> {
    // A descriptor of our own: the library's standard error has a lock, which a write that hangs would hold.
    let out = File::from(io::stderr().as_fd().try_clone_to_owned().context("opening the log")?);
    let queue = Arc::new(Queue::new(ROOM));
    let lost = if terminal { lost_as_text } else { lost_as_json };
    writer::spawn(Arc::clone(&queue), LineWriter::new(out, lost)).context("starting the log's writer")?;

    let (wanted, handle) = reload::Layer::new(wanted(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(ToQueue(Arc::clone(&queue)))
        .with_target(false)
        // They would go to standard error, past the queue.
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> =
        if terminal { lines.boxed() } else { lines.json().flatten_event(true).with_span_list(false).boxed() };
    tracing_subscriber::registry().with(lines).with(wanted).init();
    // A panic is a defect: it belongs into the log like everything else, whole and on one line.
    std::panic::set_hook(Box::new(|panic| tracing::error!(panic = %panic, "panicked")));
    // Without a subscriber there is nothing to be set.
    let level = Level::of(move |level| drop(handle.reload(self::wanted(level))));
    Ok((Log { queue }, level))
}

/// The SDK's and the HTTP stack's own chatter says nothing that our spans do not, nor do the warnings of kube's client.
fn wanted(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("holdfast", level)
        .with_target("kube_client", LevelFilter::OFF)
}

/// How much is logged, which may change while the process runs.
pub(crate) struct Level(Box<dyn Fn(LevelFilter) + Send + Sync>);

impl Level {
    /// Of whatever is told of another one.
    pub(crate) fn of(set: impl Fn(LevelFilter) + Send + Sync + 'static) -> Self {
        Self(Box::new(set))
    }

    /// From now on.
    pub(crate) fn set(&self, level: LevelFilter) {
        (self.0)(level);
    }
}

/// Upstream's words for levels.
pub(crate) fn level(word: &str) -> Result<LevelFilter, String> {
    match word.to_ascii_lowercase().as_str() {
        "trace" => Ok(LevelFilter::TRACE),
        "debug" => Ok(LevelFilter::DEBUG),
        "info" => Ok(LevelFilter::INFO),
        "warn" => Ok(LevelFilter::WARN),
        "error" | "fatal" => Ok(LevelFilter::ERROR),
        _ => Err("want trace, debug, info, warn or error".to_owned()),
    }
}

/// Each event is formatted whole and written at once: one write is one line.
#[derive(Clone)]
struct ToQueue(Arc<Queue>);

impl Write for ToQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for ToQueue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const LOST: &str = "log lines were lost: standard error did not take them";

/// Whatever the level: who reads must know that there is a hole.
fn lost_as_json(lines: u64) -> String {
    let line = json!({
        "timestamp": time_now(), "level": "WARN", "message": format!("{lines} {LOST}"), "lost": lines,
    });
    format!("{line}\n")
}

fn lost_as_text(lines: u64) -> String {
    format!("{}  WARN {lines} {LOST}\n", time_now())
}

/// As the other lines have it.
fn time_now() -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = SystemTime.format_time(&mut TextWriter::new(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_words_are_understood_and_others_are_not() {
        assert_eq!(level("DEBUG"), Ok(LevelFilter::DEBUG));
        assert_eq!(level("fatal"), Ok(LevelFilter::ERROR));
        assert!(level("loud").is_err());
    }

    #[test]
    fn what_was_lost_is_told_in_a_line_like_the_others() {
        let line: serde_json::Value = serde_json::from_str(&lost_as_json(17)).unwrap();
        assert_eq!(line["lost"], 17);
        assert!(line["message"].as_str().unwrap().starts_with("17 log lines were lost"), "{line}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        assert!(lost_as_text(2).contains("WARN 2 log lines were lost"));
    }
}
