//! The connection to the API server: one request, one answer or one fault.

mod lines;

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, Client, ConfigExt};
use kube::config::{AuthInfo, Config};
use serde::de::DeserializeOwned;
use tower::{BoxError, ServiceBuilder};

use crate::asked::Asked;
use crate::deadline::{Deadlines, within};
use crate::fault::{ApiFault, Cause, classify, excerpt};
use crate::request::Prepared;

pub use lines::Lines;

/// More than any answer that is asked for here: a page of the largest objects that a store takes.
const LARGEST_ANSWER: usize = 64 << 20;
/// A connection keeps a buffer as large as the most that it has read at once. Hyper's own limit is 400 kB, which one list of
/// pods reaches, for as long as their watch stands.
const READ_AT_ONCE: usize = 64 << 10;
/// More than any refusal. Through the server others may answer, and many are asked at once.
const LARGEST_REFUSAL: usize = 64 << 10;

/// Where the API server is, and who asks.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// `https://` host and port.
    pub server: Uri,
    /// The certificates that it is trusted by, a file. Read anew now and then.
    pub ca_file: PathBuf,
    /// The file that holds the service account's token. Read anew now and then, since tokens are over after an hour, and when the
    /// server does not take the one that was read.
    pub token_file: PathBuf,
    /// The limits of every wait.
    pub deadlines: Deadlines,
}

/// Asks the API server. Every request is made once and has a deadline; what came of it is the answer or one [`ApiFault`].
#[derive(Clone)]
pub struct Door {
    settings: Arc<DoorSettings>,
    client: Arc<Mutex<Numbered>>,
}

/// A client, and the how manieth it is.
#[derive(Clone)]
struct Numbered {
    number: u64,
    client: Client,
}

/// No door can be made from these settings.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the API server cannot be set up: {words}")]
pub struct NoDoor {
    /// What is wrong.
    words: String,
}

impl Door {
    /// Sets up the connection, and makes none yet. Within a runtime.
    pub fn open(settings: DoorSettings) -> Result<Self, NoDoor> {
        let client = Numbered { number: 0, client: client(&settings)? };
        Ok(Self { settings: Arc::new(settings), client: Arc::new(Mutex::new(client)) })
    }

    /// The limits of every wait.
    pub fn deadlines(&self) -> Deadlines {
        self.settings.deadlines
    }

    fn held(&self) -> Numbered {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client reads the token's file once a minute. One whose token is not taken is replaced by one that reads it now: there may
    /// be a new one. Of those who find that out at once, one does it.
    async fn renew(&self, refused: u64) {
        if self.held().number != refused {
            return;
        }
        // Files are read.
        let settings = Arc::clone(&self.settings);
        let Ok(Ok(client)) = tokio::task::spawn_blocking(move || client(&settings)).await else {
            // The one that there is serves on: it reads the files by itself.
            return;
        };
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if held.number == refused {
            *held = Numbered { number: refused + 1, client };
        }
    }

    /// Asks, and reads the whole answer.
    pub async fn ask<T: DeserializeOwned>(&self, request: Prepared) -> Result<T, ApiFault> {
        let Prepared { asked, http } = request;
        let answer = async {
            let response = self.send(http).await?;
            let body = whole(response.into_body(), LARGEST_ANSWER).await?;
            serde_json::from_slice(&body)
                .map_err(|error| Cause::Malformed(format!("{error}: {}", excerpt(&body))))
        };
        within(self.settings.deadlines.answer, answer)
            .await
            .flatten()
            .map_err(|cause| ApiFault { asked: Box::new(asked), cause })
    }

    /// Asks, and reads an answer of at most so many bytes, whatever it is.
    pub async fn fetch(&self, request: Prepared, largest: usize) -> Result<bytes::Bytes, ApiFault> {
        let Prepared { asked, http } = request;
        let answer = async { whole(self.send(http).await?.into_body(), largest).await };
        within(self.settings.deadlines.answer, answer).await.flatten().map_err(|cause| fault(&asked, cause))
    }

    /// Asks, and hands the answer over line by line.
    pub async fn listen(&self, request: Prepared) -> Result<Lines, ApiFault> {
        let Prepared { asked, http } = request;
        let answer = within(self.settings.deadlines.answer, self.send(http)).await.flatten();
        match answer {
            Ok(response) => Ok(Lines::new(asked, response.into_body(), self.settings.deadlines.silence)),
            Err(cause) => Err(fault(&asked, cause)),
        }
    }

    /// An answer that is a success.
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Body>, Cause> {
        let Numbered { number, client } = self.held();
        let response = client.send(request.map(Body::from)).await.map_err(|error| not_answered(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        // An answer that breaks off is told by what came of its head.
        let body = whole(body, LARGEST_REFUSAL).await.unwrap_or_default();
        let cause = classify(head.status, &head.headers, &body);
        if matches!(cause, Cause::Unauthorized(_)) {
            self.renew(number).await;
        }
        Err(cause)
    }
}

fn client(settings: &DoorSettings) -> Result<Client, NoDoor> {
    let mut config = Config::new(settings.server.clone());
    config.root_cert_file = Some(settings.ca_file.clone());
    config.auth_info = AuthInfo {
        token_file: Some(settings.token_file.to_string_lossy().into_owned()),
        ..AuthInfo::default()
    };
    let agent = concat!("holdfast/", env!("CARGO_PKG_VERSION"));
    config.headers = vec![(http::header::USER_AGENT, HeaderValue::from_static(agent))];
    put_together(&config, settings.deadlines.connect)
        .map_err(|error| NoDoor { words: holdfast_model::chain(&error) })
}

/// Kube's own way to its client leaves the size of its buffers to hyper, and repeats what was refused.
fn put_together(config: &Config, connect: Duration) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut tls = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    tls.set_connect_timeout(Some(connect));
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http1_max_buf_size(READ_AT_ONCE)
        .build::<_, Body>(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

async fn whole(body: Body, largest: usize) -> Result<bytes::Bytes, Cause> {
    let collected = Limited::new(body, largest).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Cause::Malformed(format!("more than {largest} bytes"))
        } else {
            Cause::Broken(holdfast_model::chain(error.as_ref()))
        }
    })
}

/// A failure before an answer.
fn not_answered(error: &kube::Error) -> Cause {
    let words = holdfast_model::chain(error);
    if matches!(error, kube::Error::Auth(_)) {
        return Cause::Unauthorized(words);
    }
    // A connection that stood and broke is not told from one that broke after the last byte.
    let never_connected = find::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    if never_connected { Cause::NotReached(words) } else { Cause::Broken(words) }
}

/// The first error of this type in the chain.
fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|error| error.downcast_ref::<T>())
}

/// A fault of what was asked.
pub(crate) fn fault(asked: &Asked, cause: Cause) -> ApiFault {
    ApiFault { asked: Box::new(asked.clone()), cause }
}
