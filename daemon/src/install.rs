//! What the node's runtime finds of us: the plugin, and the network configuration that names it.
//!
//! The configuration is put in place once the daemon answers from its ledger: a runtime takes its presence for a node that can
//! have pods. It stays when the daemon restarts, when addresses run out and when EC2 is away.
//!
//! What is there and is as it should be is not written. While the daemon runs, what was taken away is put back; what somebody
//! changed is left as it is till the next start, because others add their plugins to a configuration that is there.
//!
//! When the DaemonSet is removed the configuration goes; the plugin stays, for what is deleted by an older configuration.

mod conflist;
mod place;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use conflist::names_us;
pub(crate) use conflist::{CniVersion, Wanted};
use place::{Mode, Placed, is_missing, place};

use crate::aside;

/// What a runtime looks for in its folder of plugins.
const PLUGIN: &str = "aws-cni";

/// Reference plugins that may be beside ours, as in an image, for nodes that have none.
const REFERENCE: &[&str] = &["bandwidth", "loopback", "portmap", "tuning"];

/// What the Amazon VPC CNI calls its configuration, which other programs look for by name.
const CONFLIST: &str = "10-aws.conflist";

/// How soon what could not be put in place is tried again, at first and at the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often it is looked whether both are there.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is put onto the node, and where.
#[derive(Clone, Debug)]
pub(crate) struct Install {
    /// The plugin's program, if it is not beside the daemon's, and the runtime's folder for it.
    pub(crate) plugin: Option<(Option<PathBuf>, PathBuf)>,
    /// The runtime's folder of network configurations.
    pub(crate) configurations: Option<PathBuf>,
    /// What the configuration says.
    pub(crate) wanted: Wanted,
    /// Whether the configuration was taken away for good; held while anything is put in place. What hangs on a disk as it is
    /// called off goes on by itself, and would put it back. Clones have the same.
    pub(crate) withdrawn: Arc<Mutex<bool>>,
}

impl Install {
    /// Puts in place what is not as it should be, or only what is not there. Blocks.
    fn all(&self, only_missing: bool) -> anyhow::Result<()> {
        let withdrawn = self.withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
        if *withdrawn {
            return Ok(());
        }
        let wanted = |path: &Path| !only_missing || is_missing(path);
        if let Some((program, folder)) = &self.plugin {
            let program = match program {
                Some(program) => program.clone(),
                None => std::env::current_exe().context("finding this program")?.with_file_name(PLUGIN),
            };
            let put = |from: &Path, name: &str| -> anyhow::Result<()> {
                let bytes = std::fs::read(from).with_context(|| format!("reading {}", from.display()))?;
                tell(&folder.join(name), place(folder, name, &bytes, Mode::Program)?);
                Ok(())
            };
            if wanted(&folder.join(PLUGIN)) {
                put(&program, PLUGIN)?;
            }
            // The node's own come with its image, and are newer or older for a reason.
            for name in REFERENCE {
                let from = program.with_file_name(name);
                if from.is_file() && is_missing(&folder.join(name)) {
                    put(&from, name)?;
                }
            }
        }
        if let Some(folder) = &self.configurations
            && wanted(&folder.join(CONFLIST))
        {
            // A configuration that names a plugin which is not there makes every pod fail. A link of the node's may lead where
            // a container cannot see: it is there.
            let plugins = self.plugin.as_ref().map(|(_, folder)| folder);
            let text =
                self.wanted.text(|name| plugins.is_none_or(|folder| !is_missing(&folder.join(name))))?;
            tell(&folder.join(CONFLIST), place(folder, CONFLIST, text.as_bytes(), Mode::Plain)?);
        }
        Ok(())
    }

    /// Another configuration that a runtime takes in the place of this one: it goes by their names. Blocks.
    fn outranked(&self) -> Option<String> {
        let folder = std::fs::read_dir(self.configurations.as_ref()?).ok()?;
        let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let counts = |name: &String| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
        names.filter(counts).min().filter(|first| first.as_str() < CONFLIST)
    }

    /// Whether one of them was taken away. Blocks.
    fn lacks(&self) -> bool {
        let plugin = self.plugin.as_ref().is_some_and(|(_, folder)| is_missing(&folder.join(PLUGIN)));
        plugin || self.configurations.as_ref().is_some_and(|folder| is_missing(&folder.join(CONFLIST)))
    }
}

fn tell(path: &Path, placed: Placed) {
    match placed {
        Placed::AsItWas => tracing::debug!(path = %path.display(), "in place"),
        Placed::New => tracing::info!(path = %path.display(), "put in place"),
        Placed::Replaced => tracing::info!(path = %path.display(), "put in the place of another version"),
    }
}

/// Puts everything in place, and keeps it there. What cannot be is told once for each cause, and tried again.
pub(crate) async fn keep(install: Install, stopping: CancellationToken) {
    if install.plugin.is_none() && install.configurations.is_none() {
        return;
    }
    let work = async {
        let mut told = String::new();
        let mut pause = RETRY.0;
        let (mut wanted, mut only_missing) = (true, false);
        let mut outranked = None;
        loop {
            if wanted {
                let install = install.clone();
                // A folder's disk may hang.
                match aside::look(move || install.all(only_missing)).await {
                    Some(Ok(())) => {
                        (told, pause, wanted, only_missing) = (String::new(), RETRY.0, false, true);
                    }
                    Some(Err(error)) => {
                        let cause = format!("{error:#}");
                        if cause != told {
                            tracing::error!(error = %cause, "the node's runtime cannot be given the plugin; trying again");
                            told = cause;
                        }
                        tokio::time::sleep(pause).await;
                        pause = (2 * pause).min(RETRY.1);
                        continue;
                    }
                    None => {}
                }
            }
            let look = install.clone();
            let first = aside::look(move || look.outranked()).await.flatten();
            if first != outranked {
                if let Some(name) = &first {
                    tracing::warn!(
                        "the runtime takes the network configuration {name}, which comes before {CONFLIST}: pods come here only if \
                         that one hands them on"
                    );
                } else {
                    tracing::info!("{CONFLIST} is the first network configuration now");
                }
                outranked = first;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            let look = install.clone();
            if aside::look(move || look.lacks()).await.unwrap_or(false) {
                tracing::warn!("somebody took away the plugin or its configuration: putting it back");
                wanted = true;
            }
        }
    };
    tokio::select! {
        () = stopping.cancelled() => {}
        () = work => {}
    }
}

/// How long a disk may take to take the configuration away.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(2);

/// Takes the network configuration away, ours or one that others have changed since: nobody is there any more to serve it.
pub(crate) async fn withdraw(install: &Install) {
    let Some(path) = install.configurations.as_ref().map(|folder| folder.join(CONFLIST)) else { return };
    let (at, withdrawn) = (path.clone(), Arc::clone(&install.withdrawn));
    let taken = aside::look(move || {
        let mut withdrawn = withdrawn.lock().unwrap_or_else(PoisonError::into_inner);
        *withdrawn = true;
        remove(&at)
    });
    let taken = tokio::time::timeout(WITHDRAWN_WITHIN, taken);
    match taken.await {
        Ok(Some(Ok(()))) => {
            tracing::info!(path = %path.display(), "the DaemonSet was removed: the network configuration is taken away");
        }
        Ok(Some(Err(error))) => {
            let error = format!("{error:#}");
            tracing::error!(path = %path.display(), error, "the network configuration cannot be taken away");
        }
        // The log has the panic.
        Ok(None) => {}
        Err(_elapsed) => {
            tracing::error!(path = %path.display(), "its disk hangs: the network configuration may stay");
        }
    }
}

/// Its absence is what is wanted.
fn remove(path: &Path) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    anyhow::ensure!(names_us(&text), "it does not name {PLUGIN}: somebody else's");
    std::fs::remove_file(path)?;
    // A name that comes back after a power cut would make the node ready for pods that nobody serves.
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all())?;
    Ok(())
}

#[cfg(test)]
mod tests;
