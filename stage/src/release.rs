//! Which versions make a cluster: read from the `go.mod` of each product, which is where they are chosen.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a cluster is made of, as `1.37.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its name, if it is not the newest one: that of the folder in which its own module files are.
    pub name: Option<String>,
    /// Kubernetes; the folder of the built programs bears its name.
    pub kubernetes: String,
    /// containerd.
    pub containerd: String,
    /// etcd.
    pub etcd: String,
    /// The reference CNI plugins.
    pub plugins: String,
    /// CoreDNS.
    pub coredns: String,
}

/// A product: what one `go.mod` builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    /// The cluster itself.
    Kubernetes,
    /// The runtime.
    Containerd,
    /// The API server's store.
    Etcd,
    /// The reference CNI plugins.
    Tools,
    /// The cluster's DNS.
    CoreDns,
    /// Kubernetes' own end-to-end suite, which needs modules that the cluster does not.
    Suite,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Kubernetes, Self::Containerd, Self::Etcd, Self::Tools, Self::CoreDns, Self::Suite];

    /// Its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Containerd => "containerd",
            Self::Etcd => "etcd",
            Self::Tools => "tools",
            Self::CoreDns => "coredns",
            Self::Suite => "e2e",
        }
    }

    /// The module that its version is of.
    pub fn module(self) -> &'static str {
        match self {
            Self::Kubernetes | Self::Suite => "k8s.io/kubernetes",
            Self::Containerd => "github.com/containerd/containerd/v2",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Tools => "github.com/containernetworking/plugins",
            Self::CoreDns => "github.com/coredns/coredns",
        }
    }
}

impl Release {
    /// Reads the `go.mod` files below `go`, of the newest release or of the one of this name.
    pub fn read(go: &Path, name: Option<&str>) -> Result<Self> {
        if let Some(name) = name
            && !(numbers(name).len() == 2 && go.join(name).is_dir())
        {
            return Err(Error::Refused(format!("there is no release {name:?} in {}", go.display())));
        }
        let version = |product: Product| {
            let path = modules(go, name, product).join("go.mod");
            let text = fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))?;
            required(&text, product.module())
                .ok_or_else(|| Error::Refused(format!("{} requires no {}", path.display(), product.module())))
        };
        Ok(Self {
            name: name.map(str::to_owned),
            kubernetes: version(Product::Kubernetes)?,
            containerd: version(Product::Containerd)?,
            etcd: version(Product::Etcd)?,
            plugins: version(Product::Tools)?,
            coredns: version(Product::CoreDns)?,
        })
    }

    /// The version of a product.
    pub fn of(&self, product: Product) -> &str {
        match product {
            Product::Kubernetes | Product::Suite => &self.kubernetes,
            Product::Containerd => &self.containerd,
            Product::Etcd => &self.etcd,
            Product::Tools => &self.plugins,
            Product::CoreDns => &self.coredns,
        }
    }

    /// The version of containerd's configuration file: 2.3 writes a newer one.
    pub fn containerd_config(&self) -> u8 {
        if numbers(&self.containerd) < vec![2, 3] { 3 } else { 4 }
    }
}

/// The folder of a product's module file. A release has its own of what it has in another version than the newest.
pub(crate) fn modules(go: &Path, name: Option<&str>, product: Product) -> PathBuf {
    let own = name.map(|name| go.join(name).join(product.folder()));
    own.filter(|own| own.is_dir()).unwrap_or_else(|| go.join(product.folder()))
}

/// The version, without its `v`, in which a `go.mod` requires a module.
fn required(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        let version = (words.next()? == module).then(|| words.next()).flatten()?;
        version.strip_prefix('v').map(str::to_owned)
    })
}

/// The numbers of a version: `1.26.8` is 1, 26, 8.
pub(crate) fn numbers(version: &str) -> Vec<u32> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_what_the_module_file_requires() {
        let one = "module x\n\nrequire k8s.io/kubernetes v1.37.1\n\nreplace (\n\tk8s.io/api => k8s.io/api v0.37.1\n)\n";
        assert_eq!(required(one, "k8s.io/kubernetes").as_deref(), Some("1.37.1"));
        assert_eq!(required(one, "k8s.io/api"), None, "replaced, not required");
        let block = "require (\n\tgo.etcd.io/etcd/server/v3 v3.6.16 // indirect\n)\n";
        assert_eq!(required(block, "go.etcd.io/etcd/server/v3").as_deref(), Some("3.6.16"));
        assert_eq!(required(block, "go.etcd.io/etcd"), None);
    }

    #[test]
    fn the_repository_names_whole_releases() {
        let go = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/go"));
        let newest = Release::read(go, None).unwrap();
        assert_eq!(numbers(&newest.kubernetes).len(), 3, "{newest:?}");
        let older = Release::read(go, Some("1.35")).unwrap();
        assert!(older.kubernetes.starts_with("1.35."), "{older:?}");
        for release in [&newest, &older] {
            let path = modules(go, release.name.as_deref(), Product::Suite).join("go.mod");
            let suite = required(&fs::read_to_string(&path).unwrap(), Product::Suite.module());
            assert_eq!(suite.as_ref(), Some(&release.kubernetes), "the cluster and its suite, {path:?}");
        }
        assert_eq!(older.etcd, newest.etcd, "what it has no file of its own for");
        assert!(["1.2", "kubernetes", "..", ""].iter().all(|name| Release::read(go, Some(name)).is_err()));
    }

    #[test]
    fn the_configuration_follows_containerd() {
        let release = |containerd: &str| Release {
            name: None,
            kubernetes: String::new(),
            containerd: containerd.to_owned(),
            etcd: String::new(),
            plugins: String::new(),
            coredns: String::new(),
        };
        assert_eq!(
            ["2.2.9", "2.3.0", "2.10.1"].map(|version| release(version).containerd_config()),
            [3, 4, 4]
        );
    }
}
