//! The EC2 Query API: form-encoded requests in, EC2's XML out. Any EC2 client works on it unchanged.
//!
//! Reading path: [`auth`] says who signed, [`fields`] and [`decode`] make a typed request, [`crate::vpc::SimVpc`]
//! answers it, [`encode`] and [`xml`] write the answer. [`refusal`] is what this face answers by itself.

mod auth;
mod decode;
mod encode;
mod fields;
mod refusal;
mod xml;

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::server::Callers;
use crate::server::http::{Handler, Reply, answer};
use crate::server::shared::SharedVpc;
use crate::vpc::{self, Action, CallError, Caller};
use auth::Scope;
use fields::Fields;
use refusal::Refusal;

/// The only version of the API that is spoken; every current client sends it.
const VERSION: &str = "2016-11-15";

/// The EC2 endpoint of one listener.
#[derive(Debug)]
pub(crate) struct Ec2Face {
    shared: SharedVpc,
    callers: Callers,
    /// Requests refused by this face, for their request ids: the core numbers only what reaches it.
    refused: AtomicU64,
}

impl Ec2Face {
    pub(crate) fn new(shared: SharedVpc, callers: Callers) -> Self {
        Self { shared, callers, refused: AtomicU64::new(0) }
    }

    /// Reads the request as far as the core needs it.
    fn read(&self, request: &Request<Bytes>) -> Result<(Caller, vpc::Request), Refusal> {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let body: &[u8] = if request.method() == Method::POST { request.body() } else { b"" };
        let mut fields = Fields::parse(&[query, body].join(&b'&'))?;
        let scope = scope(request, &mut fields)?;
        scope.check(&self.shared.region())?;
        let action = fields.text("Action").ok_or_else(Refusal::missing_action)?;
        let version = fields.text("Version").unwrap_or_else(|| VERSION.to_owned());
        if version != VERSION {
            return Err(Refusal::no_such_version(&version));
        }
        let action = Action::from_name(&action).ok_or_else(|| Refusal::invalid_action(&action))?;
        Ok((self.callers.resolve(&scope.access_key_id), decode::request(action, fields)?))
    }

    fn refuse(&self, refusal: &Refusal) -> Reply {
        let number = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared.note_refusal(format!("{}: {}", refusal.code, refusal.message));
        tracing::warn!(code = refusal.code, message = %refusal.message, "request refused by the EC2 face");
        let request_id = format!("00000000-0000-4000-a000-{number:012x}");
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
        xml(status, &request_id, encode::refusal(&request_id, refusal))
    }
}

impl Handler for Ec2Face {
    async fn handle(&self, request: Request<Bytes>) -> Reply {
        if request.method() != Method::POST && request.method() != Method::GET {
            return Reply::Answer(answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", ""));
        }
        let (caller, request) = match self.read(&request) {
            Ok(read) => read,
            Err(refusal) => return self.refuse(&refusal),
        };
        let action = request.action();
        tokio::time::sleep(self.shared.with(|vpc| vpc.latency_of(&request))).await;
        let served = self.shared.with(|vpc| vpc.serve(&caller, request));
        tokio::time::sleep(served.late_by).await;
        match served.result {
            Ok(response) => {
                let setting = encode::Setting { region: self.shared.region(), epoch: self.shared.epoch() };
                let body = encode::response(action, &served.request_id, &response, &setting);
                xml(StatusCode::OK, &served.request_id, body)
            }
            Err(CallError::Api(error)) => {
                let status =
                    StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
                xml(status, &served.request_id, encode::error(&served.request_id, &error))
            }
            Err(CallError::Dropped) => Reply::Hangup,
        }
    }
}

/// Who signed: by header, or by query parameters of a presigned request, which are taken out of `fields`.
fn scope(request: &Request<Bytes>, fields: &mut Fields) -> Result<Scope, Refusal> {
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        return Scope::from_header(header.to_str().unwrap_or_default());
    }
    let credential =
        fields.text("X-Amz-Credential").ok_or_else(|| Refusal::missing_parameter("AWSAccessKeyId"))?;
    for name in ["X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"] {
        fields.required_text(name)?;
    }
    fields.text("X-Amz-Security-Token");
    Scope::from_credential(&credential)
}

fn xml(status: StatusCode, request_id: &str, body: String) -> Reply {
    let mut response: Response<_> = answer(status, "text/xml;charset=UTF-8", body);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    Reply::Answer(response)
}
