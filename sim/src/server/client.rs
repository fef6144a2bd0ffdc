//! The other end of the box's HTTP: one request on a connection of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// How long the box may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends `request` on `stream`, and reads the whole answer. A server that closes without one is an error whose
/// [`hyper::Error::is_incomplete_message`] says so.
pub async fn exchange<S>(stream: S, mut request: Request<String>) -> hyper::Result<Response<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Whatever ends it, the answer below fails with it and says why.
    let connection = tokio::spawn(connection);
    request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("box"));
    request.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("close"));
    let answer = async {
        let (head, body) = client.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    let answer = answer.await;
    connection.abort();
    answer
}

/// A client of the admin interface (see [`crate::admin`]) at its unix socket, for programs without a runtime.
#[derive(Debug, Clone)]
pub struct AdminClient {
    socket: PathBuf,
}

impl AdminClient {
    /// At this socket; nothing is connected yet.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Sends one request and waits for the answer: its status and its text. `body` is JSON, or nothing.
    pub fn send(&self, method: Method, path: &str, body: String) -> anyhow::Result<(StatusCode, String)> {
        let request = Request::builder().method(method).uri(path).body(body)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let answer = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
            let answer = answer.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??;
            let (head, body) = answer.into_parts();
            Ok((head.status, String::from_utf8(body.into())?))
        })
    }

    async fn exchange(&self, request: Request<String>) -> anyhow::Result<Response<Bytes>> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream =
            stream.with_context(|| format!("connect to {}: is the box up?", self.socket.display()))?;
        exchange(stream, request).await.context("wait for the answer")
    }
}
