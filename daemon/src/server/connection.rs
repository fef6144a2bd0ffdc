//! One connection: who asks, what is asked, the answer. Nothing that a client does harms anybody but itself: it has a
//! few seconds to ask, a bounded buffer, at most two descriptors, and is turned away if it may not change networks. What it
//! has sent is closed and looked at [aside], as is the connection, on which there may be more.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use holdfast_wire::code;
use holdfast_wire::fd::{self, Descriptors};
use holdfast_wire::frame::{FrameDecoder, FrameError, MAX_REQUEST};
use holdfast_wire::message::{Answer, AnswerFrame, Failed, MAX_PROTOCOL, RequestFrame};
use holdfast_wire::peer::Peer;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::SemaphorePermit;

use super::{Desk, answer, peer};
#[cfg(doc)]
use crate::aside;
use crate::aside::Held;

/// How long a client may take to send its request, or to take its answer. It is on the same host.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// Requests of up to this many bytes are read as they come; larger ones, which only GC makes, a few at a time.
const SMALL: usize = 64 * 1024;

pub(super) async fn serve(mut stream: Held<UnixStream>, desk: Arc<Desk>) {
    match Peer::of(&*stream).and_then(|peer| Ok((peer, peer::may_command(&*stream, peer)?))) {
        Ok((_, Ok(()))) => {}
        Ok((peer, Err(why))) => {
            tracing::warn!(
                uid = peer.uid,
                pid = peer.pid,
                %why,
                "a stranger on the plugin's socket was turned away"
            );
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "a client whose identity the kernel does not tell was turned away");
            return;
        }
    }
    let (protocol, answer) = match tokio::time::timeout(CLIENT_PATIENCE, receive(&stream, &desk)).await {
        Ok(Ok(Some(frame))) => answer_to(frame, &desk).await,
        // It said nothing and went away, as one does that only looks whether somebody listens.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a request could not be read");
            (MAX_PROTOCOL, refusal("the request could not be read", error.to_string()))
        }
        Err(_elapsed) => {
            tracing::warn!("a client did not send its request in time");
            (MAX_PROTOCOL, refusal("the request did not come in time", String::new()))
        }
    };
    if let Err(error) = send(&mut stream, answer, protocol).await {
        // A plugin that was killed meanwhile: the runtime's DEL follows.
        tracing::info!(%error, "an answer was not taken");
    }
}

async fn answer_to(frame: Frame, desk: &Desk) -> (u16, Answer) {
    match RequestFrame::decode(&frame.body) {
        Ok(request) => {
            // What a large body took is given back before the work begins.
            drop(frame.body);
            (request.protocol, answer::answer(request, frame.descriptors, desk).await)
        }
        Err(error) => {
            let said = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, said = start_of(&said), "a request could not be understood");
            (MAX_PROTOCOL, error.answer())
        }
    }
}

/// As much as is told of what a client sent: it may be a mebibyte.
pub(super) fn start_of(text: &str) -> &str {
    const TOLD: usize = 256;
    &text[..text.floor_char_boundary(TOLD)]
}

/// Why a request cannot be taken.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("more descriptors came with it than a request has")]
    Descriptors,
    #[error("descriptors were lost on the way: this process has no room for more")]
    Lost,
}

struct Frame {
    body: Vec<u8>,
    descriptors: Option<Held<Descriptors<OwnedFd>>>,
}

/// Reads one frame; `None` when the client went away before it said anything.
async fn receive(stream: &UnixStream, desk: &Desk) -> Result<Option<Frame>, Unreadable> {
    let mut decoder = FrameDecoder::new(MAX_REQUEST);
    let mut descriptors = None;
    let mut buffer = vec![0; 4096];
    let mut taken = 0;
    let mut large: Option<SemaphorePermit<'_>> = None;
    loop {
        let received = stream.async_io(Interest::READABLE, || fd::receive(stream, &mut buffer)).await?;
        let (came, surplus) = (received.descriptors.map(Held::new), Held::new(received.surplus));
        if received.lost {
            return Err(Unreadable::Lost);
        }
        if !surplus.is_empty() || (descriptors.is_some() && came.is_some()) {
            return Err(Unreadable::Descriptors);
        }
        descriptors = descriptors.or(came);
        if received.bytes == 0 {
            return if taken == 0 { Ok(None) } else { Err(decoder.truncated().into()) };
        }
        taken += received.bytes;
        decoder.push(&buffer[..received.bytes]);
        if let Some(body) = decoder.next_frame()? {
            return Ok(Some(Frame { body, descriptors }));
        }
        if large.is_none() && taken > SMALL {
            // The semaphore is never closed.
            large = desk.large.acquire().await.ok();
        }
    }
}

async fn send(stream: &mut UnixStream, answer: Answer, protocol: u16) -> io::Result<()> {
    let frame = AnswerFrame::new(answer, protocol, env!("CARGO_PKG_VERSION"));
    let bytes = frame.encode().map_err(io::Error::other)?;
    tokio::time::timeout(CLIENT_PATIENCE, stream.write_all(&bytes)).await?
}

fn refusal(msg: &str, details: String) -> Answer {
    Answer::Failed(Failed { code: code::PROTOCOL, msg: msg.to_owned(), details, retry: false })
}
