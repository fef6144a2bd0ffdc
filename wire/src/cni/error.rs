//! The error object that a failing plugin prints.

use serde::{Deserialize, Serialize};

use super::version::CniVersion;

/// Error codes: 1 to 99 are the specification's, from 100 on the plugin's own.
pub mod code {
    /// The network configuration's `cniVersion` is not one of the plugin's.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the network configuration has a value that is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// A `CNI_*` variable is missing or not valid.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Input or output failed, such as reading stdin.
    pub const IO_FAILURE: u32 = 5;
    /// The network configuration is not JSON.
    pub const DECODING_FAILURE: u32 = 6;
    /// The network configuration is JSON but not valid.
    pub const INVALID_CONFIG: u32 = 7;
    /// A transient condition: try again later.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: an ADD would not work now.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: an ADD would not work now, and running containers may have limited connectivity.
    pub const NOT_AVAILABLE_LIMITED: u32 = 51;
    /// Ours: plugin and daemon do not understand each other.
    pub const PROTOCOL: u32 = 100;
    /// Ours: the daemon could not do what was asked; the message says why.
    pub const FAILED: u32 = 101;
    /// Ours: CHECK found the sandbox not as it should be.
    pub const CHECK_FAILED: u32 = 102;
}

/// What a failing plugin prints on stdout. The same shape in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// The configuration's version, or the newest of ours if that could not be read.
    #[serde(rename = "cniVersion", default)]
    pub cni_version: String,
    /// See [`code`].
    pub code: u32,
    /// What failed, in one line: runtimes put it in the pod's events.
    pub msg: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error for a caller whose configuration says `version`.
    pub fn new(version: Option<CniVersion>, code: u32, msg: &str, details: &str) -> Self {
        Self {
            cni_version: version.unwrap_or(CniVersion::NEWEST).as_str().to_owned(),
            code,
            msg: msg.to_owned(),
            details: details.to_owned(),
        }
    }
}
