//! A node's first process: it lays the node's file systems out, holds its namespaces, and takes the orphans in.
//!
//! It is started inside fresh namespaces for mounts, PIDs, host name, IPC and cgroups and in the network namespace of
//! the simulated instance. With it everything in the node ends, at once: a power cut.
//!
//! ```text
//!   /run                  empty, in memory; shared, as systemd makes it, so that containers can see mounts to come
//!   /etc /opt /var        the machine's, covered: what the node writes stays in memory and is seen by nobody else
//!   /etc/cni /opt/cni /etc/kubernetes /etc/containerd     the node's own, empty
//!   /var/lib/{containerd,kubelet,holdfast,cni} /var/log   folders of the stage, on the disk
//!   /sys, /sys/fs/cgroup/*, /sys/fs/bpf                   of the node's namespaces
//! ```

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use crate::cgroups::Hierarchy;
use crate::error::{Error, Result};
use crate::tend::take_orphans_in;

/// The line on standard output that tells that the node is laid out.
pub(crate) const READY: &str = "ready";

/// Covered: a node writes there, below paths that others expect.
const COVERED: [&str; 3] = ["/etc", "/opt", "/var"];

/// What the machine has there is none of the node's business.
const EMPTIED: [&str; 4] = ["/etc/cni", "/opt/cni", "/etc/kubernetes", "/etc/containerd"];

/// On the disk: large, or what must outlive a power cut.
const KEPT: [&str; 5] =
    ["/var/lib/containerd", "/var/lib/kubelet", "/var/lib/holdfast", "/var/lib/cni", "/var/log"];

/// A node to be laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInit {
    /// Its host name.
    pub name: String,
    /// What tells it from other machines.
    pub machine_id: String,
    /// Its disk.
    pub disk: PathBuf,
    /// Where the reference plugins are, and which.
    pub plugins: Vec<PathBuf>,
    /// The machine's cgroup hierarchies.
    pub hierarchies: Vec<Hierarchy>,
}

/// Lays the node out, says so, and stays until it is killed.
pub fn run(node: &NodeInit) -> Result<()> {
    lay_out(node)?;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")
        .and_then(|()| out.flush())
        .map_err(Error::io("saying that the node is ready"))?;
    take_orphans_in(None)
}

fn lay_out(node: &NodeInit) -> Result<()> {
    nix::unistd::sethostname(&node.name).map_err(Error::kernel("setting the host name"))?;
    tmpfs("/run", "mode=755")?;
    let disk = Path::new("/run/stage/disk");
    make_folder(disk)?;
    bind(&node.disk, disk)?;
    for place in COVERED {
        cover(place)?;
    }
    for place in EMPTIED {
        match fs::remove_dir_all(place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("emptying {place}"))(error));
            }
            _ => make_folder(Path::new(place))?,
        }
    }
    for (file, text) in [("/etc/hostname", &node.name), ("/etc/machine-id", &node.machine_id)] {
        fs::write(file, format!("{text}\n")).map_err(Error::io(format!("writing {file}")))?;
    }
    for place in KEPT {
        let on_disk = disk.join(place.trim_start_matches('/'));
        make_folder(&on_disk)?;
        make_folder(Path::new(place))?;
        bind(&on_disk, Path::new(place))?;
    }
    for place in ["/etc/cni/net.d", "/opt/cni/bin", "/run/netns", "/run/lock", "/run/containerd"] {
        make_folder(Path::new(place))?;
    }
    for plugin in &node.plugins {
        let at = Path::new("/opt/cni/bin").join(plugin.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(plugin, &at).map_err(Error::io(format!("linking {}", at.display())))?;
    }
    kernel_file_systems(&node.hierarchies)?;
    let everything = MsFlags::MS_REC | MsFlags::MS_SHARED;
    mount_on(None, Path::new("/"), None, everything, None)
}

/// A folder in which what the node writes lies over what the machine has.
fn cover(place: &str) -> Result<()> {
    let over = Path::new("/run/stage/over").join(place.trim_start_matches('/'));
    let (upper, work) = (over.join("upper"), over.join("work"));
    make_folder(&upper)?;
    make_folder(&work)?;
    let options = format!("lowerdir={place},upperdir={},workdir={}", upper.display(), work.display());
    mount_on(Some("overlay"), Path::new(place), Some("overlay"), MsFlags::empty(), Some(&options))
}

fn kernel_file_systems(hierarchies: &[Hierarchy]) -> Result<()> {
    let plain = |kind: &'static str, at: &Path, options: Option<&str>| {
        mount_on(Some(kind), at, Some(kind), MsFlags::empty(), options)
    };
    plain("sysfs", Path::new("/sys"), None)?;
    tmpfs("/sys/fs/cgroup", "mode=755")?;
    for hierarchy in hierarchies {
        make_folder(&hierarchy.at)?;
        plain("cgroup", &hierarchy.at, Some(&hierarchy.options))?;
    }
    plain("bpf", Path::new("/sys/fs/bpf"), None)
}

fn tmpfs(at: &str, options: &str) -> Result<()> {
    mount_on(Some("tmpfs"), Path::new(at), Some("tmpfs"), MsFlags::empty(), Some(options))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(Error::kernel(format!(
        "binding {} to {}",
        from.display(),
        to.display()
    )))
}

fn mount_on(
    source: Option<&str>,
    at: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<()> {
    let what = format!("mounting {} on {}", kind.unwrap_or("nothing"), at.display());
    mount(source, at, kind, flags, options).map_err(Error::kernel(what))
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io(format!("making {}", path.display())))
}
