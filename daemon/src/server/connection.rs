//! One connection: who asks, what is asked, the answer. Nothing that a client does harms anybody but itself.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::config::Config;
use holdfast_wire::fd;
use holdfast_wire::frame::{FrameDecoder, MAX_REQUEST};
use holdfast_wire::message::{Answer, AnswerFrame, MAX_PROTOCOL, RequestFrame};
use holdfast_wire::peer::Peer;
use holdfast_wire::spool::Spool;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::{Backend, answer};

/// How long a client may take to send its request, or to take its answer. It is on the same host.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn serve(
    mut stream: UnixStream,
    config: Arc<Config>,
    backend: watch::Receiver<Backend>,
    spools: Arc<[Spool; 2]>,
) {
    match Peer::of(&stream) {
        Ok(peer) if peer.may_command(nix::unistd::geteuid().as_raw()) => {}
        Ok(peer) => {
            tracing::warn!(
                uid = peer.uid,
                pid = peer.pid,
                "a stranger on the plugin's socket was turned away"
            );
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "a client whose identity the kernel does not tell was turned away");
            return;
        }
    }
    let frame = match tokio::time::timeout(CLIENT_PATIENCE, receive(&stream)).await {
        Ok(Ok(frame)) => frame,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a request could not be read");
            return;
        }
        Err(_elapsed) => {
            tracing::warn!("a client did not send its request in time");
            return;
        }
    };
    let (protocol, answer) = match RequestFrame::decode(&frame.body) {
        Ok(request) => {
            let protocol = request.protocol;
            let backend = backend.borrow().clone();
            (protocol, answer::answer(request, frame.descriptor, &config, backend, &*spools).await)
        }
        Err(error) => {
            tracing::warn!(%error, "a request could not be understood");
            (MAX_PROTOCOL, error.answer())
        }
    };
    if let Err(error) = send(&mut stream, answer, protocol).await {
        // A plugin that was killed meanwhile: the runtime's DEL follows.
        tracing::info!(%error, "an answer was not taken");
    }
}

struct Frame {
    body: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

async fn receive(stream: &UnixStream) -> io::Result<Frame> {
    let mut decoder = FrameDecoder::new(MAX_REQUEST);
    let mut descriptor = None;
    let mut buffer = vec![0; 8192];
    loop {
        let received = stream.async_io(Interest::READABLE, || fd::receive(stream, &mut buffer)).await?;
        if received.bytes == 0 {
            decoder.finish().map_err(io::Error::other)?;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        descriptor = descriptor.or(received.descriptor);
        decoder.push(&buffer[..received.bytes]);
        if let Some(body) = decoder.next_frame().map_err(io::Error::other)? {
            return Ok(Frame { body, descriptor });
        }
    }
}

async fn send(stream: &mut UnixStream, answer: Answer, protocol: u16) -> io::Result<()> {
    let frame = AnswerFrame::new(answer, protocol, env!("CARGO_PKG_VERSION"));
    let bytes = frame.encode().map_err(io::Error::other)?;
    tokio::time::timeout(CLIENT_PATIENCE, stream.write_all(&bytes)).await?
}
