//! Unary gRPC over a unix socket, as much of it as the runtime interface of Kubernetes needs.
//!
//! A call is one HTTP/2 request: the message behind a five-byte prefix, the outcome in the trailers. Each call has a
//! connection of its own, so callers may be many threads and the server may come and go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use percent_encoding::percent_decode;
use prost::Message;
use tokio::net::UnixStream;

/// Flag for compression, and length.
const PREFIX: usize = 5;

/// How much longer than the server the client waits, to hear from the server why it gave up.
const GRACE: Duration = Duration::from_secs(15);

/// An outcome that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// gRPC's code.
    pub(crate) code: u32,
    /// The server's words.
    pub(crate) message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    socket: PathBuf,
}

impl Server {
    /// At this socket; nothing is connected yet.
    pub(crate) fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Calls `service/method` and waits for the outcome. The server is told to give up after `patience`. An error that
    /// the server answered is a [`Refused`].
    pub(crate) fn call<A: Message + Default>(
        &self,
        path: &str,
        question: &impl Message,
        patience: Duration,
    ) -> anyhow::Result<A> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let call = self.exchange(path, question, patience);
        let answer = runtime.block_on(async { tokio::time::timeout(patience + GRACE, call).await });
        answer
            .with_context(|| format!("{path}: no answer within {} s", (patience + GRACE).as_secs()))?
            .with_context(|| path.to_owned())
    }

    async fn exchange<A: Message + Default>(
        &self,
        path: &str,
        question: &impl Message,
        patience: Duration,
    ) -> anyhow::Result<A> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.with_context(|| format!("connecting to {}", self.socket.display()))?;
        let (client, connection) = h2::client::handshake(stream).await?;
        // Ends with the connection, or with this call's runtime.
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://localhost/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", format!("{}m", patience.as_millis()))
            .body(())?;
        let (response, mut body) = client.ready().await?.send_request(request, false)?;
        body.send_data(framed(question)?, true)?;
        let (head, mut body) = response.await?.into_parts();
        // An answer without a message has no trailers of its own.
        outcome(&head.headers)?;
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            answer.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        ensure!(outcome(&trailers)?, "an answer without an outcome (HTTP {})", head.status);
        unframed(&answer)
    }
}

/// Whether the headers tell of a success; nothing yet is `false`.
fn outcome(headers: &HeaderMap) -> anyhow::Result<bool> {
    let Some(status) = headers.get("grpc-status") else { return Ok(false) };
    let code = status.to_str()?.parse()?;
    if code == 0 {
        return Ok(true);
    }
    let message = headers.get("grpc-message").map_or(&b""[..], |message| message.as_bytes());
    let message = percent_decode(message).decode_utf8_lossy().into_owned();
    bail!(Refused { code, message })
}

fn framed(message: &impl Message) -> anyhow::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(PREFIX + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len())?);
    message.encode(&mut frame)?;
    Ok(frame.freeze())
}

fn unframed<A: Message + Default>(frame: &[u8]) -> anyhow::Result<A> {
    let (prefix, content) = frame.split_at_checked(PREFIX).context("an answer without a message")?;
    ensure!(prefix[0] == 0, "a compressed answer to a request that allows none");
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    ensure!(content.len() == length as usize, "{} bytes of a message of {length}", content.len());
    Ok(A::decode(content)?)
}
