//! Where a benchmark runs: a box with one node, and the ledger on the disk of the build folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context;
use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::latency::{Latencies, Summary};
use holdfast_chaos_tests::pod::Pod;
use holdfast_chaos_tests::rig::{NodeUnderTest, Rig};
use tempfile::TempDir;

/// An instance type with room for 232 pods (eight ENIs of 30 addresses).
pub(crate) const INSTANCE_TYPE: &str = "m5.4xlarge";

/// Secondary addresses of each of its ENIs.
pub(crate) const PER_ENI: usize = 29;

/// Pods that upstream gives a node of this size by default, and with which the incumbent was measured.
pub(crate) const PODS: usize = 110;

/// The name of the one node.
const NODE: &str = "node-a";

/// A box with one node, the daemon not started.
#[derive(Debug)]
pub(crate) struct Place {
    // In the order in which they must go.
    pub(crate) node: NodeUnderTest,
    pub(crate) disk: Disk,
    pub(crate) rig: Rig,
}

impl Place {
    /// Makes it; `timing` is the simulated EC2's ("instant" or "measured").
    pub(crate) fn make(timing: &str) -> anyhow::Result<Self> {
        Self::of(timing, INSTANCE_TYPE)
    }

    /// The same with another instance type.
    pub(crate) fn of(timing: &str, instance_type: &str) -> anyhow::Result<Self> {
        let scenario = format!(
            "timing = {timing:?}\nvpc.cidrs = [\"10.0.0.0/16\"]\n\n[[subnet]]\nname = \"a\"\nzone = \"us-west-2a\"\n\
             cidr = \"10.0.0.0/20\"\n\n[[node]]\nname = {NODE:?}\ntype = {instance_type:?}\nsubnet = \"a\"\n"
        );
        // Before the rig covers folders of ours with its own.
        let disk = Disk::new()?;
        let rig = Rig::up(&scenario)?;
        let mut node = rig.node(NODE)?;
        node.set("HOLDFAST_LEDGER", &disk.path("ledger.redb").display().to_string());
        node.set("HOLDFAST_SPOOL", &disk.path("spool").display().to_string());
        Ok(Self { node, disk, rig })
    }

    /// The plugin with its spool on the same disk.
    pub(crate) fn runner(&self) -> Runner {
        Runner::holdfast(&self.rig.programs().plugin, &self.node.socket(), &self.disk.path("spool"))
    }

    /// EC2 calls per action since the box began.
    pub(crate) fn ec2_calls(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let counts = self.rig.admin().counts()?.ec2;
        Ok(counts.into_iter().map(|(action, count)| (action.to_string(), count)).collect())
    }

    /// Sandboxes that wait for an address.
    pub(crate) fn sandboxes(&self, count: usize) -> anyhow::Result<Vec<Pod>> {
        static NAMES: AtomicUsize = AtomicUsize::new(0);
        (0..count).map(|_| self.rig.pod(&format!("pod-{}", NAMES.fetch_add(1, Ordering::Relaxed)))).collect()
    }
}

/// A folder on the disk that holds the build. Removed when dropped; what a killed run leaves is inside the build
/// folder and goes with the next run.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    fn new() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let target = program.parent().and_then(Path::parent).context("the program is in a build folder")?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target);
        Ok(Self { folder: folder.with_context(|| format!("making a folder in {}", target.display()))? })
    }

    /// A file or folder on it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its file system, such as `ext4`.
    pub(crate) fn file_system(&self) -> anyhow::Result<String> {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
        let path = self.folder.path();
        let of = |line: &str| {
            let (before, after) = line.split_once(" - ")?;
            let point = PathBuf::from(before.split(' ').nth(4)?);
            path.starts_with(&point).then_some((point.as_os_str().len(), after.split(' ').next()?.to_owned()))
        };
        // The longest mount point that the path is below; the last of those that cover each other.
        let found = mounts.lines().filter_map(of).max_by_key(|(length, _)| *length);
        Ok(found.with_context(|| format!("no mount holds {}", path.display()))?.1)
    }

    /// Time of one small write with fdatasync on it, the median.
    pub(crate) fn sync_cost(&self) -> anyhow::Result<Summary> {
        const TIMES: usize = 50;
        let mut file = File::create(self.path("sync-cost"))?;
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        let mut costs = Latencies::default();
        for _ in 0..TIMES {
            let began = Instant::now();
            file.rewind()?;
            file.write_all(&[1; 4096])?;
            file.sync_data()?;
            costs.push(began.elapsed());
        }
        costs.summary().context("it was written")
    }
}
