//! A connection that can be reset in the middle of an answer, as a host that fails does, or a middlebox.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// When a connection is reset: after so many bytes more, or never. Clones are of the same connection.
#[derive(Debug, Clone)]
pub(super) struct Reset(Arc<AtomicU64>);

const NEVER: u64 = u64::MAX;

impl Reset {
    /// After so many bytes more that are written.
    pub(super) fn after(&self, bytes: u32) {
        self.0.store(bytes.into(), Ordering::Relaxed);
    }

    /// What may still be written; `None`: anything.
    fn left(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|left| *left != NEVER)
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct Resettable {
    stream: TcpStream,
    reset: Reset,
}

impl Resettable {
    pub(super) fn new(stream: TcpStream) -> (Self, Reset) {
        let reset = Reset(Arc::new(AtomicU64::new(NEVER)));
        (Self { stream, reset: reset.clone() }, reset)
    }
}

impl Drop for Resettable {
    fn drop(&mut self) {
        // Without it the other end would see an orderly close.
        if self.reset.left().is_some()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::warn!(%error, "a connection is closed, not reset");
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// Writes of several parts are not forwarded: whoever writes then joins them, and the bytes are counted at one place.
impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(left) = self.reset.left() else { return Pin::new(&mut self.stream).poll_write(cx, bytes) };
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..most]))?;
        self.reset.0.store(left.saturating_sub(written as u64), Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.reset.left() {
            Some(_) => Poll::Ready(Ok(())),
            None => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}
