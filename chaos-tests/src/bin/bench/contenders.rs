//! Who is measured: our plugin, and the reference plugin with the reference address manager, run in the same way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use holdfast_chaos_tests::cni::Runner;
use holdfast_chaos_tests::pod::Pod;
use serde_json::{Value, json};

/// Where Debian's `containernetworking-plugins` installs them.
const REFERENCE: &str = "/usr/lib/cni";

/// Something that gives a sandbox its network and takes it away.
pub(crate) trait Contender: Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;
    /// ADD; from the start of the process to its end.
    fn add(&self, pod: &Pod) -> anyhow::Result<Duration>;
    /// DEL, likewise.
    fn del(&self, pod: &Pod) -> anyhow::Result<Duration>;
}

/// Our plugin.
pub(crate) struct Holdfast(pub(crate) Runner);

impl Contender for Holdfast {
    fn name(&self) -> &'static str {
        "holdfast"
    }

    fn add(&self, pod: &Pod) -> anyhow::Result<Duration> {
        let called = self.0.add(pod)?;
        let took = called.took;
        called.ok().with_context(|| format!("ADD of {}", pod.name))?;
        Ok(took)
    }

    fn del(&self, pod: &Pod) -> anyhow::Result<Duration> {
        let called = self.0.del(pod)?;
        let took = called.took;
        called.ok().with_context(|| format!("DEL of {}", pod.name))?;
        Ok(took)
    }
}

/// `ptp` with `host-local`.
pub(crate) struct Ptp {
    runner: Runner,
    conf: Value,
}

impl Ptp {
    /// Keeps its addresses in a folder below `disk`.
    pub(crate) fn new(disk: &Path) -> anyhow::Result<Self> {
        let plugin = Path::new(REFERENCE).join("ptp");
        ensure!(
            plugin.is_file(),
            "{} is missing: install Debian's containernetworking-plugins",
            plugin.display()
        );
        let folder = disk.join("host-local");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let conf = json!({
            "cniVersion": "1.0.0", "name": "bench", "type": "ptp", "mtu": 9001,
            "ipam": {
                "type": "host-local", "dataDir": folder, "subnet": "10.99.0.0/16",
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        Ok(Self { runner: Runner::new(&plugin, conf.clone()), conf })
    }

    fn call(&self, command: &str, pod: &Pod) -> anyhow::Result<Duration> {
        let netns = pod.path().display().to_string();
        let of_pod = Runner::variables(pod);
        let mut variables: Vec<(&str, &str)> =
            of_pod.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.extend([("CNI_NETNS", netns.as_str()), ("CNI_PATH", REFERENCE)]);
        let called = self.runner.raw(command, &variables, self.conf.to_string().as_bytes())?;
        let took = called.took;
        called.ok().with_context(|| format!("{command} of {} by ptp", pod.name))?;
        Ok(took)
    }
}

impl Contender for Ptp {
    fn name(&self) -> &'static str {
        "ptp"
    }

    fn add(&self, pod: &Pod) -> anyhow::Result<Duration> {
        self.call("ADD", pod)
    }

    fn del(&self, pod: &Pod) -> anyhow::Result<Duration> {
        self.call("DEL", pod)
    }
}
