//! One JSON line per call in `pluginLogFile`, if the configuration names one.
//!
//! Never a reason to fail, and never stdout, whatever the configuration says. Written in one append, so that lines
//! of plugins that run at once do not mix.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, UNIX_EPOCH};

use nix::fcntl::OFlag;
use serde_json::json;

use crate::VERSION;
use crate::command::{Call, Outcome};

/// A file that has grown over this is renamed to `<name>.1` first, in place of an earlier one: at most twice this
/// is ever kept.
const MAX_FILE: u64 = 100 * 1024 * 1024;

/// Writes the line.
pub(crate) fn record(call: &Call<'_>, outcome: &Outcome, took: Duration) {
    let Some(conf) = &outcome.conf else { return };
    let Some(path) = conf.log_file() else { return };
    let failure = outcome.result.as_ref().err();
    if failure.is_none() && errors_only(conf.log_level()) {
        return;
    }
    let (container, ifname) = call.env.unchecked();
    let line = json!({
        "level": if failure.is_some() { "error" } else { "info" },
        "ts": call.now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        "msg": failure.map_or_else(|| "done".to_owned(), ToString::to_string),
        "details": failure.map(crate::failure::Failure::details),
        "note": outcome.result.as_ref().ok().and_then(|s| s.note.as_deref()),
        "command": call.command.as_ref().map(|c| c.as_str()).unwrap_or_default(),
        "container": container,
        "ifname": ifname,
        "ms": took.as_secs_f64() * 1000.0,
        "plugin": VERSION,
    });
    append(path, &format!("{line}\n"));
}

/// The incumbent's levels; an unknown one is its most talkative.
fn errors_only(level: Option<&str>) -> bool {
    level.is_some_and(|l| ["warn", "error", "fatal"].iter().any(|known| l.eq_ignore_ascii_case(known)))
}

/// Best effort from here on: every error is dropped on purpose.
fn append(path: &str, line: &str) {
    if matches!(path, "stderr" | "stdout") {
        drop(std::io::stderr().write_all(line.as_bytes()));
        return;
    }
    let open = || {
        let mut options = OpenOptions::new();
        // O_NONBLOCK: a pipe that nobody reads must not hold a pod.
        options.append(true).create(true).mode(0o640).custom_flags(OFlag::O_NONBLOCK.bits());
        options.open(path)
    };
    let Ok(mut file) = open() else { return };
    if file.metadata().is_ok_and(|m| m.is_file() && m.len() > MAX_FILE)
        && std::fs::rename(path, format!("{path}.1")).is_ok()
    {
        let Ok(fresh) = open() else { return };
        file = fresh;
    }
    drop(file.write_all(line.as_bytes()));
}
