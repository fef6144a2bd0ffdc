//! CloudWatch, as much of it as publishing figures takes: `PutMetricData` of Smithy's "RPC v2 CBOR" protocol, which current SDKs
//! speak. It keeps what it takes for who asks by the admin interface, and knows no statistics.
//!
//! It answers where EC2 does; the path tells requests apart.

mod cbor;
mod check;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::server::http::answer;

/// Where its operations are.
pub(crate) const OPERATIONS: &str = "/service/GraniteServiceVersion20100801/operation/";
/// As it is named in a signature's scope.
pub(crate) const SERVICE: &str = "monitoring";
const PROTOCOL: &str = "rpc-v2-cbor";
/// A request, unpacked.
const LARGEST: u64 = 1 << 20;
/// Requests that are remembered; the oldest goes first.
const REMEMBERED: usize = 1000;

/// A figure that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Datum {
    /// The metric's name.
    pub name: String,
    /// Its dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub timestamp: f64,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// A request that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Put {
    /// Who made it.
    pub caller: String,
    /// The namespace.
    pub namespace: String,
    /// The figures.
    pub data: Vec<Datum>,
}

/// A refusal that is to be given to whatever comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// The code, such as `Throttling` or `AccessDenied`.
    pub code: String,
    /// HTTP's status.
    pub status: u16,
    /// So often; without end where it is not given.
    #[serde(default)]
    pub count: Option<u32>,
}

/// What came so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// What was taken, the oldest first.
    pub taken: VecDeque<Put>,
    /// How many requests were refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// What is refused as long as this holds.
    pub refuse: Option<Refuse>,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Refusal {
    fn parameter(code: &str, message: String) -> Self {
        Self { code: code.to_owned(), status: 400, message }
    }

    /// One of EC2's face about who asks, in the words that this service has for it.
    pub(crate) fn of_stranger(code: &str, message: &str) -> Self {
        let code = match code {
            "AuthFailure" => "InvalidClientTokenId",
            "RequestExpired" => "ExpiredToken",
            other => other,
        };
        Self { code: code.to_owned(), status: 403, message: message.to_owned() }
    }
}

impl Seen {
    /// Forgets what came; an ordered refusal stays.
    pub(crate) fn forget(&mut self) {
        self.taken.clear();
        self.refused.clear();
    }

    /// Answers a request of this caller; `now` is since 1970.
    pub(crate) fn answer(
        &mut self,
        caller: Result<String, Refusal>,
        request: &Request<Bytes>,
        now: Duration,
    ) -> Response<Full<Bytes>> {
        let put = caller.and_then(|caller| {
            let (namespace, data) = read(request, now)?;
            self.ordered()?;
            Ok(Put { caller, namespace, data })
        });
        match put {
            Ok(put) => {
                if self.taken.len() == REMEMBERED {
                    self.taken.pop_front();
                }
                self.taken.push_back(put);
                reply(StatusCode::OK, &[0xa0])
            }
            Err(refusal) => {
                *self.refused.entry(refusal.code.clone()).or_insert(0) += 1;
                refused(&refusal)
            }
        }
    }

    /// A refusal that was asked for, if one is left.
    fn ordered(&mut self) -> Result<(), Refusal> {
        let Some(Refuse { code, status, count }) = &mut self.refuse else { return Ok(()) };
        let refusal = Refusal { code: code.clone(), status: *status, message: "as ordered".to_owned() };
        if let Some(left) = count {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.refuse = None;
            }
        }
        Err(refusal)
    }
}

fn read(request: &Request<Bytes>, now: Duration) -> Result<(String, Vec<Datum>), Refusal> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let operation = request.uri().path().strip_prefix(OPERATIONS).unwrap_or_default();
    if request.method() != Method::POST || header("smithy-protocol") != Some(PROTOCOL) {
        return Err(Refusal::parameter(
            "InvalidAction",
            format!("POST of {PROTOCOL} is all that is understood."),
        ));
    }
    if operation != "PutMetricData" {
        return Err(Refusal::parameter("InvalidAction", format!("The box has no {operation}.")));
    }
    let malformed = |words: String| Refusal::parameter("SerializationException", words);
    let body = match header(CONTENT_ENCODING.as_str()) {
        None => request.body().to_vec(),
        Some("gzip") => {
            let mut body = Vec::new();
            let mut unpacked = flate2::read::GzDecoder::new(&request.body()[..]).take(LARGEST + 1);
            unpacked.read_to_end(&mut body).map_err(|error| malformed(error.to_string()))?;
            body
        }
        Some(other) => return Err(malformed(format!("{other} is not understood."))),
    };
    if body.len() as u64 > LARGEST {
        return Err(Refusal {
            status: 413,
            ..Refusal::parameter("RequestEntityTooLarge", "Over 1 MB.".to_owned())
        });
    }
    check::request(&cbor::read(&body).map_err(malformed)?, now)
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response =
        reply(status, &cbor::error(&format!("com.amazonaws.cloudwatch#{}", refusal.code), &refusal.message));
    // For who asks in "query mode": codes as they were before this protocol.
    let fault = if status.is_server_error() { "Receiver" } else { "Sender" };
    if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", refusal.code)) {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}

fn reply(status: StatusCode, body: &[u8]) -> Response<Full<Bytes>> {
    let mut response = answer(status, "application/cbor", Bytes::copy_from_slice(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/cbor"));
    response.headers_mut().insert("smithy-protocol", HeaderValue::from_static(PROTOCOL));
    response
}
