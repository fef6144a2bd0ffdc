//! The floor: the bare netlink calls, measured by the example `floor` of the datapath, which knows them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// One kind of work, microseconds per pod.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Cost {
    pub(crate) median: u64,
    pub(crate) p99: u64,
}

/// One row of the example's report.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Row {
    /// Wiring a pod.
    pub(crate) add_us: Cost,
    /// Removing its rules and route.
    pub(crate) del_us: Cost,
    /// Removing its link, for which the kernel waits a grace period.
    pub(crate) link_us: Cost,
}

/// What the example prints.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Floor {
    pub(crate) one_at_a_time: Row,
    pub(crate) many_at_once: Row,
    /// The same by the datapath's own wiring with its read-back, in process.
    pub(crate) host_one_at_a_time: Row,
}

/// The program.
pub(crate) struct Program(PathBuf);

impl Program {
    /// The one that `HOLDFAST_BIN_FLOOR` names, as `./dev bench` sets it.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let path = std::env::var_os("HOLDFAST_BIN_FLOOR").map(PathBuf::from);
        let path = path.context("HOLDFAST_BIN_FLOOR does not name a program: run this by `./dev bench`")?;
        ensure!(path.is_file(), "HOLDFAST_BIN_FLOOR names {}, which is no program", path.display());
        Ok(Self(path))
    }

    /// Measures once.
    pub(crate) fn measure(&self, pods: usize, at_once: usize) -> anyhow::Result<Floor> {
        let output = Command::new(&self.0)
            .args([pods.to_string(), at_once.to_string(), "--host".to_owned()])
            .output()
            .with_context(|| format!("running {}", self.0.display()))?;
        ensure!(output.status.success(), "floor: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("reading the floor's report")
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
