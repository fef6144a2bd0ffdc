//! Interface names that plugin, daemon and other tools on the node derive alike.

use sha1::{Digest, Sha1};

use crate::ids::{PodRef, VethPrefix};

/// How many hex digits of the hash a name carries: a prefix of up to 4 bytes fits the kernel's 15.
const HASH_DIGITS: usize = 11;

/// The host end of a pod's veth pair: the prefix and the first 11 hex digits of the SHA-1 of
/// `<namespace>.<pod>`.
///
/// The Amazon VPC CNI and Calico compute the same name, so both find the pod's interface.
pub fn host_veth(prefix: &VethPrefix, pod: &PodRef) -> String {
    format!("{prefix}{}", pod_hash(pod))
}

/// The same of the pod's interface of this number: of one besides the first, which is number 0, the hash is that of
/// `<namespace>.<pod>.<number>`.
pub fn host_veth_of(prefix: &VethPrefix, pod: &PodRef, number: usize) -> String {
    if number == 0 {
        return host_veth(prefix, pod);
    }
    let name = format!("{}.{number}", pod.name);
    host_veth(prefix, &PodRef { name, namespace: pod.namespace.clone(), uid: None })
}

/// The name of the interface entry in a CNI result that stands for no interface but carries the device number.
pub fn dummy_interface(pod: &PodRef) -> String {
    format!("dummy{}", pod_hash(pod))
}

fn pod_hash(pod: &PodRef) -> String {
    let mut digits = crate::ids::hex(&Sha1::digest(format!("{}.{}", pod.namespace, pod.name)));
    digits.truncate(HASH_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str) -> PodRef {
        PodRef { namespace: namespace.into(), name: name.into(), uid: None }
    }

    #[test]
    fn host_veth_matches_the_names_in_use_on_nodes() {
        let eni = VethPrefix::new("eni").unwrap();
        for (namespace, name, want) in [
            ("kube-system", "coredns-57ff979f67-qqbdh", "enib5faff8a083"),
            ("kube-system", "coredns-57ff979f67-8ns9b", "eni9571956a6cc"),
            ("default", "sample-pod", "enicc21c2d7785"),
        ] {
            assert_eq!(host_veth(&eni, &pod(namespace, name)), want);
        }
        assert_eq!(dummy_interface(&pod("default", "sample-pod")), "dummycc21c2d7785");
    }

    /// The digest by another program: `printf default.sample-pod.1 | sha1sum`.
    #[test]
    fn a_further_interface_has_a_name_of_its_own() {
        let (eni, pod) = (VethPrefix::new("eni").unwrap(), pod("default", "sample-pod"));
        assert_eq!(host_veth_of(&eni, &pod, 0), host_veth(&eni, &pod));
        assert_eq!(host_veth_of(&eni, &pod, 1), "enia0b7655f3c9");
    }

    #[test]
    fn the_longest_prefix_still_fits_an_interface_name() {
        let name = host_veth(&VethPrefix::new("veth").unwrap(), &pod("default", "sample-pod"));
        assert!(crate::ids::IfName::new(&name).is_ok(), "{name}");
    }
}
