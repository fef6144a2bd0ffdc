//! One question to the daemon, with the time that each command may take.
//!
//! A daemon that is restarted is away for moments, and what it was asked before is answered by its successor as it would
//! have been by itself: an ADD that has an address already gets the same. So who asks for that waits for the successor,
//! rather than have the runtime take the whole sandbox down.

use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use holdfast_wire::client::{ClientError, exchange};
use holdfast_wire::fd::Descriptors;
use holdfast_wire::message::{Answer, NETLINK_SINCE, Request, RequestFrame};
use holdfast_wire::trace::TraceParent;

use crate::VERSION;
use crate::netns::Netns;

/// How long a command waits for the daemon unless the configuration's `deadlineMs` says otherwise.
///
/// A runtime kills a plugin when its own caller gives up, and then nobody learns why; so each is shorter than the
/// shortest common patience of a caller, the two minutes of kubelet's runtime requests. The daemon is told, and
/// answers before.
pub(crate) fn patience(request: &Request) -> Duration {
    Duration::from_secs(match request {
        // May have to wait for an ENI.
        Request::Add(_) => 110,
        // A daemon at work answers in milliseconds. One that does not is stuck, and the tombstone is as good.
        Request::Del(_) => 10,
        Request::Check(_) => 30,
        // Asked again and again by the runtime.
        Request::Status(_) => 5,
        Request::Gc(_) => 60,
    })
}

/// How long a successor is waited for.
const RESTART: Duration = Duration::from_secs(10);

/// How soon it is looked for again: within an eighth of the time that nobody was there, so that who is back in moments is
/// found in moments, and who stays away is not looked for all the time.
fn pause(away: Duration) -> Duration {
    (away / 8).clamp(Duration::from_millis(1), Duration::from_millis(50))
}

/// How many daemons in a row are asked that go away soon with the question. More would rather be the question's fault.
const DAEMONS: u32 = 5;

/// A daemon that had the question for so long and then went away did not die of it.
const SOON: Duration = Duration::from_secs(1);

/// Asks the daemon at `socket`; if it goes away, and the question may be repeated, the next one. All within `patience`.
pub(crate) fn daemon(
    socket: &Path,
    request: Request,
    netns: Option<&Netns>,
    patience: Duration,
    trace: Option<&TraceParent>,
) -> Result<Answer, ClientError> {
    let begun = Instant::now();
    let mut frame = RequestFrame::new(request, VERSION, 0).of_trace(trace.cloned());
    let mut away_since = begun;
    let (mut asked, mut left) = (0, patience);
    loop {
        frame.patience_ms = millis(left);
        let given = Instant::now();
        let outcome = once(socket, &frame, netns, left);
        let had_it = had_it(&outcome);
        if !frame.request.may_be_repeated() || !(had_it || nobody_there(&outcome)) {
            return outcome;
        }
        if had_it {
            asked = if given.elapsed() < SOON { asked + 1 } else { 0 };
            away_since = Instant::now();
        }
        let now = Instant::now();
        let away = now - away_since;
        let wait = pause(away);
        let over = asked >= DAEMONS || away + wait > RESTART || now - begun + wait > patience;
        if over {
            return outcome;
        }
        sleep(wait);
        left = patience.saturating_sub(begun.elapsed());
    }
}

fn nobody_there(outcome: &Result<Answer, ClientError>) -> bool {
    outcome.as_ref().is_err_and(ClientError::nobody_there)
}

/// Whether a daemon had the question that will not answer it.
fn had_it(outcome: &Result<Answer, ClientError>) -> bool {
    match outcome {
        Ok(Answer::Failed(failed)) => failed.is_stopping(),
        Ok(_) => false,
        Err(error) => error.cut_off(),
    }
}

fn once(
    socket: &Path,
    frame: &RequestFrame,
    netns: Option<&Netns>,
    patience: Duration,
) -> Result<Answer, ClientError> {
    let begun = Instant::now();
    // A new one for each daemon: one that goes away may have asked by it, and the answers would be the next one's.
    let netlink = netns.and_then(Netns::netlink);
    let mut descriptors =
        netns.map(|netns| Descriptors { netns: netns.as_fd(), netlink: netlink.as_ref().map(AsFd::as_fd) });
    let mut answer = exchange(socket, frame, descriptors, patience)?;
    // The plugin is put in place before the daemon that it came with runs.
    if let Some(older) = answer.speaks_only(frame.protocol) {
        let mut frame = RequestFrame { protocol: older, ..frame.clone() };
        if older < NETLINK_SINCE {
            descriptors = descriptors.map(|came| Descriptors::of(came.netns));
        }
        let left = patience.saturating_sub(begun.elapsed());
        frame.patience_ms = millis(left);
        answer = exchange(socket, &frame, descriptors, left)?;
    }
    Ok(answer.answer)
}

/// As a daemon is told it, to which none would mean that it is told nothing.
fn millis(patience: Duration) -> u64 {
    u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1)
}
