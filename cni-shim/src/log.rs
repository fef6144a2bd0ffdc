//! One JSON line per call in `pluginLogFile`, if the configuration names one.
//!
//! Never a reason to fail or to wait, and never stdout, whatever the configuration says. Written in one append, so that
//! lines of plugins that run at once do not mix.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use serde_json::json;

use crate::VERSION;
use crate::call::{Call, Outcome};

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
        "trace": call.env.trace(),
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
    if matches!(path, "stderr" | "stdout" | "/dev/stderr" | "/dev/stdout") {
        write_at_once(std::io::stderr(), line.as_bytes());
        return;
    }
    let Some(mut file) = open(path) else { return };
    if file.metadata().is_ok_and(|m| m.len() > MAX_FILE) && std::fs::rename(path, format!("{path}.1")).is_ok()
    {
        let Some(fresh) = open(path) else { return };
        file = fresh;
    }
    drop(file.write_all(line.as_bytes()));
}

/// Opens the log if it is an ordinary file, and not the one that stdout leads to: the result belongs there, and nothing
/// else. A pipe that nobody reads, or a terminal that was stopped, would hold the pod.
fn open(path: &str) -> Option<File> {
    // Before it is opened, which is enough to set some devices off.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return None;
    }
    let mut options = OpenOptions::new();
    // O_NONBLOCK: what lies there may have become a pipe meanwhile.
    options.append(true).create(true).mode(0o640).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = options.open(path).ok()?;
    let (opened, stdout) = (fstat(&file).ok()?, fstat(std::io::stdout()).ok());
    let is_stdout = stdout.is_some_and(|out| (out.st_dev, out.st_ino) == (opened.st_dev, opened.st_ino));
    let ordinary = file.metadata().is_ok_and(|found| found.is_file());
    (ordinary && !is_stdout).then_some(file)
}

/// Writes as much as is taken without waiting: the runtime waits for this process, and need not read its stderr.
fn write_at_once(out: impl AsFd, line: &[u8]) {
    // A pipe that is ready takes this much (PIPE_BUF).
    for part in line.chunks(4096) {
        let mut ready = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
        let takes = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count == 1)
            && ready[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLOUT));
        if !takes || nix::unistd::write(out.as_fd(), part).is_err() {
            return;
        }
    }
}
