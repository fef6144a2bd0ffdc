//! A pod as a container runtime makes one: a network namespace bound to a file, and a sandbox id.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings};
use holdfast_datapath::netns;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// One sandbox. Dropping it ends its network namespace, as a runtime does after DEL.
#[derive(Debug)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name: another sandbox may bear the same.
    pub name: String,
    /// The runtime's id of this sandbox.
    pub container_id: String,
    netns: Option<Arc<OwnedFd>>,
    file: PathBuf,
}

impl Pod {
    /// Makes the namespace and binds it below `dir`. `container_id` must be new.
    pub fn create(dir: &Path, name: &str, container_id: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let file = dir.join(container_id);
        File::create_new(&file).with_context(|| format!("making {}", file.display()))?;
        let netns = bind_new_netns(&file)?;
        Ok(Self {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            container_id: container_id.to_owned(),
            netns: Some(netns),
            file,
        })
    }

    /// Where the runtime says the namespace is (`CNI_NETNS`).
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The namespace.
    pub fn netns(&self) -> &Arc<OwnedFd> {
        self.netns.as_ref().expect("taken in drop only")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.netns.take());
        if let Err(error) = umount2(&self.file, MntFlags::MNT_DETACH) {
            eprintln!("unmounting {}: {error}", self.file.display());
        }
        if let Err(error) = fs::remove_file(&self.file) {
            eprintln!("removing {}: {error}", self.file.display());
        }
    }
}

/// A new namespace, kept by a bind mount on `file`.
fn bind_new_netns(file: &Path) -> anyhow::Result<Arc<OwnedFd>> {
    let netns = netns::create()?;
    let here = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&netns.as_fd()));
    mount(Some(here.as_str()), file, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("binding a namespace to {}", file.display()))?;
    netns::run_in(&netns, loopback_up)??;
    Ok(netns)
}

/// As runtimes do: a pod reaches itself.
pub(crate) fn loopback_up() -> anyhow::Result<()> {
    let mut socket = holdfast_datapath::netlink::Socket::open()?;
    let loopback = LinkRef::Name("lo".to_owned());
    socket.apply(&Change::SetLink(loopback, LinkSettings::up())).context("bringing loopback up")
}
