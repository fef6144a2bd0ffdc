//! One gRPC call over a unix socket, on the HTTP/2 that is in the tree: a request without fields, and a stream of messages.

use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::deadline::within;
use crate::fault::Cause;

/// A message's head: whether it is compressed, and how long it is.
const HEAD: usize = 5;
/// More than any pod takes.
const LONGEST: usize = 16 << 20;

/// The messages of an answer.
pub(super) struct Messages {
    body: Incoming,
    read: BytesMut,
    /// Drives the connection. It ends with it.
    connection: JoinHandle<()>,
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Messages {
    /// Makes the call.
    pub(super) async fn ask(socket: &Path, method: &str, limit: Duration) -> Result<Self, Cause> {
        within(limit, async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|error| Cause::NotReached(format!("{}: {error}", socket.display())))?;
            let broken = |error: hyper::Error| Cause::Broken(holdfast_model::chain(&error));
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(broken)?;
            let connection = tokio::spawn(async move {
                // Whoever reads the body hears of it too.
                let _told_there = connection.await;
            });
            let request = Request::post(format!("http://kubelet{method}"))
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Full::new(Bytes::from_static(&[0; HEAD])))
                .map_err(|error| Cause::Refused(error.to_string()))?;
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(broken)?;
            if let Some(cause) = failure(answer.headers()) {
                return Err(cause);
            }
            Ok(Self { body: answer.into_body(), read: BytesMut::new(), connection })
        })
        .await
        .flatten()
    }

    /// The next message, or nothing when the answer has ended well.
    pub(super) async fn next(&mut self, limit: Duration) -> Result<Option<Bytes>, Cause> {
        within(limit, self.read_one()).await.flatten()
    }

    async fn read_one(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            if let Some(head) = self.read.first_chunk::<HEAD>() {
                let [is_compressed, length @ ..] = *head;
                let length = u32::from_be_bytes(length) as usize;
                if is_compressed != 0 || length > LONGEST {
                    return Err(Cause::Malformed(format!(
                        "a message of {length} bytes, compressed or too long"
                    )));
                }
                if self.read.len() >= HEAD + length {
                    self.read.advance(HEAD);
                    return Ok(Some(self.read.split_to(length).freeze()));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Cause::Broken(holdfast_model::chain(&error))),
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        return failure(trailers).map_or(Ok(None), Err);
                    }
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

/// What gRPC's own status means, where it is no success.
fn failure(headers: &HeaderMap) -> Option<Cause> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let words = text("grpc-message").to_owned();
    match text("grpc-status") {
        "" | "0" => None,
        "7" | "16" => Some(Cause::Refused(words)),
        "8" => Some(Cause::Busy { retry_after: None }),
        // It has just started, and does not know its pods yet.
        "9" => Some(Cause::NotReady(words)),
        "12" => Some(Cause::NotServed),
        status => Some(Cause::Failing { status: status.parse().unwrap_or(0), words }),
    }
}
