//! One small HTTP/1.1 server for all faces: an accept loop that owns its connections.
//!
//! It exists beside a web framework for one reason: a handler may answer with *nothing*, and then the connection is
//! closed without a byte, as when an answer is lost on the network (fault F06).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::resettable::Resettable;

/// Largest request body that is read. EC2's largest requests are a few kilobytes.
const LARGEST_BODY: usize = 1 << 20;

/// How long a client may take to send its request head, then its body, and then what nobody reads of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much is taken of a request that was answered before it was read. Whoever sends more than that does not learn why
/// it is refused.
const LINGER: usize = 16 * LARGEST_BODY;

/// What a handler makes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer.
    Answer(Response<Full<Bytes>>),
    /// No answer: close the connection without a byte.
    Hangup,
    /// The first so many bytes of an answer, its head included and never all of it; then reset the connection.
    Reset(Response<Full<Bytes>>, u32),
}

impl Reply {
    /// Reset the connection without a byte.
    pub(crate) fn reset() -> Self {
        Self::Reset(Response::default(), 0)
    }

    /// The same reply, its connection reset after so many bytes.
    pub(crate) fn reset_after(self, bytes: u32) -> Self {
        match self {
            Self::Answer(response) | Self::Reset(response, _) => {
                // A head has bytes too: so many are less than the whole.
                let body = response.body().size_hint().lower();
                Self::Reset(response, bytes.min(u32::try_from(body).unwrap_or(u32::MAX)))
            }
            Self::Hangup => Self::reset(),
        }
    }

    /// What a client in the same process gets: an answer that arrives whole, or none.
    pub(crate) fn whole(self) -> Option<Response<Full<Bytes>>> {
        match self {
            Self::Answer(response) => Some(response),
            Self::Hangup | Self::Reset(..) => None,
        }
    }
}

/// Answers requests. One handler serves all connections of a listener.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request whose body has been read.
    fn handle(&self, request: Request<Bytes>) -> impl Future<Output = Reply> + Send;
}

/// A whole answer.
pub(crate) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Serves `listener` until the returned future is dropped; its connections end with it.
///
/// The listener may come from another network namespace than the calling thread's: a socket keeps the one it was
/// made in. Errors: only what making the listener asynchronous gives; a failing accept is retried.
pub(crate) async fn serve<H: Handler>(listener: std::net::TcpListener, handler: H) -> io::Result<()> {
    let handler = Arc::new(handler);
    serve_by_peer(listener, move |_, _| Some(Arc::clone(&handler))).await
}

/// As [`serve`], with a handler that is chosen for each connection by who is at its other end. `None`: the connection
/// closes without a byte.
pub(crate) async fn serve_by_peer<H: Handler>(
    listener: std::net::TcpListener,
    mut choose: impl FnMut(&TcpStream, SocketAddr) -> Option<Arc<H>>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Small answers to small questions: waiting to fill a segment only adds latency.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY refused");
                    }
                    if let Some(handler) = choose(&stream, peer) {
                        connections.spawn(connection(stream, handler));
                    }
                }
                Err(error) => {
                    // Out of descriptors, or a connection reset in the queue: both pass.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Why a connection ends early.
#[derive(Debug, thiserror::Error)]
#[error("answer withheld")]
struct Withheld;

async fn connection<H: Handler>(stream: TcpStream, handler: Arc<H>) {
    let (stream, reset) = Resettable::new(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, reset) = (Arc::clone(&handler), reset.clone());
        // Boxed, so that the stream can be taken out of the connection when it is over.
        Box::pin(async move {
            let request = match read_whole(request).await {
                Ok(request) => request,
                Err(status) => return Ok(answer(status, "text/plain", "")),
            };
            match handler.handle(request).await {
                Reply::Answer(response) => Ok(response),
                Reply::Hangup => Err(Withheld),
                Reply::Reset(response, bytes) => {
                    reset.after(bytes);
                    if bytes == 0 { Err(Withheld) } else { Ok(response) }
                }
            }
        })
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Whoever is gone after the last byte of its request has made it all the same, read by then or not.
        .half_close(true)
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown()
        .await;
    let ended = match served {
        Ok(parts) => close(parts.io.into_inner()).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}

/// Closes a connection behind its last answer. What is still on its way from the client is taken, up to a bound: the
/// kernel meets it with a reset otherwise, and a client that is reset does not read the answer.
async fn close(mut stream: Resettable) -> io::Result<()> {
    stream.shutdown().await?;
    let (mut rest, mut nobodys) = (stream.take(LINGER as u64), tokio::io::sink());
    let taken = tokio::io::copy(&mut rest, &mut nobodys);
    match tokio::time::timeout(PATIENCE, taken).await {
        Ok(taken) => taken.map(drop),
        // It neither sends nor closes: it has had time to read.
        Err(_) => Ok(()),
    }
}

async fn read_whole(request: Request<Incoming>) -> Result<Request<Bytes>, StatusCode> {
    let (head, body) = request.into_parts();
    // A length that is told is judged before anything is read; one that is not, while reading.
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let reading = Limited::new(body, LARGEST_BODY).collect();
    let Ok(read) = tokio::time::timeout(PATIENCE, reading).await else {
        return Err(StatusCode::REQUEST_TIMEOUT);
    };
    match read {
        Ok(body) => Ok(Request::from_parts(head, body.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}
