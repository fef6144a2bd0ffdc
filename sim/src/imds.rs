//! IMDSv2 of one instance over HTTP: the token flow, and the metadata tree of what [`crate::vpc::SimVpc::imds_view`]
//! shows (which may lag, be frozen or be partial).
//!
//! Reading path: [`layout`] turns a view into the [`tree`] that is served; [`token`] keeps the sessions. Facts about
//! names and rules: AWS's "instance metadata categories" and "use IMDSv2" pages. Version 1 (no token) is off.

mod layout;
mod token;
mod tree;

use std::sync::{Mutex, PoisonError};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderValue, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::server::http::{Handler, Reply, answer};
use crate::server::shared::SharedVpc;
use crate::vpc::{ImdsHarm, ImdsView, InstanceId};
use token::Tokens;

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_PATH: &str = "/latest/api/token";

/// The metadata service of one instance, without a listener: for a client in the same process, and for the server.
#[derive(Debug)]
pub struct ImdsService {
    shared: SharedVpc,
    instance: InstanceId,
    tokens: Mutex<Tokens>,
}

impl ImdsService {
    /// The service of this instance of this box.
    pub fn new(shared: SharedVpc, instance: InstanceId) -> Self {
        Self { shared, instance, tokens: Mutex::default() }
    }

    /// Answers one request. `None`: the connection closes, or is reset, before a whole answer.
    pub async fn answer(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        self.handle(request).await.whole()
    }

    fn now_us(&self) -> u64 {
        self.shared.with(|vpc| vpc.now().0)
    }

    /// What is answered, whatever becomes of it.
    fn reply(&self, request: &Request<Bytes>, path: &str, harm: &ImdsHarm) -> Reply {
        let status = harm.token_refused.then_some(403).or(harm.status);
        if let Some(status) = status {
            return Reply::Answer(failure(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)));
        }
        let is_token = path.trim_end_matches('/') == TOKEN_PATH;
        match (request.method(), is_token) {
            (&Method::PUT, true) => {
                self.shared.note_imds_read(&self.instance, &format!("PUT {TOKEN_PATH}"));
                Reply::Answer(self.issue_token(request.headers()))
            }
            (&Method::GET | &Method::HEAD, false) => {
                self.shared.note_imds_read(&self.instance, path);
                self.read(path, request.headers(), harm)
            }
            _ => Reply::Answer(failure(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    fn issue_token(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        // A forwarding proxy in front would hand the token to a stranger.
        if headers.contains_key("x-forwarded-for") {
            return failure(StatusCode::FORBIDDEN);
        }
        let wanted = headers.get(TOKEN_TTL).and_then(|ttl| ttl.to_str().ok());
        let now_us = self.now_us();
        let issued = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).issue(wanted, now_us);
        match issued {
            Some((token, ttl)) => with_ttl(success(token), ttl.into()),
            None => failure(StatusCode::BAD_REQUEST),
        }
    }

    fn read(&self, path: &str, headers: &HeaderMap, harm: &ImdsHarm) -> Reply {
        let token = headers.get(TOKEN).and_then(|token| token.to_str().ok()).unwrap_or_default();
        let now_us = self.now_us();
        let remaining = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remaining(token, now_us);
        let Some(remaining) = remaining else { return Reply::Answer(failure(StatusCode::UNAUTHORIZED)) };
        let Some(looks) = self.shared.with(|vpc| vpc.imds_looks(&self.instance)) else {
            // The instance is over, and its metadata service with it.
            return Reply::Hangup;
        };
        let path = path_in_latest(path);
        let text = |view: &ImdsView, expired_credentials| {
            layout::root(view, self.shared.epoch(), now_us, expired_credentials).read(&path)
        };
        let mut shown = text(&looks.unharmed, false);
        let last = looks.harmed.last().map_or(&looks.unharmed, |(_, view)| view);
        let harmed = looks.harmed.iter().map(|(fault, view)| (*fault, text(view, false)));
        let expired = harm.expired_credentials.map(|fault| (fault, text(last, true)));
        for (fault, harmed) in harmed.chain(expired) {
            // Of an answer that is reset nobody knows what it would have shown.
            if harmed != shown && harm.answer_reset.is_none() {
                self.shared.with(|vpc| vpc.count_hit(fault));
            }
            shown = harmed;
        }
        let response = match shown {
            Some(text) => success(text),
            None => failure(StatusCode::NOT_FOUND),
        };
        Reply::Answer(with_ttl(response, remaining))
    }
}

impl Handler for ImdsService {
    async fn handle(&self, request: Request<Bytes>) -> Reply {
        let Ok(path) = percent_decode_str(request.uri().path()).decode_utf8() else {
            return Reply::Answer(failure(StatusCode::BAD_REQUEST));
        };
        let asked = path_below_version(&path);
        let harm = self.shared.with(|vpc| vpc.imds_harm(&self.instance, &asked));
        if harm.away {
            return Reply::Hangup;
        }
        if harm.request_reset {
            return Reply::reset();
        }
        if !harm.late_by.is_zero() {
            self.shared.sleep(harm.late_by).await;
        }
        let reply = self.reply(&request, &path, &harm);
        match harm.answer_reset {
            Some(bytes) => reply.reset_after(bytes),
            None => reply,
        }
    }
}

/// IMDS keeps its tree under dated versions too; clients of every age ask with the one that they know.
fn path_in_latest(path: &str) -> String {
    let path = path.trim_start_matches('/');
    match path.split_once('/') {
        Some((version, rest)) if layout::VERSIONS.contains(&version) => format!("latest/{rest}"),
        None if layout::VERSIONS.contains(&path) => "latest".to_owned(),
        _ => path.to_owned(),
    }
}

/// A path as faults name it: without version and leading slash.
pub(crate) fn path_below_version(path: &str) -> String {
    let path = path_in_latest(path);
    path.strip_prefix("latest/").unwrap_or(&path).to_owned()
}

fn success(text: String) -> Response<Full<Bytes>> {
    served_by(answer(StatusCode::OK, "text/plain", text))
}

/// The XHTML page that IMDS sends with every failure.
fn failure(status: StatusCode) -> Response<Full<Bytes>> {
    let title = format!("{} - {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{title}</title>\n </head>\n \
         <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    );
    served_by(answer(status, "text/html", page))
}

fn served_by(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(SERVER, HeaderValue::from_static("EC2ws"));
    response
}

fn with_ttl(mut response: Response<Full<Bytes>>, seconds: u64) -> Response<Full<Bytes>> {
    response.headers_mut().insert(TOKEN_TTL, HeaderValue::from(seconds));
    response
}
