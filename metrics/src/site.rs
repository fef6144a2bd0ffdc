//! What there is to see under the paths of one port.

use std::future::Future;

use bytes::Bytes;
use hyper::StatusCode;

/// Says what there is at each path.
pub trait Site: Send + Sync + 'static {
    /// What there is at a path.
    fn page(&self, path: &str) -> impl Future<Output = Page> + Send;
}

/// What is found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Page {
    pub(crate) fn found(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type, body: body.into() }
    }

    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::found("application/json", body)
    }

    pub(crate) fn not_found(words: &'static str) -> Self {
        Self::words(StatusCode::NOT_FOUND, words)
    }

    /// What is asked for cannot be told just now.
    pub(crate) fn not_now(words: &'static str) -> Self {
        Self::words(StatusCode::SERVICE_UNAVAILABLE, words)
    }

    pub(crate) fn failed(words: String) -> Self {
        Self::words(StatusCode::INTERNAL_SERVER_ERROR, words)
    }

    pub(crate) fn words(status: StatusCode, words: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: words.into() }
    }
}
