//! A call of the plugin, and how it ended.

use std::time::SystemTime;

use holdfast_wire::cni::conf::NetConf;
use holdfast_wire::cni::env::{CniEnv, Command};
use holdfast_wire::cni::error::CniError;
use holdfast_wire::cni::version::CniVersion;

use crate::failure::Failure;

/// What the runtime called the plugin with, stdin aside.
pub(crate) struct Call<'a> {
    /// The command, or the text that is none.
    pub(crate) command: Result<Command, String>,
    /// The `CNI_*` variables.
    pub(crate) env: &'a CniEnv,
    /// Wall clock at the start.
    pub(crate) now: SystemTime,
    /// This process.
    pub(crate) pid: u32,
}

/// How a call ended.
pub(crate) struct Outcome {
    /// The configuration, as far as it could be read.
    pub(crate) conf: Option<NetConf>,
    /// What goes to stdout, and for the log a word on how; or the failure.
    pub(crate) result: Result<Success, Failure>,
}

/// A command that was carried out.
pub(crate) struct Success {
    /// What goes to stdout; empty for commands without a result.
    pub(crate) stdout: String,
    /// For the log: what an operator could wonder about.
    pub(crate) note: Option<String>,
}

impl Success {
    /// Carried out, with nothing to print.
    pub(crate) fn silent() -> Self {
        Self { stdout: String::new(), note: None }
    }

    /// Carried out, with this as the result.
    pub(crate) fn printing(value: &impl serde::Serialize) -> Self {
        let stdout = serde_json::to_string(value).expect("results are plain structs with string keys");
        Self { stdout, note: None }
    }
}

impl Outcome {
    /// What goes to stdout: the result, or the error object.
    pub(crate) fn stdout(&self) -> String {
        match &self.result {
            Ok(success) => success.stdout.clone(),
            Err(failure) => {
                let version = self.conf.as_ref().and_then(|c| CniVersion::parse(c.version_text()?));
                let error = CniError::new(version, failure.code(), &failure.to_string(), &failure.details());
                serde_json::to_string(&error).expect("an error object is a plain struct with string keys")
            }
        }
    }
}
