//! Why the API server did not do what was asked, put into one class, once, by `classify`.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use kube::core::Status;

use crate::asked::Asked;

/// A request that failed: what was asked, why it was not done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.asked, .cause))]
pub struct ApiFault {
    /// What was asked for.
    pub asked: Box<Asked>,
    /// Why it was not done.
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not carried out: no connection was made (refused, unreachable, unknown name, a certificate that is not trusted).
    NotReached(String),
    /// Outcome unknown: nothing came within the deadline.
    Silent(Duration),
    /// Outcome unknown: the connection broke after it stood.
    Broken(String),
    /// Not carried out: too much to do. Later, and not before it said.
    Busy {
        /// How long it asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// Not carried out: it does not know who asks, or there is no token to show it.
    Unauthorized(String),
    /// Not carried out: the role lacks the right.
    Forbidden(String),
    /// Not carried out: there is no such object.
    NotFound,
    /// Not carried out: there is no such kind, its definition is not installed. Says nothing about objects: a server that is
    /// starting may say it too.
    NotServed,
    /// Not carried out: the object is not as it was thought to be. Read, then again.
    Conflict(String),
    /// Not carried out: there is one of that name already.
    Exists,
    /// Not carried out: that version is too old to go on from. List anew.
    Gone,
    /// Not carried out: that version is newer than any that it has. Its store was set back, or it lags: list anew.
    Ahead(String),
    /// Not carried out: it has just started, and does not know yet. That proves nothing.
    NotReady(String),
    /// Not carried out, and the same request will fail again: the request itself is refused, by the server or by an
    /// admission rule.
    Refused(String),
    /// Outcome unknown: a server error.
    Failing {
        /// HTTP's number.
        status: u16,
        /// Its words.
        words: String,
    },
    /// What came is not what the API says: cut off, or somebody else's answer. It proves nothing.
    Malformed(String),
}

impl Cause {
    /// Whether a change may have been carried out although it failed.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Broken(_) | Self::Failing { .. } | Self::Malformed(_))
    }

    /// Whether it says nothing about what was asked for: other requests would fare the same.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NotReached(_)
            | Self::Silent(_)
            | Self::Broken(_)
            | Self::Busy { .. }
            | Self::NotReady(_)
            | Self::Unauthorized(_)
            | Self::Failing { .. } => true,
            Self::Forbidden(_)
            | Self::NotFound
            | Self::NotServed
            | Self::Conflict(_)
            | Self::Exists
            | Self::Gone
            | Self::Ahead(_)
            | Self::Refused(_)
            | Self::Malformed(_) => false,
        }
    }
}

fn told(asked: &Asked, cause: &Cause) -> String {
    let who = asked.server;
    match cause {
        Cause::NotReached(words) => format!(
            "{who} cannot be reached to {asked}: {words}: see that this node has a way to it and trusts its certificate"
        ),
        Cause::Silent(after) => {
            format!("{who} did not answer within {after:?} when asked to {asked}")
        }
        Cause::Broken(words) => {
            format!("the connection to {who} broke when it was asked to {asked}: {words}")
        }
        Cause::Busy { retry_after: Some(after) } => {
            format!("{who} is too busy to {asked}, and asks to wait {after:?}")
        }
        Cause::Busy { retry_after: None } => format!("{who} is too busy to {asked}"),
        Cause::Unauthorized(words) => format!(
            "{who} does not know who asks to {asked}: {words}: see that the service account's token is mounted and not over"
        ),
        Cause::Forbidden(words) => {
            format!("not allowed to {asked}: {words}: {}", Remedy(asked))
        }
        Cause::NotFound => format!("cannot {asked}: there is none"),
        Cause::NotServed => {
            format!("cannot {asked}: {who} has no {}: install their definition", asked.kind)
        }
        Cause::Conflict(words) => format!("cannot {asked} yet, it was changed meanwhile: {words}"),
        Cause::Exists => format!("cannot {asked}: there is one already"),
        Cause::Gone => format!("cannot {asked} from where it was left off: it is listed anew"),
        Cause::Ahead(words) => {
            format!("cannot {asked}, {who} has older data than were seen: {words}")
        }
        Cause::NotReady(words) => format!("{who} cannot tell yet when asked to {asked}: {words}"),
        Cause::Refused(words) => format!("{who} refuses to {asked}: {words}"),
        Cause::Failing { status, words } => {
            format!("{who} failed ({status}) when asked to {asked}: {words}")
        }
        Cause::Malformed(words) => {
            format!("what came when {who} was asked to {asked} cannot be read: {words}")
        }
    }
}

/// The right that lacks, as a role names it.
struct Remedy<'a>(&'a Asked);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { verb, kind, subresource, .. } = self.0;
        let part = subresource.map(|part| format!("/{part}")).unwrap_or_default();
        write!(
            f,
            "add the verb {verb} on {}{part} of the API group {:?} to the role of this program's service account",
            kind.plural, kind.group
        )
    }
}

/// What an answer that is not a success means. `body` is what came of it.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Cause {
    let retry_after = headers
        .get(http::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
        .map(Duration::from_secs);
    let told: Option<Status> = serde_json::from_slice(body).ok();
    if let Some(told) = told.filter(Status::is_failure) {
        return classify_status(status.as_u16(), retry_after, &told);
    }
    let words = excerpt(body);
    match status.as_u16() {
        // The server's own filter says it in plain text, and so it does of a path that it does not have.
        429 => Cause::Busy { retry_after },
        404 => Cause::NotServed,
        401 => Cause::Unauthorized(words),
        403 => Cause::Forbidden(words),
        // Anything else is not the API server's way to speak: a proxy or a load balancer did.
        503 if retry_after.is_some() => Cause::Busy { retry_after },
        status => Cause::Failing { status, words },
    }
}

/// What a `Status` means, which came as an answer or within a watch.
pub(crate) fn classify_status(status: u16, header: Option<Duration>, told: &Status) -> Cause {
    let words = told.message.clone();
    let details = told.details.as_ref();
    let retry_after = header.or_else(|| {
        details
            .map(|details| details.retry_after_seconds)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(seconds.into()))
    });
    let because = |reason: &str| {
        details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
    };
    let code = if told.code == 0 { status } else { told.code };
    match (code, told.reason.as_str()) {
        (_, "TooManyRequests") | (429, _) => Cause::Busy { retry_after },
        (_, "Expired" | "Gone") | (410, _) => Cause::Gone,
        (_, "AlreadyExists") => Cause::Exists,
        (_, "Conflict") | (409, _) => Cause::Conflict(words),
        // Nothing can be made in a namespace that goes, and that is no matter of rights.
        (_, "Forbidden") if because("NamespaceTerminating") => Cause::Refused(words),
        // So says an admission hook, and a policy of ours; rights are another matter, and said by `User ... cannot`.
        (403, _) if words.contains("admission webhook") || words.contains("ValidatingAdmissionPolicy") => {
            Cause::Refused(words)
        }
        (_, "Forbidden") | (403, _) => Cause::Forbidden(words),
        (_, "Unauthorized") | (401, _) => Cause::Unauthorized(words),
        // An object that is not there is named; a path that is not there is not.
        (404, _) if details.is_some_and(|details| !details.name.is_empty()) => Cause::NotFound,
        (404, _) => Cause::NotServed,
        _ if because("ResourceVersionTooLarge") || words.contains("Too large resource version") => {
            Cause::Ahead(words)
        }
        (503, _) if retry_after.is_some() => Cause::Busy { retry_after },
        (400..500, _) => Cause::Refused(words),
        (status, _) => Cause::Failing { status, words },
    }
}

/// The beginning of what came, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
#[path = "fault/tests.rs"]
mod tests;
