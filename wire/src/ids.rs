//! Names that come from outside, checked once: a value of these types has passed its rule, on both sides of
//! the socket.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct BadName {
    /// Which kind of name.
    pub what: &'static str,
    /// The refused text, cut to a printable length.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl BadName {
    fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self { what, value: value.chars().take(80).collect(), rule }
    }
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` against the type's rule.
            pub fn new(text: &str) -> Result<Self, BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(BadName::new($what, text, $rule)) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// The charset that the CNI specification gives to network names and container ids.
fn spec_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The kernel's rule for interface names (`dev_valid_name`), minus what shells and `ip` cannot print.
fn kernel_interface_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 15
        && text != "."
        && text != ".."
        // The kernel puts a number in the place of `%d`: the link would bear another name than was asked for.
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':' | b'%'))
}

/// What the names of interfaces begin with that are not pods': the host's own, which its network manager goes by, and
/// the branches that the NAT table tells by their name.
const TAKEN: [&str; 7] = ["eth", "ens", "eno", "enp", "enx", "vlan", "lo"];

checked_name!(
    /// A CNI network's name: the `name` of the network configuration.
    NetworkName,
    "network name",
    "it starts with a letter or digit, then letters, digits, '_', '.' or '-'",
    spec_identifier
);

checked_name!(
    /// The runtime's id of a sandbox: `CNI_CONTAINERID`.
    ContainerId,
    "container id",
    "it starts with a letter or digit, then letters, digits, '_', '.' or '-'",
    spec_identifier
);

checked_name!(
    /// A network interface's name, as the kernel takes it.
    IfName,
    "interface name",
    "it has 1 to 15 printable characters without '/', ':' or '%', and is not '.' or '..'",
    kernel_interface_name
);

checked_name!(
    /// The start of a host veth's name. With the 11 hex digits that follow it fits the kernel's 15 bytes.
    VethPrefix,
    "veth prefix",
    "it has 1 to 4 characters that are allowed in an interface name ('/', ':' and '%' are not), and does not begin as \
     other interfaces' names do: eth, ens, eno, enp, enx, vlan, lo",
    |text| text.len() <= 4 && kernel_interface_name(text) && !TAKEN.iter().any(|taken| text.starts_with(taken))
);

/// What a lease is keyed by: one runtime instance of a pod on one network with one interface.
///
/// Never the pod's name: a pod deleted and made again under its old name is another sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxKey {
    /// The CNI network.
    pub network: NetworkName,
    /// The runtime's sandbox.
    pub container_id: ContainerId,
    /// The interface inside the sandbox.
    pub ifname: IfName,
}

impl SandboxKey {
    /// The SHA-256 of the key as 64 hex digits: equal for equal keys only, and fit for a file name.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.network.as_str(), self.container_id.as_str(), self.ifname.as_str()] {
            hash.update(part.as_bytes());
            // No part can contain a NUL, so no two keys run together into one text.
            hash.update([0]);
        }
        hex(&hash.finalize())
    }
}

impl fmt::Display for SandboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.container_id, self.ifname)
    }
}

/// The pod behind a sandbox, as the runtime names it in `CNI_ARGS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID; older runtimes do not pass it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An attachment that the runtime still wants, in GC: a [`SandboxKey`] without its network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The runtime's sandbox.
    #[serde(rename = "containerID", alias = "container_id")]
    pub container_id: ContainerId,
    /// The interface inside the sandbox.
    pub ifname: IfName,
}

/// The prefix length that names exactly one address of this family.
pub(crate) fn host_prefix_len(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Lower-case hex digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_id_takes_the_specification_charset_only() {
        for good in ["a", "0", "3f5c9d", "a_b.c-d", "Z9"] {
            assert!(ContainerId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "a\0", "ä", "../x", "a\n"] {
            assert!(ContainerId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ifname_takes_what_the_kernel_takes() {
        for good in ["eth0", "a", "eni-1.2", "fifteen-bytes-x"] {
            assert!(IfName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "eth%d", "%", "a b", "a\tb", "sixteen-bytes-xx", "\u{e4}"] {
            assert!(IfName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn veth_prefix_leaves_room_for_the_hash() {
        assert!(VethPrefix::new("eni").is_ok());
        assert!(VethPrefix::new("veth").is_ok());
        for bad in ["", "enix5", "a/b", ".", ".."] {
            assert!(VethPrefix::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn veth_prefix_is_no_pattern_and_not_that_of_other_interfaces() {
        for bad in ["e%d", "eth", "eth0", "ens", "enp", "vlan", "lo"] {
            let error = VethPrefix::new(bad).unwrap_err().to_string();
            assert!(error.contains("'%'") && error.contains("ens"), "{bad:?}: {error}");
        }
        for good in ["e", "en", "ve", "cali"] {
            assert!(VethPrefix::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn digest_tells_keys_apart_that_concatenate_alike() {
        let key = |n: &str, c: &str, i: &str| SandboxKey {
            network: NetworkName::new(n).unwrap(),
            container_id: ContainerId::new(c).unwrap(),
            ifname: IfName::new(i).unwrap(),
        };
        assert_ne!(key("ab", "c", "d").digest(), key("a", "bc", "d").digest());
        assert_ne!(key("a", "bc", "d").digest(), key("a", "b", "cd").digest());
        assert_eq!(key("a", "b", "c").digest(), key("a", "b", "c").digest());
        assert_eq!(key("a", "b", "c").digest().len(), 64);
    }

    #[test]
    fn a_checked_name_is_checked_when_it_arrives_as_json_too() {
        assert!(serde_json::from_str::<ContainerId>("\"../../etc\"").is_err());
        assert_eq!(serde_json::from_str::<IfName>("\"eth0\"").unwrap().as_str(), "eth0");
    }
}
