//! A box that is up, and what it leaves on the machine.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) const VPCSIM: &str = env!("CARGO_BIN_EXE_vpcsim");
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// The two nodes of the demo in a box without delays, but for that of a new link.
pub(crate) fn scenario() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let made = FILE.get_or_init(|| {
        let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/two-nodes.toml");
        let nodes = std::fs::read_to_string(nodes).unwrap();
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two-nodes-without-delays.toml");
        std::fs::write(&file, format!("timing = {{ link_appears = 100 }}\n{nodes}")).unwrap();
        file
    });
    made.clone()
}

/// A running `vpcsim up`, killed at the end of the test whatever happens.
pub(crate) struct Up {
    child: Child,
    pub(crate) folder: PathBuf,
    pub(crate) described: Value,
}

impl Up {
    pub(crate) fn start(run_dir: &Path, name: &str) -> Self {
        Self::of(&scenario(), run_dir, name)
    }

    pub(crate) fn of(scenario: &Path, run_dir: &Path, name: &str) -> Self {
        let mut child = Command::new(VPCSIM)
            .args(["up", "--json", "--name", name, "--run-dir"])
            .arg(run_dir)
            .arg("--scenario")
            .arg(scenario)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let described = serde_json::from_str(&line).expect("one line of JSON (does the test run as root?)");
        Self { child, folder: run_dir.join(name), described }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn end(&mut self) -> std::process::ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < BOUND, "vpcsim does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn netns(&self, node: usize) -> String {
        self.described["nodes"][node]["netns"].as_str().unwrap().to_owned()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already is fine: it was not waited for by anyone else, so the id is still its own.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn vpcsim(run_dir: &Path, name: &str, arguments: &[&str]) -> Output {
    let (first, rest) = arguments.split_first().unwrap();
    let mut command = Command::new(VPCSIM);
    command.arg(first).args(["--name", name, "--run-dir"]).arg(run_dir).args(rest).output().unwrap()
}

pub(crate) fn well(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Puts the test's thread, and what it starts, into namespaces of its own for network and mounts, with an empty /run:
/// what appears there is ours alone.
pub(crate) fn alone() -> tempfile::TempDir {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .expect("needs root, if only of a user namespace");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    tempfile::tempdir().unwrap()
}

/// What a run could leave on the machine, as seen from here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    links: BTreeSet<String>,
    mounts: String,
    /// Of /run, which holds named namespaces and the default folder, and of the folder given.
    entries: BTreeSet<PathBuf>,
}

pub(crate) fn traces(run_dir: &Path) -> Traces {
    let list = |path: &Path| path.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let links = devices.lines().skip(2).map(|line| line.split(':').next().unwrap().trim().to_owned());
    Traces {
        links: links.collect(),
        mounts: std::fs::read_to_string("/proc/thread-self/mounts").unwrap(),
        entries: [list(Path::new("/run")), list(run_dir)].concat().into_iter().collect(),
    }
}
