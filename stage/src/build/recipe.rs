//! What is built, and how. Data only.

use serde::Serialize;

use super::images::{AGNHOST, Archive, BUSYBOX, COREDNS, PAUSE};
use super::suite_image::{SUITE_IMAGE, WEB_IMAGE};
use crate::release::{Product, Release};

/// The program beside the module file.
const OWN: &str = ".";

/// One program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Its name, and its file's.
    pub name: &'static str,
    /// How it is made.
    pub part: Part,
}

/// How a program is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Part {
    /// From a Go package.
    Go {
        /// Whose module file it is built by.
        #[serde(skip)]
        product: Product,
        /// The package.
        package: &'static str,
        /// Build tags.
        tags: &'static str,
        /// What the linker writes into it.
        stamps: String,
    },
    /// Kubernetes' own `pause`, which is one file of C.
    Pause,
    /// An image, from a program that was built before.
    Image(Archive),
    /// The program that runs a Go package's tests.
    GoTest {
        /// Whose module file it is built by.
        #[serde(skip)]
        product: Product,
        /// The package.
        package: &'static str,
        /// What the linker writes into it.
        stamps: String,
    },
    /// An image in which the end-to-end suite runs its servers and clients.
    SuiteImage(Archive),
}

impl Recipe {
    /// The product whose module file it comes from.
    pub fn product(&self) -> Product {
        match self.part {
            Part::Go { product, .. } | Part::GoTest { product, .. } => product,
            Part::Pause | Part::Image(_) | Part::SuiteImage(_) => Product::Kubernetes,
        }
    }
}

/// All programs of a release. The quick ones first: who watches sees that it goes on.
pub fn recipes(release: &Release) -> Vec<Recipe> {
    let kubernetes = kubernetes_stamps(&release.kubernetes);
    let containerd = format!("-X github.com/containerd/containerd/v2/version.Version={}", release.containerd);
    let go = |product, tags, stamps: &str, name, package| Recipe {
        name,
        part: Part::Go { product, package, tags, stamps: stamps.to_owned() },
    };
    let of_containerd = |name, package| {
        // What they are for needs libraries of C.
        go(Product::Containerd, "no_btrfs,no_devmapper,no_zfs", &containerd, name, package)
    };
    let of_kubernetes = |name, package| go(Product::Kubernetes, "", &kubernetes, name, package);
    let plugin = |name, package| go(Product::Tools, "", "", name, package);
    let image = |archive: Archive| Recipe { name: archive.name, part: Part::Image(archive) };
    vec![
        go(Product::Etcd, "", "", "etcd", "go.etcd.io/etcd/server/v3"),
        plugin("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
        plugin("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
        plugin("ptp", "github.com/containernetworking/plugins/plugins/main/ptp"),
        plugin("bandwidth", "github.com/containernetworking/plugins/plugins/meta/bandwidth"),
        plugin("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
        plugin("tuning", "github.com/containernetworking/plugins/plugins/meta/tuning"),
        of_containerd("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
        of_containerd(
            "containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        ),
        of_containerd("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        Recipe { name: "pause", part: Part::Pause },
        of_kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        of_kubernetes("agnhost", "k8s.io/kubernetes/test/images/agnhost"),
        image(PAUSE),
        image(BUSYBOX),
        image(AGNHOST),
        go(Product::CoreDns, "", "", "coredns", OWN),
        image(COREDNS),
        of_kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
        of_kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        of_kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        of_kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        of_kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ]
}

/// What Kubernetes' own end-to-end suite needs beyond the cluster's programs.
pub fn suite(release: &Release) -> Vec<Recipe> {
    let stamps = kubernetes_stamps(&release.kubernetes);
    let ginkgo = Part::Go {
        product: Product::Suite,
        package: "github.com/onsi/ginkgo/v2/ginkgo",
        tags: "",
        stamps: String::new(),
    };
    let tests = Part::GoTest { product: Product::Suite, package: "k8s.io/kubernetes/test/e2e", stamps };
    vec![
        Recipe { name: SUITE_IMAGE.name, part: Part::SuiteImage(SUITE_IMAGE) },
        Recipe { name: WEB_IMAGE.name, part: Part::SuiteImage(WEB_IMAGE) },
        Recipe { name: "ginkgo", part: ginkgo },
        // The runner knows a program of tests by its ending.
        Recipe { name: "e2e.test", part: tests },
    ]
}

/// Without its version in it no program of Kubernetes speaks to another: they refuse to parse it.
fn kubernetes_stamps(version: &str) -> String {
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let package = "k8s.io/component-base/version";
    format!(
        "-X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
         -X {package}.gitTreeState=clean"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_program_has_one_recipe_and_its_package_is_a_tool_of_its_module() {
        let go = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/go"));
        let release = Release::read(go, None).unwrap();
        let recipes = [recipes(&release), suite(&release)].concat();
        let names: BTreeSet<_> = recipes.iter().map(|recipe| recipe.name).collect();
        assert_eq!(names.len(), recipes.len());
        for recipe in &recipes {
            let Part::Go { product, package, .. } = &recipe.part else { continue };
            if *package == OWN {
                assert!(go.join(product.folder()).join("main.go").is_file(), "{recipe:?}");
                continue;
            }
            let file = std::fs::read_to_string(go.join(product.folder()).join("go.mod")).unwrap();
            let is_tool = file.lines().any(|line| line.trim().trim_start_matches("tool ") == *package);
            assert!(is_tool, "{} has no tool line for {package}", product.folder());
        }
    }

    #[test]
    fn programs_of_kubernetes_bear_its_version() {
        assert!(kubernetes_stamps("1.37.1").contains("gitVersion=v1.37.1"));
        assert!(kubernetes_stamps("1.37.1").contains("gitMinor=37"));
    }
}
