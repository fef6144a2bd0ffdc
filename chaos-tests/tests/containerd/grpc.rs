//! Calls of gRPC over a unix socket: tonic's client on a connection of hyper's.
//!
//! Each call has a connection of its own, so callers may be many threads and the server may come and go. Tonic's own
//! transport would give up at the very instant at which it tells the server to: then nobody hears why.

use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::{self, Uri, uri::PathAndQuery};
use tonic::codegen::{BoxFuture, Service};
use tonic_prost::ProstCodec;

/// How much longer than the server the client waits, to hear from the server why it gave up.
const GRACE: Duration = Duration::from_secs(15);

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
    /// the server answered is a [`tonic::Status`].
    pub(crate) fn call<A: Message + Default + 'static>(
        &self,
        path: &str,
        question: impl Message + 'static,
        patience: Duration,
    ) -> anyhow::Result<A> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let call = self.exchange(path, question, patience);
        let answer = runtime.block_on(async { tokio::time::timeout(patience + GRACE, call).await });
        answer
            .with_context(|| format!("{path}: no answer within {} s", (patience + GRACE).as_secs()))?
            .with_context(|| path.to_owned())
    }

    async fn exchange<Q: Message + 'static, A: Message + Default + 'static>(
        &self,
        path: &str,
        question: Q,
        patience: Duration,
    ) -> anyhow::Result<A> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.with_context(|| format!("connecting to {}", self.socket.display()))?;
        let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Ends with the connection, or with this call's runtime.
        tokio::spawn(connection);
        let mut client = Grpc::with_origin(Connection(client), Uri::from_static("http://localhost"));
        client.ready().await?;
        let mut request = Request::new(question);
        request.set_timeout(patience);
        let path = PathAndQuery::try_from(format!("/{path}"))?;
        Ok(client.unary(request, path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }
}

/// A connection as tonic's client takes it.
struct Connection(SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
