//! One question to the daemon, with the time that each command may take.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use holdfast_wire::client::{ClientError, exchange};
use holdfast_wire::message::{Answer, Request, RequestFrame};

use crate::VERSION;

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

/// Asks the daemon at `socket`.
pub(crate) fn daemon(
    socket: &Path,
    request: Request,
    netns: Option<&File>,
    patience: Duration,
) -> Result<Answer, ClientError> {
    let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let frame = RequestFrame::new(request, VERSION, patience_ms);
    exchange(socket, &frame, netns.map(AsFd::as_fd), patience).map(|answer| answer.answer)
}
