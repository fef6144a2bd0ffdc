//! What the test and the daemon say to each other: one JSON object per line.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::sandbox::{PodRef, SandboxKey};
use serde::{Deserialize, Serialize};

/// Where the metadata service answers on every instance; all else is EC2's.
pub(crate) const METADATA: &str = "169.254.169.254";

/// Wall time at the node's beginning, and so at the box's: any instant will do.
pub(crate) const EPOCH_MS: u64 = 1_767_225_600_000;

/// The same for the box.
pub(crate) fn epoch() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(EPOCH_MS)
}

/// To the process, on its stdin. Its end is the process's end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToNode {
    /// It is this late: milliseconds since the node began. Answered by [`FromNode::Looked`].
    Time(u64),
    /// EC2's answer, or the metadata service's.
    Http {
        /// To which question.
        question: u64,
        /// What; `None`: the connection closed without one.
        answer: Option<HttpAnswer>,
    },
    /// ADD.
    Add {
        /// Named in the answer.
        request: u64,
        /// For whom.
        sandbox: AddSandbox,
    },
    /// DEL.
    Del {
        /// Named in the answer.
        request: u64,
        /// Whose.
        sandbox: SandboxKey,
    },
    /// The whole state.
    Dump {
        /// Named in the answer.
        request: u64,
    },
    /// Stop in order, and end.
    Stop,
}

/// From the process, on its stdout, each written before the process goes on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromNode {
    /// It comes to a step. Should this be the appointed one, nothing follows.
    Step(Passed),
    /// It begins (true) or ends (false) to read the kernel: no step, but time is not to leap meanwhile.
    Reading(bool),
    /// The engine has looked at the world as of this time.
    Looked(u64),
    /// A request to EC2 or to the metadata service.
    Http {
        /// Named in the answer.
        question: u64,
        /// What.
        request: HttpRequest,
    },
    /// An ADD ended: a lease, or the cause in words.
    Added {
        /// Which.
        request: u64,
        /// How.
        result: Result<Lease, String>,
    },
    /// A DEL ended; false when the engine ended first.
    Deleted {
        /// Which.
        request: u64,
        /// Whether it succeeded.
        done: bool,
    },
    /// The state.
    Dumped {
        /// Which request.
        request: u64,
        /// The ledger.
        ledger: Box<Ledger>,
    },
}

/// On which side of the deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Side {
    /// Nothing of it is done.
    Before,
    /// Some of it is done.
    Amid,
    /// It is done, and nobody was told yet.
    After,
}

/// A step that the process came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Where.
    pub(crate) side: Side,
    /// What is done.
    pub(crate) deed: String,
    /// How many times this process was here before.
    pub(crate) nth: u64,
}

impl Passed {
    /// Whether it is a call of EC2: they are named as EC2 names them.
    pub(crate) fn is_call(&self) -> bool {
        self.deed.starts_with(char::is_uppercase)
    }

    /// Its kind: the same for each repetition.
    pub(crate) fn kind(&self) -> String {
        let side = match self.side {
            Side::Before => "before",
            Side::Amid => "amid",
            Side::After => "after",
        };
        format!("{side} {}", self.deed)
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.kind(), self.nth)
    }
}

/// At which step a life ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Death {
    /// At this one.
    At(Passed),
    /// At whichever is the nth, counted from zero.
    AtNth(u64),
}

/// A sandbox that wants an address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AddSandbox {
    /// Who.
    pub(crate) key: SandboxKey,
    /// Whose.
    pub(crate) pod: PodRef,
    /// Where its namespace is.
    pub(crate) netns: PathBuf,
    /// The host end's name.
    pub(crate) host_veth: String,
    /// The same when that one is taken.
    pub(crate) fallback_veth: String,
}

/// A request. What it carries is text: forms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HttpRequest {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// An answer. What it carries is text: XML, JSON and plain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HttpAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl TryFrom<http::Request<Bytes>> for HttpRequest {
    type Error = anyhow::Error;

    fn try_from(request: http::Request<Bytes>) -> anyhow::Result<Self> {
        Ok(Self {
            method: request.method().to_string(),
            uri: request.uri().to_string(),
            headers: told(request.headers())?,
            body: String::from_utf8(request.into_body().into())?,
        })
    }
}

impl TryFrom<HttpRequest> for http::Request<Bytes> {
    type Error = anyhow::Error;

    fn try_from(told: HttpRequest) -> anyhow::Result<Self> {
        let request = http::Request::builder().method(&*told.method).uri(told.uri);
        let request = told.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        Ok(request.body(told.body.into())?)
    }
}

impl TryFrom<http::Response<Bytes>> for HttpAnswer {
    type Error = anyhow::Error;

    fn try_from(answer: http::Response<Bytes>) -> anyhow::Result<Self> {
        Ok(Self {
            status: answer.status().as_u16(),
            headers: told(answer.headers())?,
            body: String::from_utf8(answer.into_body().into())?,
        })
    }
}

impl TryFrom<HttpAnswer> for http::Response<Bytes> {
    type Error = anyhow::Error;

    fn try_from(told: HttpAnswer) -> anyhow::Result<Self> {
        let answer = http::Response::builder().status(told.status);
        let answer = told.headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value));
        Ok(answer.body(told.body.into())?)
    }
}

fn told(headers: &http::HeaderMap) -> anyhow::Result<Vec<(String, String)>> {
    headers.iter().map(|(name, value)| Ok((name.to_string(), value.to_str()?.to_owned()))).collect()
}
