//! A proxy in front of the API server that fails on demand. What it passes on goes over TLS; the door talks plain HTTP to it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::server::ApiServer;

pub(crate) const PROXY: &str = "http://127.0.0.1:8001";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, Failure>>;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing ever comes.
    Hang,
    /// So much of the body comes, and then the connection breaks.
    Cut(usize),
    /// This comes, and nothing reaches the server.
    Answer(u16, Vec<(&'static str, &'static str)>, String),
    /// The server does it, and nobody hears of it.
    Lose,
    /// It reaches the server when the first is told, whoever has given up on it by then; the second is told once it has.
    Late(Arc<Notify>, Arc<Notify>),
}

struct Rule {
    method: &'static str,
    part: &'static str,
    fault: Fault,
}

#[derive(Default)]
struct State {
    rules: VecDeque<Rule>,
    log: Vec<String>,
}

pub(crate) struct Proxy {
    client: Client,
    state: Arc<Mutex<State>>,
    running: Option<JoinSet<()>>,
}

impl Proxy {
    /// One that passes everything on.
    pub(crate) async fn start(server: &ApiServer) -> Self {
        let mut proxy = Self { client: server.client("").unwrap(), state: Arc::default(), running: None };
        proxy.open().await;
        proxy
    }

    /// Takes connections again.
    pub(crate) async fn open(&mut self) {
        let address: SocketAddr = PROXY.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let (client, state) = (self.client.clone(), self.state.clone());
        let mut running = JoinSet::new();
        running.spawn(async move {
            // Ends with its owner, and its connections with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (client, state) = (client.clone(), state.clone());
                let service = service_fn(move |request| serve(client.clone(), state.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    let _cut_on_purpose = connection.await;
                });
            }
        });
        self.running = Some(running);
    }

    /// Breaks all connections and refuses new ones.
    pub(crate) async fn close(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// What becomes of the next request of this method whose target has this part, once.
    pub(crate) fn next(&self, method: &'static str, part: &'static str, fault: Fault) {
        self.state.lock().unwrap().rules.push_back(Rule { method, part, fault });
    }

    /// Whether each of them had its turn.
    pub(crate) fn all_had_their_turn(&self) -> bool {
        self.state.lock().unwrap().rules.is_empty()
    }

    /// The requests so far of this method whose target has this part.
    pub(crate) fn requests(&self, method: &str, part: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.log.iter().filter(|line| line.starts_with(method) && line.contains(part)).cloned().collect()
    }
}

async fn serve(
    client: Client,
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    let line = format!("{} {}", request.method(), request.uri());
    let fault = {
        let mut state = state.lock().unwrap();
        state.log.push(line.clone());
        let place =
            state.rules.iter().position(|rule| line.starts_with(rule.method) && line.contains(rule.part));
        place.and_then(|place| state.rules.remove(place)).map(|rule| rule.fault)
    };
    match fault {
        None => forward(client, request).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Late(release, done)) => {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            tokio::spawn(async move {
                release.notified().await;
                let answer = pass_on(&client, head, body).await.map(|answer| answer.status());
                println!("a late {line} was answered with {answer:?}");
                done.notify_one();
            });
            std::future::pending().await
        }
        Some(Fault::Lose) => {
            forward(client, request).await?.into_body().collect().await?;
            Err("lost".into())
        }
        Some(Fault::Cut(most)) => {
            let (mut head, body) = forward(client, request).await?.into_parts();
            let mut body = body.collect().await?.to_bytes();
            assert!(body.len() > most, "there is nothing to cut from {} bytes", body.len());
            body.truncate(most);
            head.headers.remove(http::header::CONTENT_LENGTH);
            let frames: [Result<Frame<Bytes>, Failure>; 2] = [Ok(Frame::data(body)), Err("cut".into())];
            let body = StreamBody::new(futures_util::stream::iter(frames));
            Ok(Response::from_parts(head, UnsyncBoxBody::new(body)))
        }
        Some(Fault::Answer(status, headers, body)) => {
            let mut answer = Response::builder().status(StatusCode::from_u16(status).unwrap());
            for (name, value) in headers {
                answer = answer.header(name, value);
            }
            Ok(answer.body(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync())?)
        }
    }
}

async fn forward(client: Client, request: Request<Incoming>) -> Result<Answer, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    pass_on(&client, head, body).await
}

async fn pass_on(client: &Client, mut head: http::request::Parts, body: Bytes) -> Result<Answer, Failure> {
    head.headers.remove(http::header::HOST);
    let answer = client.send(Request::from_parts(head, Body::from(body))).await?;
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}
