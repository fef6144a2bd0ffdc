//! The error object that a failing plugin prints.

use serde::{Deserialize, Serialize};

use super::version::CniVersion;

/// What a failing plugin prints on stdout. The same shape in all versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// The configuration's version, or the newest of ours if that could not be read.
    #[serde(rename = "cniVersion", default)]
    pub cni_version: String,
    /// See [`crate::code`].
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
