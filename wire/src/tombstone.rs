//! The record of a DEL that no daemon was there to hear.

use serde::{Deserialize, Serialize};

use crate::ids::{PodRef, SandboxKey};

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// A sandbox whose network is to be released.
///
/// Names the sandbox, so carrying it out late, twice or out of order never touches a newer sandbox of the same pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Whose lease ends.
    pub sandbox: SandboxKey,
    /// The pod, if the runtime named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Where the namespace was, if the runtime said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns_path: Option<String>,
    /// When it was written: wall clock, milliseconds since 1970. For people; nothing is decided by it.
    #[serde(default)]
    pub recorded_at_ms: u64,
    /// Why the daemon did not hear of it directly.
    #[serde(default)]
    pub reason: String,
}

/// Why a file is no tombstone that this build can act on.
#[derive(Debug, thiserror::Error)]
pub enum TombstoneError {
    /// Written by a newer plugin: to be kept for a daemon that understands it.
    #[error("version {0} is newer than {VERSION}")]
    Newer(u32),
    /// Not a tombstone.
    #[error("it is not a tombstone")]
    Malformed(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    tombstone: &'a Tombstone,
}

impl Tombstone {
    /// The file's content.
    pub fn to_bytes(&self) -> Vec<u8> {
        let versioned = Versioned { version: VERSION, tombstone: self };
        let mut bytes =
            serde_json::to_vec(&versioned).expect("plain structs with string keys always serialise");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file's content. Unknown fields are ignored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TombstoneError> {
        let head: Head = serde_json::from_slice(bytes).map_err(TombstoneError::Malformed)?;
        if head.version > VERSION {
            return Err(TombstoneError::Newer(head.version));
        }
        serde_json::from_slice(bytes).map_err(TombstoneError::Malformed)
    }

    /// The file's name: the same for each DEL of one sandbox, so that repeating it makes no second file.
    pub fn file_name(sandbox: &SandboxKey) -> String {
        format!("{}.json", sandbox.digest())
    }
}
