//! The plugin's side of the protocol, blocking: connect, ask, wait, all within one deadline.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

use crate::fd::{self, Descriptors};
use crate::frame::{FrameDecoder, FrameError, MAX_ANSWER};
use crate::message::{AnswerFrame, RequestFrame};

/// Why there is no answer.
///
/// After [`Self::Unreachable`] and [`Self::TooLarge`] the request has had no effect; after any other the outcome is
/// unknown, and the daemon may still carry it out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or the socket cannot be used.
    #[error("no daemon at {}", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The request is over the protocol's limit.
    #[error("the request is too large")]
    TooLarge(#[source] FrameError),
    /// The daemon did not take the request.
    #[error("the daemon did not take the request")]
    Send(#[source] io::Error),
    /// No whole answer within the deadline.
    #[error("no answer from the daemon within {} ms", waited.as_millis())]
    TimedOut {
        /// The deadline.
        waited: Duration,
    },
    /// Reading the answer failed.
    #[error("the connection to the daemon broke")]
    Receive(#[source] io::Error),
    /// The daemon went away inside its answer, or before it.
    #[error(
        "the daemon went away before it had answered: it was stopped or has died, and its log says which"
    )]
    WentAway,
    /// The daemon's answer is no answer of ours.
    #[error("the daemon's answer is not one of the protocol")]
    Frame(#[source] FrameError),
    /// A whole frame that this plugin cannot read.
    #[error("the daemon's answer is not one that this plugin understands")]
    Malformed(#[source] serde_json::Error),
}

impl ClientError {
    /// Whether there was no daemon to ask, as there is none while it is restarted.
    pub fn nobody_there(&self) -> bool {
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Unreachable { source, .. } if kinds.contains(&source.kind()))
    }

    /// Whether the daemon was asked, or was being asked, when it went away.
    pub fn cut_off(&self) -> bool {
        matches!(self, Self::WentAway | Self::Send(_) | Self::Receive(_))
    }
}

/// Asks the daemon at `path` and waits for its answer until `patience` is over.
///
/// `descriptors` go along with the first byte. Nothing in here blocks past the deadline, not even a connect to a daemon
/// that no longer accepts, or an answer that comes a byte at a time.
pub fn exchange(
    path: &Path,
    request: &RequestFrame,
    descriptors: Option<Descriptors<BorrowedFd<'_>>>,
    patience: Duration,
) -> Result<AnswerFrame, ClientError> {
    let deadline = Deadline { end: Instant::now() + patience, patience };
    let bytes = request.encode().map_err(ClientError::TooLarge)?;
    let mut stream = open(path, &deadline)?;
    match write(&mut stream, &bytes, descriptors, &deadline) {
        Ok(()) => read(&mut stream, &deadline),
        Err(error @ ClientError::TimedOut { .. }) => Err(error),
        // A daemon that refuses a client answers and closes without reading on: its answer says more than our
        // broken pipe.
        Err(error) => read(&mut stream, &deadline).or(Err(error)),
    }
}

struct Deadline {
    end: Instant,
    patience: Duration,
}

impl Deadline {
    fn over(&self) -> ClientError {
        ClientError::TimedOut { waited: self.patience }
    }

    /// What is left, never zero: a zero timeout means none at all to the kernel, which counts in microseconds.
    fn left(&self) -> Result<Duration, ClientError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(self.over()) } else { Ok(left.max(Duration::from_micros(1))) }
    }
}

fn open(path: &Path, deadline: &Deadline) -> Result<UnixStream, ClientError> {
    let unreachable = |source: io::Error| ClientError::Unreachable { socket: path.to_owned(), source };
    let address = UnixAddr::new(path).map_err(|e| unreachable(e.into()))?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|e| unreachable(e.into()))?;
    loop {
        // Also bounds connect(2), which waits when the daemon's queue of connections is full.
        let left = deadline.left()?;
        let timeout = TimeVal::new(
            left.as_secs().try_into().unwrap_or(i64::MAX),
            i64::from(left.subsec_micros()).max(i64::from(left.as_secs() == 0)),
        );
        setsockopt(&socket, sockopt::SendTimeout, &timeout).map_err(|e| unreachable(e.into()))?;
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(deadline.over()),
            Err(errno) => return Err(unreachable(errno.into())),
        }
    }
}

fn write(
    stream: &mut UnixStream,
    bytes: &[u8],
    descriptors: Option<Descriptors<BorrowedFd<'_>>>,
    deadline: &Deadline,
) -> Result<(), ClientError> {
    let mut rest = bytes;
    let mut first = true;
    while !rest.is_empty() {
        stream.set_write_timeout(Some(deadline.left()?)).map_err(ClientError::Send)?;
        let outcome = if first { fd::send(stream, rest, descriptors) } else { stream.write(rest) };
        match outcome {
            Ok(0) => return Err(ClientError::Send(io::ErrorKind::WriteZero.into())),
            Ok(sent) => rest = &rest[sent..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(deadline.over()),
            Err(e) => return Err(ClientError::Send(e)),
        }
        first = false;
    }
    Ok(())
}

fn read(stream: &mut UnixStream, deadline: &Deadline) -> Result<AnswerFrame, ClientError> {
    let mut decoder = FrameDecoder::new(MAX_ANSWER);
    let mut buffer = [0; 4096];
    loop {
        if let Some(body) = decoder.next_frame().map_err(ClientError::Frame)? {
            return AnswerFrame::decode(&body).map_err(ClientError::Malformed);
        }
        stream.set_read_timeout(Some(deadline.left()?)).map_err(ClientError::Receive)?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ClientError::WentAway),
            Ok(got) => decoder.push(&buffer[..got]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(deadline.over()),
            Err(e) => return Err(ClientError::Receive(e)),
        }
    }
}

#[cfg(test)]
mod tests;
