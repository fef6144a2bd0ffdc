//! The protocol on the daemon's socket: one connection, one request, one answer.
//!
//! ```text
//! plugin                                          daemon
//!   | -- frame: RequestFrame (+ netns descriptor) -->|   the descriptor travels with the first byte
//!   |                                                |   persists, acts, reads back
//!   | <------------------ frame: AnswerFrame ------- |
//!   close                                        close
//! ```
//!
//! **Versions.** A request says the protocol it is written in. A daemon speaks [`MIN_PROTOCOL`] to
//! [`MAX_PROTOCOL`] and refuses any other with an [`Answer::Failed`] that names both sides, before it looks at
//! the rest. Adding an optional field needs no new version: unknown fields are ignored, and a field added after
//! version 1 has a default. The shapes of [`RequestFrame::protocol`] and [`Failed`] never change, so any plugin
//! can read any daemon's refusal; it comes in the newest protocol that the daemon speaks, so that a plugin that was put
//! in place before its daemon asks again in that ([`AnswerFrame::speaks_only`]).
//!
//! | protocol | what it adds |
//! |---|---|
//! | 1 | |
//! | 2 | a netlink socket of the sandbox's namespace may come behind the namespace's descriptor |

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::code;
use crate::frame::{self, FrameError, MAX_ANSWER, MAX_REQUEST};
use crate::ids::{Attachment, IfName, NetworkName, PodRef, SandboxKey, VethPrefix};
use crate::trace::{self, TraceParent};

/// The oldest protocol that this build speaks.
pub const MIN_PROTOCOL: u16 = 1;

/// The newest protocol that this build speaks, and the one its plugin writes.
pub const MAX_PROTOCOL: u16 = 2;

/// Since this protocol a netlink socket may come with a request.
pub const NETLINK_SINCE: u16 = 2;

/// What a plugin sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// The protocol that this request is written in.
    pub protocol: u16,
    /// The plugin's version, for logs.
    #[serde(default)]
    pub plugin_version: String,
    /// How many milliseconds the plugin will wait for the answer. A daemon that holds a request answers before, so
    /// that the true cause reaches the pod's events. 0: unknown.
    #[serde(default)]
    pub patience_ms: u64,
    /// The trace that the call belongs to, for logs and the journal.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "trace::if_well_formed")]
    pub trace: Option<TraceParent>,
    /// What is asked.
    pub request: Request,
}

/// What a plugin can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// Give the sandbox an address and wire it. Its network namespace comes along, and perhaps a socket inside.
    Add(Add),
    /// Release what the sandbox has. Its namespace comes along if it still exists.
    Del(Del),
    /// Is the sandbox wired as the ledger says? The same comes along.
    Check(Check),
    /// Would an ADD work now?
    Status(Status),
    /// Release what the network has for sandboxes that are not listed.
    Gc(Gc),
}

impl Request {
    /// Whether the request is void without its network namespace's descriptor.
    pub fn needs_netns(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Check(_))
    }

    /// Whether a daemon that is asked again does nothing that it has not done, and the caller waits for the outcome.
    pub fn may_be_repeated(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Check(_))
    }

    /// The command's name in the CNI specification.
    pub fn command(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Del(_) => "DEL",
            Self::Check(_) => "CHECK",
            Self::Status(_) => "STATUS",
            Self::Gc(_) => "GC",
        }
    }
}

/// See [`Request::Add`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// Whom the lease is for.
    pub sandbox: SandboxKey,
    /// The pod that the sandbox runs.
    pub pod: PodRef,
    /// Where the runtime says the namespace is, in the plugin's mount namespace. For logs: the descriptor counts.
    pub netns_path: String,
    /// MTU of the veth pair, in bytes.
    pub mtu: u32,
    /// Start of the host veth's name.
    pub veth_prefix: VethPrefix,
    /// How security groups for pods are enforced.
    #[serde(default)]
    pub enforcing_mode: EnforcingMode,
    /// Whether the pod wants an interface on every network card, and not one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_every_card: bool,
}

/// How security groups for pods are enforced (`podSGEnforcingMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnforcingMode {
    /// All traffic of the pod passes its branch ENI.
    #[default]
    Strict,
    /// Traffic within the node stays there.
    Standard,
}

/// See [`Request::Del`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Del {
    /// Whose lease ends. One that is not known has nothing to release: the answer is still [`Answer::Done`].
    pub sandbox: SandboxKey,
    /// The pod, if the runtime still names it. Never a reason to release: only the sandbox is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Where the namespace was; runtimes send none when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_path: Option<String>,
}

/// See [`Request::Check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which sandbox.
    pub sandbox: SandboxKey,
    /// Where the runtime says the namespace is. For logs: the descriptor counts.
    pub netns_path: String,
    /// The addresses of the ADD's result, as the runtime kept it. Empty: it kept none.
    #[serde(default)]
    pub expected: Vec<IpAddr>,
}

/// See [`Request::Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which network.
    pub network: NetworkName,
}

/// See [`Request::Gc`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gc {
    /// Which network: leases of others are not touched.
    pub network: NetworkName,
    /// Every attachment of the network that the runtime still wants.
    pub valid: Vec<Attachment>,
}

/// What a daemon sends back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerFrame {
    /// The protocol that this answer is written in: that of the request, or the daemon's newest in a refusal.
    pub protocol: u16,
    /// The daemon's version, for logs.
    #[serde(default)]
    pub daemon_version: String,
    /// The answer.
    pub answer: Answer,
}

/// What a daemon can answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Add`]: wired, read back, durable.
    Added(Added),
    /// To all other requests: carried out, or for a check or status: yes.
    Done,
    /// Not carried out.
    Failed(Failed),
}

/// See [`Answer::Added`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The interface that was asked for. Its fields stand among the answer's own, where every plugin looks for them.
    #[serde(flatten)]
    pub own: Face,
    /// Further interfaces that the sandbox has got along with it, in order. A plugin that does not look for them prints
    /// the first alone; they end with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Face>,
}

impl Added {
    /// All interfaces, the one that was asked for first.
    pub fn faces(&self) -> impl Iterator<Item = &Face> {
        std::iter::once(&self.own).chain(&self.more)
    }
}

/// One interface of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    /// Its name in the sandbox. `None`: that which was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ifname: Option<IfName>,
    /// Its address.
    pub address: IpAddr,
    /// Device number of the ENI that has the address.
    pub device_number: i32,
    /// Route table of that ENI.
    pub route_table: u32,
    /// The host end of the veth pair.
    pub host_veth: String,
    /// MAC of the host end. Not part of the CNI result, whose `mac` fields the incumbent uses for numbers.
    #[serde(default)]
    pub host_mac: String,
}

/// See [`Answer::Failed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg}: {details} (code {code})")]
pub struct Failed {
    /// CNI error code (see [`code`]).
    pub code: u32,
    /// One line for the pod's event.
    pub msg: String,
    /// The cause.
    #[serde(default)]
    pub details: String,
    /// Whether the same request can succeed later without anybody's intervention.
    #[serde(default)]
    pub retry: bool,
}

impl Failed {
    /// By whom nothing is taken on any more. Text, since older daemons say no more than that.
    pub const STOPPING: &str = "the daemon is stopping";

    /// The answer of a daemon that is about to end.
    pub fn stopping() -> Self {
        Self {
            code: code::TRY_AGAIN_LATER,
            msg: Self::STOPPING.to_owned(),
            details: String::new(),
            retry: true,
        }
    }

    /// Whether the next daemon is to be asked.
    pub fn is_stopping(&self) -> bool {
        self.retry && self.msg == Self::STOPPING
    }
}

/// Why a request cannot be read. [`RequestError::answer`] is what the plugin is told.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not a request at all.
    #[error("the request is not one of this protocol")]
    Malformed(#[source] serde_json::Error),
    /// Written in a protocol that this build does not speak.
    #[error("the plugin speaks protocol {asked}, this daemon {MIN_PROTOCOL} to {MAX_PROTOCOL}")]
    Protocol {
        /// The request's protocol.
        asked: u16,
    },
}

impl RequestError {
    /// The refusal that a plugin of any version can read.
    pub fn answer(&self) -> Answer {
        let (msg, details) = match self {
            Self::Malformed(source) => (self.to_string(), source.to_string()),
            Self::Protocol { .. } => (
                "plugin and daemon are of incompatible versions".to_owned(),
                format!("{self}; install the plugin that belongs to the running daemon"),
            ),
        };
        Answer::Failed(Failed { code: code::PROTOCOL, msg, details, retry: false })
    }
}

impl RequestFrame {
    /// A request in this build's protocol.
    pub fn new(request: Request, plugin_version: &str, patience_ms: u64) -> Self {
        let plugin_version = plugin_version.to_owned();
        Self { protocol: MAX_PROTOCOL, plugin_version, patience_ms, trace: None, request }
    }

    /// The same, of this trace.
    pub fn of_trace(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }

    /// The whole frame, length included.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode(self, MAX_REQUEST)
    }

    /// Reads a frame's body: first the protocol, and the rest only if it is one of ours.
    pub fn decode(body: &[u8]) -> Result<Self, RequestError> {
        /// The part that no version changes.
        #[derive(Deserialize)]
        struct Head {
            protocol: u16,
        }
        let Head { protocol } = serde_json::from_slice(body).map_err(RequestError::Malformed)?;
        if !(MIN_PROTOCOL..=MAX_PROTOCOL).contains(&protocol) {
            return Err(RequestError::Protocol { asked: protocol });
        }
        serde_json::from_slice(body).map_err(RequestError::Malformed)
    }
}

impl AnswerFrame {
    /// An answer in `protocol`, which is that of the request ([`MAX_PROTOCOL`] if it could not be read).
    pub fn new(answer: Answer, protocol: u16, daemon_version: &str) -> Self {
        Self { protocol, daemon_version: daemon_version.to_owned(), answer }
    }

    /// The protocol of a daemon that does not speak `asked`, if this is its refusal and we speak the other: the request
    /// has had no effect.
    pub fn speaks_only(&self, asked: u16) -> Option<u16> {
        let refused = matches!(&self.answer, Answer::Failed(failed) if failed.code == code::PROTOCOL);
        (refused && (MIN_PROTOCOL..asked).contains(&self.protocol)).then_some(self.protocol)
    }

    /// The whole frame, length included.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode(self, MAX_ANSWER)
    }

    /// Reads a frame's body.
    pub fn decode(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(message).expect("plain structs with string keys always serialise");
    frame::encode(&body, limit)
}

#[cfg(test)]
mod tests;
