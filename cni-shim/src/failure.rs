//! The plugin's own errors, each with its code of the CNI specification.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use holdfast_wire::client::ClientError;
use holdfast_wire::cni::conf::ConfError;
use holdfast_wire::cni::env::EnvError;
use holdfast_wire::code;
use holdfast_wire::message::Failed;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// `CNI_COMMAND` is none of the specification's.
    #[error("CNI_COMMAND {0:?} is not one of ADD, DEL, CHECK, STATUS, GC, VERSION")]
    Command(String),
    /// Variables are missing or not valid.
    #[error("the CNI environment is not valid")]
    Env(#[from] EnvError),
    /// stdin could not be read.
    #[error("the network configuration could not be read from stdin")]
    Stdin(#[source] io::Error),
    /// stdin holds more than any configuration.
    #[error("the network configuration is larger than {0} bytes")]
    StdinTooLarge(u64),
    /// The configuration cannot be used.
    #[error("the network configuration cannot be used")]
    Conf(#[from] ConfError),
    /// The namespace cannot be opened or is none.
    #[error("CNI_NETNS {path:?} cannot be used")]
    Netns {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer from the daemon.
    #[error("try again later: the node's network daemon did not answer")]
    Daemon(#[from] ClientError),
    /// STATUS without a daemon.
    #[error("the node's network daemon is not available")]
    NotAvailable(#[source] ClientError),
    /// The daemon answered something that does not belong to the question.
    #[error("the node's network daemon gave an answer that does not belong to {0}")]
    Unexpected(&'static str),
    /// The daemon says why.
    #[error("{}", .0.msg)]
    Refused(Failed),
    /// DEL: neither the daemon nor a spool took the release.
    #[error("the release could be neither handed to the daemon nor recorded for later")]
    Lost {
        /// Why not the daemon.
        reason: String,
        /// The spools, and why not.
        spools: Vec<(PathBuf, io::Error)>,
    },
}

impl Failure {
    /// The specification's code.
    pub(crate) fn code(&self) -> u32 {
        match self {
            Self::Command(_) | Self::Env(_) | Self::Netns { .. } => code::INVALID_ENVIRONMENT,
            Self::Stdin(_) => code::IO_FAILURE,
            Self::StdinTooLarge(_) => code::INVALID_CONFIG,
            Self::Conf(error) => error.code(),
            Self::Daemon(ClientError::Malformed(_) | ClientError::TooLarge(_) | ClientError::Frame(_))
            | Self::Unexpected(_) => code::PROTOCOL,
            // A daemon that is away, starting, or was killed in the middle: the next attempt may meet another.
            Self::Daemon(_) | Self::Lost { .. } => code::TRY_AGAIN_LATER,
            Self::NotAvailable(_) => code::NOT_AVAILABLE,
            Self::Refused(failed) => failed.code,
        }
    }

    /// The cause, for the error object's `details`.
    pub(crate) fn details(&self) -> String {
        match self {
            Self::Refused(failed) => failed.details.clone(),
            Self::Lost { reason, spools } => {
                let mut text = reason.clone();
                for (dir, error) in spools {
                    // Writing to a String cannot fail.
                    let _infallible = write!(text, "; {}: {error}", dir.display());
                }
                text
            }
            other => other.source().map(chain).unwrap_or_default(),
        }
    }
}

/// An error and all that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _infallible = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
