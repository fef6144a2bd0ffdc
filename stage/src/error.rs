//! Why a stage cannot be built, brought up or taken down.

use std::io;

/// The text of most leaves the cause to `source`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process cannot be used.
    #[error("{what}")]
    Io {
        /// What was to be done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("{what}: {}", .errno.desc())]
    Kernel {
        /// What was to be done.
        what: String,
        /// The system's error number.
        errno: nix::errno::Errno,
    },
    /// A file of ours says what it should not.
    #[error("{what}")]
    Garbled {
        /// Which.
        what: String,
        /// Why it is not understood.
        source: serde_json::Error,
    },
    /// It cannot be done as things are; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// A program that was waited for failed.
    #[error("{what}: {said}")]
    Failed {
        /// What it was to do.
        what: String,
        /// Its status, and its own words.
        said: String,
    },
    /// A part of the stage ended that should run.
    #[error("{name} ended with {status}; the end of its log:\n{tail}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: String,
        /// Its last lines.
        tail: String,
    },
    /// Something took too long.
    #[error("not {what} within {seconds} s: {why}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was seen instead.
        why: String,
    },
}

/// What this room's functions give.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: what was to be done when the system refused.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same of the kernel's calls.
    pub fn kernel(what: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let what = what.into();
        move |errno| Self::Kernel { what, errno }
    }
}
