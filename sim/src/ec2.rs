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
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};

use crate::cloudwatch;
use crate::server::http::{Handler, Reply, answer};
use crate::server::shared::SharedVpc;
use crate::server::{Callers, credentials};
use crate::vpc::{self, Action, CallError, Caller, Garbled};
use auth::Signed;
use fields::Fields;
use refusal::Refusal;

/// The only version of the API that is spoken; every current client sends it.
const VERSION: &str = "2016-11-15";

/// How far a caller's clock may be from EC2's. Fact: the SigV4 documentation.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);

/// The EC2 endpoint, without a listener: for a client in the same process, and for the server.
#[derive(Debug)]
pub struct Ec2Service {
    shared: SharedVpc,
    callers: Callers,
    /// Requests refused by this face, for their request ids: the core numbers only what reaches it.
    refused: AtomicU64,
}

impl Ec2Service {
    /// An endpoint of this box.
    pub fn new(shared: SharedVpc, callers: Callers) -> Self {
        Self { shared, callers, refused: AtomicU64::new(0) }
    }

    /// Answers one request. `None`: the connection closes, or is reset, before a whole answer.
    pub async fn answer(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        self.handle(request).await.whole()
    }

    /// Who signed, if the credentials and the clock are right.
    fn caller(&self, signed: &Signed) -> Result<Caller, Refusal> {
        let now = Duration::from_micros(self.shared.with(|vpc| vpc.now().0));
        let caller = match &self.callers {
            Callers::Instance(instance) => Caller::instance(instance),
            Callers::ByAccessKey => {
                credentials::caller(&signed.scope.access_key_id, signed.session_token.as_deref(), now)
                    .map_err(Refusal::stranger)?
            }
        };
        let (theirs, ours) = (signed.date, self.shared.epoch() + now);
        let mut judged = in_time(theirs, ours);
        if let Some((fault, ahead)) = self.shared.with(|vpc| vpc.clock_ahead(&caller)) {
            let right = std::mem::replace(&mut judged, in_time(theirs, ours + ahead));
            if judged != right {
                self.shared.with(|vpc| vpc.count_hit(fault));
            }
        }
        judged.map(|()| caller)
    }

    /// Reads the request as far as the core needs it.
    fn read(&self, request: &Request<Bytes>) -> Result<(Caller, vpc::Request), Refusal> {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let body: &[u8] = if request.method() == Method::POST { request.body() } else { b"" };
        let mut fields = Fields::parse(&[query, body].join(&b'&'))?;
        let signed = Signed::read(request, &mut fields)?;
        signed.check(&self.shared.region(), "ec2")?;
        let caller = self.caller(&signed)?;
        let action = fields.text("Action").ok_or_else(Refusal::missing_action)?;
        let version = fields.text("Version").unwrap_or_else(|| VERSION.to_owned());
        if version != VERSION {
            return Err(Refusal::no_such_version(&version));
        }
        let action = Action::from_name(&action).ok_or_else(|| Refusal::invalid_action(&action))?;
        Ok((caller, decode::request(action, fields)?))
    }

    /// A request to CloudWatch, which has the same address.
    fn to_cloudwatch(&self, request: &Request<Bytes>) -> Reply {
        let caller = Fields::parse(b"").and_then(|mut none| {
            let signed = Signed::read(request, &mut none)?;
            signed.check(&self.shared.region(), cloudwatch::SERVICE)?;
            self.caller(&signed)
        });
        let caller = caller
            .map(|caller| caller.name)
            .map_err(|refusal| cloudwatch::Refusal::of_stranger(refusal.code, &refusal.message));
        let virtual_now = Duration::from_micros(self.shared.with(|vpc| vpc.now().0));
        let now =
            (self.shared.epoch() + virtual_now).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Reply::Answer(self.shared.cloudwatch(|seen| seen.answer(caller, request, now)))
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

impl Handler for Ec2Service {
    async fn handle(&self, request: Request<Bytes>) -> Reply {
        if request.uri().path().starts_with(cloudwatch::OPERATIONS) {
            return self.to_cloudwatch(&request);
        }
        if request.method() != Method::POST && request.method() != Method::GET {
            return Reply::Answer(answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", ""));
        }
        let (caller, request) = match self.read(&request) {
            Ok(read) => read,
            Err(refusal) => return self.refuse(&refusal),
        };
        let action = request.action();
        let served = self.shared.call(&caller, request).await;
        let reply = match served.result {
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
        };
        match served.garbled {
            Some(garbled) => garble(reply, garbled).await,
            None => reply,
        }
    }
}

/// Whether a signature is of about now.
fn in_time(theirs: SystemTime, ours: SystemTime) -> Result<(), Refusal> {
    let apart = ours.duration_since(theirs).unwrap_or_else(|earlier| earlier.duration());
    if apart > CLOCKS_DIFFER { Err(Refusal::request_expired(theirs, ours)) } else { Ok(()) }
}

/// What arrives of an answer.
async fn garble(reply: Reply, garbled: Garbled) -> Reply {
    match (reply, garbled) {
        (reply, Garbled::Reset(keep)) => reply.reset_after(keep),
        (Reply::Answer(whole), Garbled::Truncated(keep)) => {
            let (head, body) = whole.into_parts();
            let Ok(body) = body.collect().await;
            let body = body.to_bytes();
            let keep = usize::try_from(keep).unwrap_or(usize::MAX).min(body.len().saturating_sub(1));
            Reply::Answer(Response::from_parts(head, Full::new(body.slice(..keep))))
        }
        (Reply::Answer(_), Garbled::Replaced { status, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Reply::Answer(answer(status, "text/html", body))
        }
        (reply, _) => reply,
    }
}

fn xml(status: StatusCode, request_id: &str, body: String) -> Reply {
    let mut response: Response<_> = answer(status, "text/xml;charset=UTF-8", body);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    Reply::Answer(response)
}
