//! Where files of this room are.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::release::{Product, Release, modules};

/// Longest name of a stage: it is part of cgroups' and hosts' names.
const LONGEST_NAME: usize = 24;

/// What belongs to the repository at a root, and to one release in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    root: PathBuf,
    release: Release,
}

impl Places {
    /// Of a release.
    pub fn new(root: &Path, release: &Release) -> Self {
        Self { root: root.to_owned(), release: release.clone() }
    }

    /// The folder of a product's module file.
    pub fn modules(&self, product: Product) -> PathBuf {
        modules(&go_of(&self.root), self.release.name.as_deref(), product)
    }

    /// Everything that is made.
    pub fn target(&self) -> PathBuf {
        self.root.join("target/stage")
    }

    /// The programs and images of the release.
    pub fn bin(&self) -> PathBuf {
        self.target().join(&self.release.kubernetes).join("bin")
    }

    /// A stage's folder.
    pub fn run(&self, name: &str) -> Result<RunFolder> {
        RunFolder::new(&self.root, name)
    }
}

/// The module files below a repository's root.
pub fn go_of(root: &Path) -> PathBuf {
    root.join("stage/go")
}

/// The folder of one stage, there or not. What belongs to the stage is found from it.
///
/// ```text
/// target/stage/run/NAME.lock        held by who brings it up or takes it down
/// target/stage/run/NAME/state.json  who keeps it, see `state`; written before anything is made
///                       live.json   what the keeper says of itself
///                       logs/       one file for each part
///                       control/    the control plane's files: keys, tokens, etcd's data
///                       NODE/       what a node has on its disk
///                       admin.kubeconfig
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    name: String,
    path: PathBuf,
}

impl RunFolder {
    /// Of the stage of this name in the repository at `root`, an absolute path.
    pub fn new(root: &Path, name: &str) -> Result<Self> {
        let fits = (1..=LONGEST_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !fits {
            return Err(Error::Refused(format!(
                "{name:?} is no name for a stage: want at most {LONGEST_NAME} of a-z, 0-9 and -"
            )));
        }
        Ok(Self { name: name.to_owned(), path: root.join("target/stage/run").join(name) })
    }

    /// The stage's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cgroup of all that the stage runs, in each hierarchy: no other repository's stage has the same.
    pub fn cgroup(&self) -> String {
        let digest = format!("{:x}", Sha256::digest(self.path.as_os_str().as_encoded_bytes()));
        format!("holdfast-stage-{}-{}", self.name, &digest[..8])
    }

    /// The lock, beside the folder, which it outlives.
    pub fn lock(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    /// The state.
    pub fn state(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// What the keeper says.
    pub fn live(&self) -> PathBuf {
        self.path.join("live.json")
    }

    /// All logs.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The log of a part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    /// The control plane's files.
    pub fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    /// What a node has on its disk.
    pub fn node(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What `kubectl` goes by.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path.join("admin.kubeconfig")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_folder_and_one_cgroup() {
        let run = |root: &str, name: &str| RunFolder::new(Path::new(root), name);
        for wrong in ["", "..", "a/b", "A", "a_b", &"a".repeat(25)] {
            assert!(run("/r", wrong).is_err(), "{wrong:?}");
        }
        let cgroup = |root: &str, name: &str| run(root, name).unwrap().cgroup();
        assert_ne!(cgroup("/r", "x"), cgroup("/s", "x"), "two clones do not meet");
        assert_eq!(cgroup("/r", "x"), cgroup("/r", "x"));
    }
}
