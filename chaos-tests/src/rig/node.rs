//! One node: its namespace, and the daemon in it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use holdfast_datapath::netns;
use holdfast_model::ledger::Ledger;
use holdfast_sim::vpc::InstanceId;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::{PATIENCE, Process, Programs, process};
use crate::cni::Runner;

/// What the box says of a node.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeDescription {
    /// Name.
    pub name: String,
    /// Instance.
    pub instance: InstanceId,
    /// Its own address.
    pub address: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// A file that leads to its namespace.
    pub netns: PathBuf,
    /// What points AWS clients inside to the box.
    pub environment: BTreeMap<String, String>,
}

/// A node and its daemon, which can be started, asked, stopped and killed. Killed when dropped; what it logged is
/// shown when the test is failing.
#[derive(Debug)]
pub struct NodeUnderTest {
    programs: Programs,
    description: NodeDescription,
    dir: PathBuf,
    environment: BTreeMap<String, String>,
    /// The only rights that the daemon is started with, if not with all.
    rights: Option<String>,
    daemon: Option<Process>,
}

impl NodeUnderTest {
    pub(super) fn new(programs: &Programs, node: &NodeDescription, dir: &Path) -> anyhow::Result<Self> {
        for folder in [dir.join("run"), dir.join("var")] {
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let mut this = Self {
            programs: programs.clone(),
            description: node.clone(),
            dir: dir.to_owned(),
            environment: node.environment.clone(),
            rights: None,
            daemon: None,
        };
        this.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        // So that it finds `nft` where an ordinary user unpacked it.
        for name in ["PATH", "LD_LIBRARY_PATH"] {
            if let Ok(value) = env::var(name) {
                this.set(name, &value);
            }
        }
        for (name, path) in [
            ("HOLDFAST_LEDGER", this.ledger()),
            ("HOLDFAST_SOCKET", this.socket()),
            ("HOLDFAST_SPOOL", this.spool()),
        ] {
            this.set(name, &path.display().to_string());
        }
        Ok(this)
    }

    /// Sets a variable for the daemon's next start.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// From its next start on, the daemon finds a program of this name that is the shell script `text`, which finds the
    /// real one under the same name.
    pub fn stand_in(&mut self, program: &str, text: &str) -> anyhow::Result<&mut Self> {
        let dir = self.dir.join("stand-ins");
        let path = self.environment.get("PATH").cloned().unwrap_or_default();
        fs::create_dir_all(&dir)?;
        let file = dir.join(program);
        fs::write(&file, format!("#!/bin/sh\nPATH={path}\n{text}\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(self.set("PATH", &format!("{}:{path}", dir.display())))
    }

    /// From its next start on, the daemon is the superuser with these capabilities (`net_admin`) and no others.
    pub fn only_rights(&mut self, names: &[&str]) -> &mut Self {
        self.rights = Some(format!(",+{}", names.join(",+")));
        self
    }

    /// From the daemon's next start on, EC2 and the metadata service refuse all connections.
    pub fn cut_off(&mut self) -> &mut Self {
        // The discard service's port, on which nobody listens.
        self.set("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:9")
            .set("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    }

    /// From the daemon's next start on, they answer again.
    pub fn reconnect(&mut self) -> &mut Self {
        self.environment.remove("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        self.environment.extend(self.description.environment.clone());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Its instance.
    pub fn instance(&self) -> &InstanceId {
        &self.description.instance
    }

    /// Its own address.
    pub fn address(&self) -> anyhow::Result<Ipv4Addr> {
        self.description.address.context("the node has an address")
    }

    /// The same of IPv6.
    pub fn ipv6(&self) -> anyhow::Result<Ipv6Addr> {
        self.description.ipv6.context("the node has an IPv6 address")
    }

    /// Its network namespace.
    pub fn netns(&self) -> anyhow::Result<Arc<OwnedFd>> {
        Ok(Arc::new(netns::open(&self.description.netns)?))
    }

    /// Where its ledger is, unless `HOLDFAST_LEDGER` was set otherwise.
    pub fn ledger(&self) -> PathBuf {
        self.dir.join("var/ledger.redb")
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/cni.sock")
    }

    /// Where the plugin leaves tombstones.
    pub fn spool(&self) -> PathBuf {
        self.dir.join("var/spool")
    }

    /// The plugin of this node, as a runtime calls it.
    pub fn runner(&self) -> Runner {
        Runner::holdfast(&self.programs.plugin, &self.socket(), &self.spool())
    }

    /// All that the daemon has logged, earlier runs included.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// Another program is run as the daemon from the next start on; gives the one before.
    pub fn run_instead(&mut self, daemon: PathBuf) -> PathBuf {
        std::mem::replace(&mut self.programs.daemon, daemon)
    }

    /// Starts the daemon and does not wait.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let log = self.dir.join("daemon.log");
        let file = File::options().create(true).append(true).open(&log);
        self.start_logging(file.with_context(|| format!("opening {}", log.display()))?)
    }

    /// The same, with standard output and error led elsewhere.
    pub fn start_logging(&mut self, to: File) -> anyhow::Result<()> {
        ensure!(!self.is_running()?, "the daemon of {} runs already", self.name());
        let mut command = process::dies_with_us();
        // Becomes the daemon: its process id is the one we know.
        command.arg("nsenter").arg(format!("--net={}", self.description.netns.display())).arg("--");
        if let Some(rights) = &self.rights {
            command.args(["setpriv", "--inh-caps", "-all", "--bounding-set"]);
            command.arg(format!("-all{rights}")).arg("--");
        }
        command.arg(&self.programs.daemon).arg("run").env_clear().envs(&self.environment);
        let name = format!("holdfast on {}", self.name());
        self.daemon = Some(Process::start_writing(command, &name, to, &self.dir.join("daemon.log"))?);
        Ok(())
    }

    /// Starts the daemon and waits until it answers on its sockets.
    pub fn start_serving(&mut self) -> anyhow::Result<()> {
        self.start()?;
        self.wait_serving()
    }

    /// Starts the daemon and waits until an ADD would be served.
    pub fn start_ready(&mut self) -> anyhow::Result<()> {
        self.start()?;
        self.wait_until("ready", |health| health["serving"] == "ready")
    }

    /// Waits until the daemon answers.
    pub fn wait_serving(&mut self) -> anyhow::Result<()> {
        self.wait_until("alive", |health| health["alive"] == true)
    }

    /// Waits until `holdfast health` would say so.
    pub fn wait_until(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut last = String::new();
        loop {
            match self.health() {
                Ok(health) if is_so(&health) => return Ok(()),
                Ok(health) => last = health.to_string(),
                Err(error) => last = format!("{error:#} (before: {last:.200})"),
            }
            if let Some(status) = self.daemon()?.ended()? {
                bail!("the daemon of {} ended with {status}: {}", self.name(), self.log());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the daemon of {} was not {what} within {} s: {last}", self.name(), PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the daemon's state is so; gives that state.
    pub fn wait_state(&self, what: &str, is_so: impl Fn(&Ledger) -> bool) -> anyhow::Result<Ledger> {
        let begun = Instant::now();
        loop {
            let ledger = self.state()?;
            if is_so(&ledger) {
                return Ok(ledger);
            }
            if begun.elapsed() > PATIENCE {
                bail!("on {}: not {what} within {} s: {ledger:#?}", self.name(), PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether the daemon is running.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        match &mut self.daemon {
            None => Ok(false),
            Some(daemon) => Ok(daemon.ended()?.is_none()),
        }
    }

    /// The daemon's process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.daemon.as_ref().map(Process::pid).context("the daemon was not started")
    }

    /// The daemon's process.
    pub fn daemon(&mut self) -> anyhow::Result<&mut Process> {
        self.daemon.as_mut().context("the daemon was not started")
    }

    /// SIGKILL, and it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let daemon = self.daemon()?;
        daemon.signal(Signal::SIGKILL)?;
        daemon.wait(PATIENCE)?;
        Ok(())
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let daemon = self.daemon()?;
        daemon.signal(Signal::SIGTERM)?;
        daemon.wait(PATIENCE)
    }

    /// What `holdfast health` asks, without the process.
    pub fn health(&self) -> anyhow::Result<Value> {
        let mut stream = UnixStream::connect(self.socket().with_file_name("admin.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"health")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// Runs a verb of `holdfast` with the daemon's environment.
    pub fn verb(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Command::new(&self.programs.daemon)
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .output()
            .with_context(|| format!("running holdfast {arguments:?}"))
    }

    /// `holdfast dump --raw`, of the running daemon or of its file.
    pub fn dump(&self) -> anyhow::Result<Value> {
        let output = self.verb(&["dump", "--raw"])?;
        ensure!(output.status.success(), "dump: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("reading the dump")
    }

    /// The ledger out of a dump that shows no broken invariant.
    pub fn state(&self) -> anyhow::Result<Ledger> {
        let dump = self.dump()?;
        ensure!(dump["violations"] == serde_json::json!([]), "invariants are broken: {}", dump["violations"]);
        Ok(Ledger::deserialize(&dump["ledger"])?)
    }
}

impl Drop for NodeUnderTest {
    fn drop(&mut self) {
        if std::thread::panicking() && self.daemon.is_none() {
            eprintln!("---- the daemon of {} was never started", self.name());
        }
    }
}
