//! The API server, asked as the cluster's administrator, many times a second.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::door::Net;
use crate::rig::Stage;

/// How long an answer may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Side by side, where many are asked for.
const CONNECTIONS: usize = 8;

/// Where the API server is, and how its certificate is judged.
#[derive(Clone)]
pub(crate) struct Server {
    net: Net,
    address: SocketAddr,
    tls: TlsConnector,
}

impl Server {
    /// Of a stage that is up, reached from a namespace.
    pub(crate) fn of(stage: &Stage, net: Net) -> Self {
        let kubeconfig = kubeconfig(stage);
        let url = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap();
        let mut trusted = RootCertStore::empty();
        trusted.add(certificate(&stage.folder().join("control/ca.crt"))).unwrap();
        let config = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let address = url.trim_start_matches("https://").parse().unwrap();
        Self { net, address, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// A connection of its own.
    pub(crate) async fn connect(
        &self,
    ) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = self.net.connect(self.address)?;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let stream = self.tls.connect(ServerName::IpAddress(self.address.ip().into()), stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            let _ends_with_its_sender = connection.await;
        });
        Ok(sender)
    }
}

pub(crate) fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn kubeconfig(stage: &Stage) -> Value {
    serde_json::from_slice(&std::fs::read(stage.folder().join("admin.kubeconfig")).unwrap()).unwrap()
}

/// The administrator.
pub(crate) struct Api {
    server: Server,
    token: String,
    runtime: Runtime,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    kind: &'static str,
    body: Option<Value>,
}

impl Ask {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), kind: "", body: None }
    }

    pub(crate) fn make(path: &str, body: Value) -> Self {
        Self { method: Method::POST, path: path.to_owned(), kind: "application/json", body: Some(body) }
    }

    pub(crate) fn merge(path: &str, body: Value) -> Self {
        Self {
            method: Method::PATCH,
            path: path.to_owned(),
            kind: "application/merge-patch+json",
            body: Some(body),
        }
    }

    pub(crate) fn strategic(path: &str, body: Value) -> Self {
        Self { kind: "application/strategic-merge-patch+json", ..Self::merge(path, body) }
    }

    /// At once, without asking the node.
    pub(crate) fn delete(path: &str) -> Self {
        Self {
            method: Method::DELETE,
            path: path.to_owned(),
            kind: "application/json",
            body: Some(json!({ "gracePeriodSeconds": 1 })),
        }
    }
}

impl Api {
    /// Of a stage that is up.
    pub(crate) fn of(stage: &Stage) -> Self {
        let server = Server::of(stage, Net::of_control_plane(stage));
        let token = kubeconfig(stage)["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { server, token, runtime }
    }

    /// The answer, which is a success.
    pub(crate) fn ask(&self, ask: Ask) -> Value {
        let (status, answer) = self.try_ask(ask.clone());
        assert!((200..300).contains(&status), "{} {}: {status} {answer}", ask.method, ask.path);
        answer
    }

    /// The answer.
    pub(crate) fn try_ask(&self, ask: Ask) -> (u16, Value) {
        let asked = async {
            let mut connection = self.server.connect().await.unwrap();
            send(&mut connection, &self.token, ask).await
        };
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, asked).await.expect("the API server answers") })
    }

    /// Asks for all of them, several at once; each is a success.
    pub(crate) fn ask_all(&self, asks: Vec<Ask>) {
        let shares = shares(asks, CONNECTIONS);
        self.runtime.block_on(async {
            let mut working = JoinSet::new();
            for share in shares {
                let (server, token) = (self.server.clone(), self.token.clone());
                working.spawn(async move {
                    let mut connection = server.connect().await.unwrap();
                    for ask in share {
                        let what = format!("{} {}", ask.method, ask.path);
                        let (status, answer) = send(&mut connection, &token, ask).await;
                        assert!((200..300).contains(&status), "{what}: {status} {answer}");
                    }
                });
            }
            while let Some(done) = working.join_next().await {
                done.unwrap();
            }
        });
    }

    /// Waits until an object is as it should be; gives it.
    pub(crate) fn wait(
        &self,
        path: &str,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let (_, seen) = self.try_ask(Ask::get(path));
            if is_so(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < patience, "not within {patience:?}: {what}: {seen:#}");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

async fn send(connection: &mut SendRequest<Full<Bytes>>, token: &str, ask: Ask) -> (u16, Value) {
    let body = ask.body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(HOST, "api")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, ask.kind)
        .body(Full::from(body))
        .unwrap();
    connection.ready().await.unwrap();
    let answer = connection.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    (status, serde_json::from_slice(&body).unwrap_or_else(|_plain| text()))
}

fn shares<T>(all: Vec<T>, count: usize) -> Vec<Vec<T>> {
    let mut shares: Vec<Vec<T>> = (0..count).map(|_| Vec::new()).collect();
    for (place, one) in all.into_iter().enumerate() {
        shares[place % count].push(one);
    }
    shares
}
