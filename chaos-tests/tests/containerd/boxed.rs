//! A test inside mount and PID namespaces of its own: whatever containerd started ends with it.
//!
//! ```text
//!   cargo test ── this program ── unshare ── this program again, as process 1 of the box: runs the one test
//!                     │                          └── vpcsim, holdfast, containerd, shims, sandboxes
//!                     └── broom: waits for the end of this program, then removes the box's cgroups
//! ```
//!
//! The box ends when this program does, also by SIGKILL, and the kernel then ends all processes in it; files are in a
//! file system in memory that only the box sees (see `holdfast_chaos_tests::rig`). Cgroups are the one thing that
//! no namespace takes away, hence the broom.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Names the box, for the program inside it.
const VARIABLE: &str = "HOLDFAST_CONTAINERD_BOX";

/// How long a test may take before its box is ended.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits for the end of its standard input, then until all cgroups of the box ($0) are gone.
const BROOM: &str = r#"
cat
for round in $(seq 100); do
  left=$(find /sys/fs/cgroup -depth -type d -path "*/$0*" 2>/dev/null)
  [ -z "$left" ] && exit 0
  rmdir $left 2>/dev/null || sleep 0.1
done
echo "still there: $left"
exit 1
"#;

/// The name of the box that this program runs in, which is also the name of its cgroups.
pub(crate) fn name() -> anyhow::Result<String> {
    env::var(VARIABLE).context("outside a box")
}

/// Runs `body` inside a box of its own. `test` is the name of the calling test.
pub(crate) fn run(test: &str, body: impl FnOnce() -> anyhow::Result<()>) {
    let outcome = if name().is_ok() { body() } else { outside(test) };
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

/// A process of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its id, outside the box.
    pub(crate) pid: u32,
    /// The name of its program, cut off at 15 bytes by the kernel.
    pub(crate) program: String,
}

/// All processes that the box of this name has, as seen from outside: those that its name was handed down to, in
/// their environment or as their cgroup, and its broom.
pub(crate) fn processes(name: &str) -> anyhow::Result<Vec<Member>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?.path();
        let Some(pid) = entry.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // One that ends meanwhile has nothing to read.
        let of_box = |file: &str| {
            let content = fs::read(entry.join(file)).unwrap_or_default();
            content.windows(name.len()).any(|part| part == name.as_bytes())
        };
        if ["environ", "cmdline", "cgroup"].into_iter().any(of_box) {
            let program = fs::read_to_string(entry.join("comm")).unwrap_or_default();
            members.push(Member { pid, program: program.trim_end().to_owned() });
        }
    }
    Ok(members)
}

/// All cgroups of the box of this name, in every hierarchy.
pub(crate) fn cgroups(name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut cgroups = Vec::new();
    let root = PathBuf::from("/sys/fs/cgroup");
    // Hierarchies are one level below the root (version 1), or the root is the one there is (version 2).
    let hierarchies = fs::read_dir(&root)?.filter_map(|entry| Some(entry.ok()?.path()));
    for hierarchy in hierarchies.chain([root.clone()]) {
        let cgroup = hierarchy.join(name);
        if cgroup.is_dir() {
            cgroups.push(cgroup);
        }
    }
    Ok(cgroups)
}

/// A box, and who cleans up after it.
#[derive(Debug)]
struct Boxed {
    child: Child,
    broom: Child,
}

/// Starts the test in a box and waits for it.
fn outside(test: &str) -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "containerd needs root: run this test as root");
    let mut boxed = Boxed::start(test)?;
    let outcome = boxed.wait();
    let swept = boxed.sweep();
    outcome.and(swept)
}

impl Boxed {
    fn start(test: &str) -> anyhow::Result<Self> {
        let name = format!("holdfast-{}-{test}", std::process::id());
        let mut broom = Command::new("sh");
        broom.args(["-c", BROOM, &name]).stdin(Stdio::piped());
        // A Ctrl-C that ends this program is not for it.
        std::os::unix::process::CommandExt::process_group(&mut broom, 0);
        let broom = broom.spawn().context("starting the broom")?;
        // The first dies with the calling thread, the second takes the box with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--mount-proc"]);
        command.args(["--propagation", "private", "--fork", "--kill-child", "--"]);
        command.arg(env::current_exe()?).args(["--exact", test, "--nocapture"]);
        let child = command.env(VARIABLE, name).stdin(Stdio::null()).spawn().context("starting unshare")?;
        Ok(Self { child, broom })
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "failed in its box ({status}): see above");
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill()?;
                self.child.wait()?;
                bail!("not done within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Removes what is left of the box, which has ended.
    fn sweep(mut self) -> anyhow::Result<()> {
        drop(self.broom.stdin.take());
        let status = self.broom.wait()?;
        ensure!(status.success(), "cgroups of the box are left: see above");
        Ok(())
    }
}
