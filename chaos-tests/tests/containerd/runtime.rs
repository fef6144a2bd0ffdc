//! containerd on a node, with a root, state and socket of its own, and the plugin as its only network.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::cri::Runtime;
use crate::image;

/// How long containerd may take to do what it does in two seconds: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where distributions keep the reference plugins; containerd brings the loopback up by one of them.
const LOOPBACK: [&str; 4] = [
    "/usr/lib/cni/loopback",
    "/opt/cni/bin/loopback",
    "/usr/libexec/cni/loopback",
    "/usr/lib/cni/bin/loopback",
];

/// A containerd that can be started, killed and started again. It ends with the thread that started it.
#[derive(Debug)]
pub(crate) struct Containerd {
    dir: PathBuf,
    netns: PathBuf,
    process: Option<Child>,
}

/// A call of the plugin, as the runtime made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginCall {
    /// `ADD` or `DEL`.
    pub(crate) command: String,
    /// The sandbox.
    pub(crate) sandbox: String,
    /// `CNI_NETNS`, which may be empty.
    pub(crate) netns: String,
    /// The keys of `CNI_ARGS`, in their order.
    pub(crate) keys: Vec<String>,
}

impl Containerd {
    /// Lays out its files in `dir`: the node is that of the namespace at `netns`, its network that of `conf` (the
    /// configuration of one plugin) carried out by the program `plugin`.
    pub(crate) fn new(dir: &Path, netns: &Path, plugin: &Path, conf: &Value) -> anyhow::Result<Self> {
        for program in ["containerd", "containerd-shim-runc-v2", "ctr", "runc", "nsenter", "setpriv"] {
            ensure!(is_command(program), "{program} is missing: `./dev test` installs what the tests need");
        }
        let this = Self { dir: dir.to_owned(), netns: netns.to_owned(), process: None };
        for folder in ["bin", "net.d", "root", "state", "opt"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let loopback = LOOPBACK.iter().find(|path| Path::new(path).is_file());
        symlink(
            loopback.context("install the package containernetworking-plugins")?,
            dir.join("bin/loopback"),
        )?;
        let kind = conf["type"].as_str().context("a network configuration names its plugin")?;
        this.record_calls_of(plugin, &dir.join("bin").join(kind))?;
        let list = json!({ "cniVersion": conf["cniVersion"], "name": conf["name"], "plugins": [conf] });
        fs::write(dir.join("net.d/10-aws.conflist"), serde_json::to_vec_pretty(&list)?)?;
        fs::write(dir.join("config.toml"), this.config())?;
        Ok(this)
    }

    /// Writes a script that notes how it is called and becomes the plugin, unless the call is to reach nobody.
    fn record_calls_of(&self, plugin: &Path, script: &Path) -> anyhow::Result<()> {
        let text = format!(
            "#!/bin/sh\nprintf '%s|%s|%s|%s\\n' \"$CNI_COMMAND\" \"$CNI_CONTAINERID\" \"$CNI_NETNS\" \"$CNI_ARGS\" >>'{}'\n\
             if [ \"$CNI_COMMAND\" = DEL ] && [ -e '{}' ]; then exit 0; fi\n\
             exec '{}'\n",
            self.record().display(),
            self.swallow().display(),
            plugin.display(),
        );
        fs::write(script, text).with_context(|| format!("writing {}", script.display()))?;
        fs::set_permissions(script, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    fn record(&self) -> PathBuf {
        self.dir.join("calls")
    }

    fn swallow(&self) -> PathBuf {
        self.dir.join("swallow")
    }

    /// From now on each DEL succeeds and reaches nobody.
    pub(crate) fn swallow_dels(&self) -> anyhow::Result<()> {
        fs::write(self.swallow(), "").context("asking that DELs be swallowed")
    }

    /// AppArmor and negative `oom_score_adj` are rights that a container of tests need not have.
    fn config(&self) -> String {
        let dir = self.dir.display();
        format!(
            "version = 2\n\
             root = \"{dir}/root\"\n\
             state = \"{dir}/state\"\n\
             oom_score = 0\n\
             disabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
             \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\"]\n\
             grpc.address = \"{dir}/containerd.sock\"\n\
             debug.level = \"warn\"\n\
             plugins.\"io.containerd.internal.v1.opt\".path = \"{dir}/opt\"\n\
             \n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n\
             sandbox_image = \"{image}\"\n\
             disable_apparmor = true\n\
             restrict_oom_score_adj = true\n\
             stream_server_address = \"127.0.0.1\"\n\
             cni.bin_dir = \"{dir}/bin\"\n\
             cni.conf_dir = \"{dir}/net.d\"\n\
             cni.max_conf_num = 1\n\
             containerd.snapshotter = \"overlayfs\"\n\
             containerd.default_runtime_name = \"runc\"\n\
             containerd.runtimes.runc.runtime_type = \"io.containerd.runc.v2\"\n",
            image = image::NAME,
        )
    }

    /// A client.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::at(&self.dir.join("containerd.sock"))
    }

    /// Starts it and waits until it would run a pod.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.dir.join("containerd.log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nsenter"]);
        command.arg(format!("--net={}", self.netns.display())).args(["--", "containerd", "--config"]);
        command.arg(self.dir.join("config.toml")).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("starting containerd")?;
        self.process = Some(child);
        self.wait_until("ready", |runtime| {
            let conditions = runtime.conditions()?;
            for condition in ["RuntimeReady", "NetworkReady"] {
                match conditions.get(condition) {
                    Some((true, _)) => (),
                    other => bail!("{condition}: {other:?}"),
                }
            }
            Ok(())
        })
    }

    /// Gives it the image that sandboxes run.
    pub(crate) fn import_image(&mut self) -> anyhow::Result<()> {
        let archive = image::build(&self.dir)?;
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.dir.join("containerd.sock"));
        let output = command.args(["-n", "k8s.io", "images", "import"]).arg(archive).output();
        let output = output.context("running ctr")?;
        ensure!(output.status.success(), "ctr images import: {}", String::from_utf8_lossy(&output.stderr));
        // The runtime interface learns of it by an event.
        self.wait_until("aware of its image", |runtime| {
            ensure!(runtime.has_image(image::NAME)?, "not among its images");
            Ok(())
        })
    }

    /// SIGKILL; its shims and sandboxes live on.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("containerd does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// All calls of the plugin so far.
    pub(crate) fn calls(&self) -> anyhow::Result<Vec<PluginCall>> {
        if !self.record().exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(self.record())?;
        let call = |line: &str| {
            let mut fields = line.splitn(4, '|').map(str::to_owned);
            let mut next = || fields.next().with_context(|| format!("four fields in {line:?}"));
            let (command, sandbox, netns, args) = (next()?, next()?, next()?, next()?);
            let keys = args.split(';').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect();
            Ok(PluginCall { command, sandbox, netns, keys })
        };
        text.lines().map(call).collect()
    }

    /// The calls for one sandbox.
    pub(crate) fn calls_for(&self, sandbox: &str) -> anyhow::Result<Vec<PluginCall>> {
        let mut calls = self.calls()?;
        calls.retain(|call| call.sandbox == sandbox);
        Ok(calls)
    }

    fn wait_until(
        &mut self,
        what: &str,
        is_so: impl Fn(&Runtime) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let runtime = self.runtime();
        while let Err(error) = is_so(&runtime) {
            if let Some(status) = self.process.as_mut().context("containerd does not run")?.try_wait()? {
                bail!("containerd ended with {status}: {}", self.log());
            }
            if begun.elapsed() > PATIENCE {
                return Err(
                    error.context(format!("containerd was not {what} within {} s", PATIENCE.as_secs()))
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // The box ends it otherwise: that a test has failed is what matters, and why.
        if std::thread::panicking() {
            eprintln!("---- containerd said:\n{}----", self.log());
        }
    }
}

fn is_command(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
