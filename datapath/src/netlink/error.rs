//! Why a netlink exchange failed.

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

/// Why a netlink exchange failed. The first part of the text says what was being done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused the request.
    #[error("{what}: {}{}", .errno.desc(), detail(.message))]
    Refused {
        /// The request, in words.
        what: String,
        /// The kernel's error number.
        errno: Errno,
        /// The kernel's own explanation (`NLMSGERR_ATTR_MSG`); often empty.
        message: String,
    },
    /// The socket itself failed.
    #[error("{what}: {}", .errno.desc())]
    Socket {
        /// What was being done.
        what: &'static str,
        /// The system call's error number.
        errno: Errno,
    },
    /// No answer came within the socket's receive timeout.
    #[error("{what}: the kernel gave no answer in time")]
    Timeout {
        /// The request, in words.
        what: String,
    },
    /// The state changed during each of many attempts to read it whole.
    #[error("{what}: interrupted by changes {attempts} times in a row")]
    Unsettled {
        /// The dump, in words.
        what: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// An answer that cannot be understood.
    #[error("{what}: malformed answer: {detail}")]
    Malformed {
        /// The request, in words.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl NetlinkError {
    pub(super) fn malformed(what: String, error: &DecodeError) -> Self {
        Self::Malformed { what, detail: error.to_string() }
    }

    /// The error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } | Self::Socket { errno, .. } => Some(*errno),
            Self::Timeout { .. } | Self::Unsettled { .. } | Self::Malformed { .. } => None,
        }
    }

    /// Whether the object was not there: no such link, address, route, rule or neighbour.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL))
    }

    /// Whether the object was there already.
    pub fn is_present(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }
}
