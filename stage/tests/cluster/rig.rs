//! A stage under test, and the traces that one leaves on a machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use holdfast_stage::RunFolder;
use holdfast_stage::drive::Cluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::NamedTempFile;

/// How long something may take that takes a second: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A file of values for the chart.
pub(crate) fn values(text: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Waits until it holds.
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A stage of this repository. Taken down when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    name: String,
    root: PathBuf,
}

/// What of a stage is on the machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Processes in its cgroup.
    pub(crate) processes: Vec<u32>,
    /// Their namespaces that are not the machine's.
    pub(crate) namespaces: BTreeSet<String>,
    /// Whoever is in these, by number and start: numbers of namespaces are given again as those of processes are.
    inhabitants: BTreeSet<(u32, u64)>,
    /// Its cgroups.
    pub(crate) cgroups: Vec<PathBuf>,
    /// What this program sees mounted below its folder.
    pub(crate) mounts: Vec<String>,
    /// Its folder.
    pub(crate) folder: bool,
}

impl Stage {
    /// None yet; what an earlier run of the test left is removed.
    pub(crate) fn new(name: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "containers need root: run this as root");
        let root = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let this = Self { name: name.to_owned(), root };
        this.run(&["down"]);
        this.assert_gone(&Traces::default());
        this
    }

    fn words(&self, arguments: &[&str]) -> Vec<String> {
        let root = self.root.display().to_string();
        let words = [&arguments[..1], &["--name", &self.name, "--root", &root], &arguments[1..]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// The program with a verb and its arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stage"));
        command.args(self.words(arguments));
        command
    }

    /// A test that hangs would say nothing.
    fn ask(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "400", env!("CARGO_BIN_EXE_stage")]).args(self.words(arguments));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a verb, which must succeed.
    pub(crate) fn run(&self, arguments: &[&str]) {
        self.output(arguments);
    }

    /// The same; gives what it printed.
    pub(crate) fn output(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb, which must fail; gives why.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts a verb and does not wait.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stage"));
        command.args(self.words(arguments)).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// What kubectl prints.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.output(&[&["kubectl", "--"], arguments].concat())
    }

    /// What Helm prints, of the version that has installed the chart.
    pub(crate) fn helm(&self, arguments: &[&str]) -> String {
        let helm = std::env::var("HOLDFAST_BIN_HELM").expect("HOLDFAST_BIN_HELM, see `./dev stage test`");
        let folder = self.folder();
        let home = folder.join("control/helm");
        let set = ["CACHE", "CONFIG", "DATA"]
            .map(|kind| format!("HELM_{kind}_HOME={}", home.join(kind.to_lowercase()).display()));
        let config = format!("KUBECONFIG={}", folder.join("admin.kubeconfig").display());
        let mut command = vec!["exec", "control-plane", "--", "env", &config];
        command.extend(set.iter().map(String::as_str));
        command.push(&helm);
        self.output(&[&command, arguments].concat())
    }

    /// The same of a command that asks for JSON.
    pub(crate) fn get(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[&["get", "--output=json"], arguments].concat())).unwrap()
    }

    /// The names of the nodes that say that they are ready.
    pub(crate) fn nodes_ready(&self) -> Vec<String> {
        let nodes = self.get(&["nodes"]);
        let is_ready = |node: &&Value| {
            let conditions = node["status"]["conditions"].as_array().unwrap();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let ready = nodes["items"].as_array().unwrap().iter().filter(is_ready);
        ready.map(|node| node["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// It, once it is up.
    pub(crate) fn cluster(&self) -> Cluster {
        Cluster::new(&self.root, &RunFolder::new(&self.root, &self.name).unwrap())
    }

    /// Kills the process that made the stage's namespaces.
    pub(crate) fn kill_keeper(&self) {
        let state: Value =
            serde_json::from_slice(&fs::read(self.folder().join("state.json")).unwrap()).unwrap();
        let pid = state["keeper"]["outer"]["pid"].as_i64().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    }

    /// As `cargo clean` does.
    pub(crate) fn delete_folder(&self) {
        fs::remove_dir_all(self.folder()).unwrap();
    }

    /// A file of its folder.
    pub(crate) fn file(&self, path: &str) -> String {
        self.folder().join(path).display().to_string()
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join("target/stage/run").join(&self.name)
    }

    /// What there is of the stage.
    pub(crate) fn traces(&self) -> Traces {
        let run = RunFolder::new(&self.root, &self.name).unwrap();
        let cgroup = run.cgroup();
        let processes: Vec<u32> = all_processes().filter(|pid| is_in_cgroup(*pid, &cgroup)).collect();
        let theirs: BTreeSet<String> = processes.iter().flat_map(|pid| namespaces(*pid)).collect();
        let namespaces: BTreeSet<String> =
            theirs.difference(&self::namespaces(std::process::id())).cloned().collect();
        let lives_there = |pid: &u32| !self::namespaces(*pid).is_disjoint(&namespaces);
        let inhabitants = all_processes().filter(lives_there).filter_map(|pid| Some((pid, start_of(pid)?)));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let folder = run.path().display().to_string();
        Traces {
            inhabitants: inhabitants.collect(),
            cgroups: cgroups(&cgroup),
            mounts: mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect(),
            folder: run.path().exists(),
            namespaces,
            processes,
        }
    }

    /// Waits until they are so; gives them.
    pub(crate) fn wait_for_traces(&self, what: &str, is_so: impl Fn(&Traces) -> bool) -> Traces {
        let begun = Instant::now();
        loop {
            let traces = self.traces();
            if is_so(&traces) {
                return traces;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what} within {} s: {traces:?}", PATIENCE.as_secs());
            std::thread::yield_now();
        }
    }

    /// Waits until `status` says so.
    pub(crate) fn wait_for_status(&self, words: &str) {
        let begun = Instant::now();
        while !self.output(&["status"]).contains(words) {
            assert!(begun.elapsed() < PATIENCE, "not so: {}", self.output(&["status"]));
        }
    }

    /// Nothing is there any more, of what there was neither.
    pub(crate) fn assert_gone(&self, before: &Traces) {
        assert_eq!(self.traces(), Traces::default());
        // A namespace lives as long as anybody is in it.
        let left = before.inhabitants.iter().filter(|(pid, start)| start_of(*pid) == Some(*start));
        let left: Vec<_> = left.map(|(pid, _)| (pid, namespaces(*pid))).collect();
        assert!(left.is_empty(), "still there: {left:?}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let output = self.ask(&["down"]);
        if !output.status.success() {
            eprintln!("down: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// One that has ended is in none.
fn is_in_cgroup(pid: u32, cgroup: &str) -> bool {
    let of = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    of.contains(&format!("/{cgroup}"))
}

/// When a process was started; `None`: it has ended, seen off or not.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    if fields[0] == "Z" { None } else { fields[19].parse().ok() }
}

fn namespaces(pid: u32) -> BTreeSet<String> {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let read = |kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    kinds.into_iter().filter_map(read).map(|link| link.display().to_string()).collect()
}

fn cgroups(name: &str) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
    };
    let hierarchies = entries(Path::new("/sys/fs/cgroup"));
    hierarchies.map(|hierarchy| hierarchy.join(name)).filter(|cgroup| cgroup.exists()).collect()
}
