//! Serving over HTTP to whoever can reach the port: pods among them. Whatever comes in, it costs a bounded number of
//! connections and bytes for a bounded time, and never the daemon. Nor does it cost others their answer: where there is no
//! room, the client that has been silent for longest makes it.
//!
//! By `hyper` itself: there are half a dozen fixed paths, and a router would bring nothing but crates. A connection serves one
//! request: a scraper comes twice a minute.

mod listener;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::place::Place;
use crate::site::{Page, Site};
use listener::{Listener, Stream};

/// Connections at once.
const CONNECTIONS: usize = 16;

/// How long a client may take to send its request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection may last, its answer taken included.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a request's head that are looked at.
const HEAD: usize = 16 * 1024;

/// How soon a place that cannot be had is tried again, the first time and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How soon accepting is tried again when it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves a site until it is told to stop. A place that is taken is told in the log and tried again: the daemon does its work
/// without.
pub async fn serve(what: &'static str, place: Place, site: Arc<impl Site>, stop: CancellationToken) {
    let serving = async {
        let (mut told, mut pause) = (String::new(), RETRY.0);
        let listener = loop {
            match Listener::bind(&place).await {
                Ok(listener) => break listener,
                Err(error) => {
                    let cause = error.to_string();
                    if told != cause {
                        tracing::error!(%place, %cause, "{what} cannot be served; trying again");
                        told = cause;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        };
        tracing::info!(%place, "{what} is served");
        accept(&listener, site).await;
    };
    stop.run_until_cancelled(serving).await;
}

async fn accept(listener: &Listener, site: Arc<impl Site>) {
    let mut clients = Clients::default();
    loop {
        match listener.accept().await {
            Ok(Stream::Tcp(stream)) => clients.take(stream, Arc::clone(&site)),
            Ok(Stream::Unix(stream)) => clients.take(stream, Arc::clone(&site)),
            Err(error) => {
                // Out of descriptors, or a client that went away in the queue: both pass.
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        // Who comes has its turn before another one comes who might take its place.
        tokio::task::yield_now().await;
    }
}

/// Those who are connected, in the order in which they came.
#[derive(Default)]
struct Clients(VecDeque<Client>);

struct Client {
    connection: AbortHandle,
    /// Whether its request is there, which is answered within moments.
    has_asked: Arc<AtomicBool>,
}

impl Clients {
    /// Serves another one.
    fn take(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, site: Arc<impl Site>) {
        self.0.retain(|client| !client.connection.is_finished());
        if self.0.len() >= CONNECTIONS {
            let silent = self.0.iter().position(|client| !client.has_asked.load(Ordering::Relaxed));
            if let Some(client) = self.0.remove(silent.unwrap_or(0)) {
                tracing::debug!("a client makes room");
                client.connection.abort();
            }
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let served = tokio::time::timeout(PATIENCE, connection(stream, site, Arc::clone(&has_asked)));
        let connection = tokio::spawn(async move {
            if served.await.is_err() {
                tracing::debug!("a client took too long");
            }
        });
        self.0.push_back(Client { connection: connection.abort_handle(), has_asked });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<impl Site>,
    has_asked: Arc<AtomicBool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let site = Arc::clone(&site);
        async move { answer(&request, &*site).await }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn answer(request: &Request<Incoming>, site: &impl Site) -> hyper::Result<Response<Full<Bytes>>> {
    let page = if matches!(*request.method(), Method::GET | Method::HEAD) {
        site.page(request.uri().path()).await
    } else {
        Page::words(StatusCode::METHOD_NOT_ALLOWED, "GET is all that is answered")
    };
    let mut response = Response::new(Full::new(page.body));
    *response.status_mut() = page.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    Ok(response)
}

#[cfg(test)]
mod tests;
