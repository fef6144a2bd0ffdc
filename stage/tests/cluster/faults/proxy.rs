//! A proxy between one node's daemon and the API server, which fails on demand. It speaks TLS on either side, as HTTP/1.1, which is
//! what the daemon's client speaks with the server itself.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use crate::api::Server;
use crate::door::Net;

type Failure = io::Error;
type Answer = Response<UnsyncBoxBody<Bytes, Failure>>;

/// A watch's word that it has to be listed anew.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"too old resource version","reason":"Expired","code":410}}"#,
    "\n"
);

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }

    pub(crate) fn is_list(&self) -> bool {
        self.method == "GET" && !self.is_watch()
    }

    /// What is listed or watched, however.
    fn objects(&self) -> String {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let selector = query.split('&').find(|part| part.starts_with("fieldSelector=")).unwrap_or_default();
        format!("{path}?{selector}")
    }

    pub(crate) fn is_later_page(&self) -> bool {
        self.target.contains("continue=")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// It is passed on.
    Pass,
    /// It is passed on, and the server's clock is this one.
    Dated(&'static str),
    /// Nothing ever comes.
    Silence,
    /// The head of an answer comes, and nothing more.
    HeadOnly,
    /// This comes, and nothing reaches the server.
    Answer { status: u16, retry_after: Option<&'static str>, body: String },
    /// Half of the answer's body comes, and then the connection breaks.
    Half,
    /// As a cache would have it that does not go on: a list is the first that was ever given, a watch from there says nothing, and
    /// one from anywhere else is sent back to the list.
    OldCache,
}

/// Who answers the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// Somebody.
    Open,
    /// Nobody.
    Refusing,
    /// Connections are made, and then nothing is said on them, old ones included.
    Mute,
}

/// What is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) port: Port,
    /// Whether the certificate is one of the future.
    pub(crate) not_yet_valid: bool,
    pub(crate) act: fn(&Asked) -> Act,
}

impl Fault {
    pub(crate) const NONE: Self = Self { port: Port::Open, not_yet_valid: false, act: |_| Act::Pass };

    pub(crate) const fn of(act: fn(&Asked) -> Act) -> Self {
        Self { act, ..Self::NONE }
    }
}

/// What becomes of connections that stand when the weather changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// They stay.
    Stay,
    /// They are broken.
    Break,
    /// Nothing is said on them ever again, and nobody is told: a balancer that has lost its table.
    Die,
}

#[derive(Clone, Copy)]
struct Weather {
    fault: Fault,
    /// Connections of earlier rounds are older than the last change.
    round: u64,
    broken_before: u64,
    dead_before: u64,
}

struct Shared {
    weather: watch::Sender<Weather>,
    server: Server,
    asked: Mutex<Vec<Asked>>,
    /// The server's own answers, by status.
    answers: Mutex<BTreeMap<u16, usize>>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The first answer to each list.
    lists: BTreeMap<String, Bytes>,
    /// What was told from memory, in which round.
    told: BTreeSet<(u64, String)>,
}

/// The proxy. Ends when dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    runtime: Option<Runtime>,
}

impl Proxy {
    /// On the loopback address of a node's network namespace.
    pub(crate) fn start(net: Net, server: Server, certificates: &Certificates) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let weather = Weather { fault: Fault::NONE, round: 0, broken_before: 0, dead_before: 0 };
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(weather),
            server,
            asked: Mutex::default(),
            answers: Mutex::default(),
            memory: Mutex::default(),
        });
        let listener = net.listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptors = [certificates.acceptor(false), certificates.acceptor(true)];
        runtime.spawn(serve(shared.clone(), net, listener, acceptors));
        Self { shared, port, runtime: Some(runtime) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather.
    pub(crate) fn set(&self, fault: Fault, standing: Standing) {
        self.shared.weather.send_modify(|weather| {
            weather.fault = fault;
            weather.round += 1;
            match standing {
                Standing::Stay => {}
                Standing::Break => weather.broken_before = weather.round,
                Standing::Die => weather.dead_before = weather.round,
            }
        });
    }

    /// How many answers of this status the server gave so far.
    pub(crate) fn answers(&self, status: u16) -> usize {
        self.shared.answers.lock().unwrap().get(&status).copied().unwrap_or_default()
    }

    /// How many requests came so far that are like this.
    pub(crate) fn count(&self, is_like: impl Fn(&Asked) -> bool) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|asked| is_like(asked)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(shared: Arc<Shared>, net: Net, listener: std::net::TcpListener, acceptors: [TlsAcceptor; 2]) {
    let address = listener.local_addr().unwrap();
    let mut first = Some(listener);
    let mut weather = shared.weather.subscribe();
    let mut connections = JoinSet::new();
    loop {
        weather.wait_for(|weather| weather.fault.port != Port::Refusing).await.unwrap();
        let listener = first.take().unwrap_or_else(|| net.listen(address.port()).unwrap());
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.unwrap();
                    connections.spawn(connection(shared.clone(), stream, acceptors.clone()));
                }
                _refused = weather.wait_for(|weather| weather.fault.port == Port::Refusing) => break,
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, acceptors: [TlsAcceptor; 2]) {
    let mut weather = shared.weather.subscribe();
    let now = *weather.borrow();
    let served = serve_one(shared, now.round, stream, acceptors);
    tokio::select! {
        _however_it_ends = served => {}
        _broken = weather.wait_for(|weather| now.round < weather.broken_before) => {}
    }
}

async fn serve_one(shared: Arc<Shared>, round: u64, stream: TcpStream, acceptors: [TlsAcceptor; 2]) {
    let mut weather = shared.weather.subscribe();
    while_mute(&mut weather, round).await;
    let acceptor = &acceptors[usize::from(weather.borrow().fault.not_yet_valid)];
    // Who does not trust the certificate goes.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { answer(&shared, round, request).await }
    });
    let _broken_on_purpose =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Goes on when something may be said on a connection that was made in this round.
async fn while_mute(weather: &mut watch::Receiver<Weather>, round: u64) {
    let speaks = |weather: &Weather| weather.fault.port != Port::Mute && round >= weather.dead_before;
    if weather.wait_for(speaks).await.is_err() {
        pending::<Infallible>().await;
    }
}

async fn answer(shared: &Shared, round: u64, request: Request<Incoming>) -> Result<Answer, Failure> {
    let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let asked = Asked { method: request.method().to_string(), target };
    shared.asked.lock().unwrap().push(asked.clone());
    let mut weather = shared.weather.subscribe();
    while_mute(&mut weather, round).await;
    let act = (weather.borrow().fault.act)(&asked);
    match act {
        Act::Pass => pass(shared, weather, round, &asked, request).await,
        Act::Dated(date) => {
            let mut answer = pass(shared, weather, round, &asked, request).await?;
            answer.headers_mut().insert(DATE, HeaderValue::from_static(date));
            Ok(answer)
        }
        Act::Silence => Ok(pending().await),
        Act::HeadOnly => Ok(silent()),
        Act::Answer { status, retry_after, body } => {
            let mut answer = json(StatusCode::from_u16(status).unwrap(), whole(body.into()));
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
            }
            Ok(answer)
        }
        Act::Half => {
            let (head, body) = forward(shared, request).await?.into_parts();
            let mut body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            body.truncate(body.len() / 2);
            let frames: [Result<Frame<Bytes>, Failure>; 2] =
                [Ok(Frame::data(body)), Err(io::Error::other("cut"))];
            let body = StreamBody::new(futures_util::stream::iter(frames));
            Ok(without_length(Response::from_parts(head, UnsyncBoxBody::new(body))))
        }
        Act::OldCache => old_cache(shared, &asked),
    }
}

fn old_cache(shared: &Shared, asked: &Asked) -> Result<Answer, Failure> {
    let mut memory = shared.memory.lock().unwrap();
    let round = shared.weather.borrow().round;
    if asked.is_list() {
        let body = memory
            .lists
            .get(&asked.target)
            .cloned()
            .ok_or_else(|| io::Error::other("nothing is remembered of it"))?;
        memory.told.insert((round, asked.objects()));
        return Ok(json(StatusCode::OK, whole(body)));
    }
    if memory.told.contains(&(round, asked.objects())) {
        return Ok(silent());
    }
    Ok(json(StatusCode::OK, whole(EXPIRED.into())))
}

/// A head, and then nothing.
fn silent() -> Answer {
    let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Failure>>());
    json(StatusCode::OK, UnsyncBoxBody::new(body))
}

/// The server's answer, as it comes; nothing of it passes while nothing may be said.
async fn pass(
    shared: &Shared,
    weather: watch::Receiver<Weather>,
    round: u64,
    asked: &Asked,
    request: Request<Incoming>,
) -> Result<Answer, Failure> {
    let (head, body) = forward(shared, request).await?.into_parts();
    *shared.answers.lock().unwrap().entry(head.status.as_u16()).or_default() += 1;
    if asked.is_list() && head.status.is_success() {
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        shared.memory.lock().unwrap().lists.entry(asked.target.clone()).or_insert_with(|| body.clone());
        return Ok(without_length(Response::from_parts(head, whole(body))));
    }
    let frames = futures_util::stream::unfold((body, weather), move |(mut body, mut weather)| async move {
        let frame = body.frame().await?;
        while_mute(&mut weather, round).await;
        Some((frame.map_err(io::Error::other), (body, weather)))
    });
    Ok(without_length(Response::from_parts(head, UnsyncBoxBody::new(StreamBody::new(frames)))))
}

async fn forward(shared: &Shared, request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let server = tokio::time::timeout(Duration::from_secs(10), shared.server.connect()).await?;
    let mut server = server.map_err(io::Error::other)?;
    let mut request = Request::from_parts(head, Full::new(body));
    request.headers_mut().remove(TRANSFER_ENCODING);
    let answer = server.send_request(request).await.map_err(io::Error::other)?;
    // Its connection ends once nobody can ask on it any more, and the answer has been read.
    Ok(answer)
}

fn json(status: StatusCode, body: UnsyncBoxBody<Bytes, Failure>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, Failure> {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn without_length(mut answer: Answer) -> Answer {
    answer.headers_mut().remove(CONTENT_LENGTH);
    answer.headers_mut().remove(TRANSFER_ENCODING);
    answer
}
