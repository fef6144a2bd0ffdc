//! Identifiers. Each kind of id is its own type, so that one cannot stand where another belongs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! string_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it stands; EC2's spelling is not checked here.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

string_id! {
    /// An elastic network interface, `eni-…`.
    EniId,
    /// The binding of an ENI to an instance, `eni-attach-…`.
    AttachmentId,
    /// An EC2 instance, `i-…`.
    InstanceId,
    /// A subnet, `subnet-…`.
    SubnetId,
    /// A VPC, `vpc-…`.
    VpcId,
    /// A security group, `sg-…`.
    SecurityGroupId,
    /// The kernel's boot id, as in `/proc/sys/kernel/random/boot_id`: it tells one boot from the next.
    BootId,
    /// What a creating EC2 call carries so that its repetition makes no second object.
    ClientToken,
}

/// One durable intent. Ordered by creation when made by a time-ordered generator (UUID v7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub Uuid);

impl IntentId {
    /// The client token of the call that carries out this intent. The same intent always gives the same token:
    /// that is what makes a repeated creation safe.
    pub fn client_token(self) -> ClientToken {
        ClientToken::new(format!("holdfast-{}", self.0.simple()))
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// A locally administered unicast address from 48 random bits: the local bit set, the group bit cleared.
    pub fn local_from(random: [u8; 6]) -> Self {
        let mut bytes = random;
        bytes[0] = (bytes[0] | 0x02) & 0xfe;
        Self(bytes)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six colon-separated hexadecimal bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address (want six hexadecimal bytes, as in 02:00:00:00:00:01)")]
pub struct BadMac(String);

impl FromStr for MacAddr {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadMac(text.to_owned());
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_not_hex| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips_and_garbage_is_refused() {
        let mac: MacAddr = "0a:1b:2c:3d:4e:5f".parse().unwrap();
        assert_eq!(mac.to_string(), "0a:1b:2c:3d:4e:5f");
        for bad in ["", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:5f:60", "0a:1b:2c:3d:4e:5g", "a:1b:2c:3d:4e:5f"] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_local_mac_is_unicast_and_locally_administered() {
        for first in 0..=255_u8 {
            let mac = MacAddr::local_from([first, 1, 2, 3, 4, 5]);
            assert_eq!(mac.0[0] & 0x03, 0x02, "first byte {first:#x}");
        }
    }

    #[test]
    fn an_intent_has_one_token() {
        let id = IntentId(Uuid::from_u128(7));
        assert_eq!(id.client_token(), id.client_token());
        assert!(id.client_token().as_str().len() <= 64, "EC2 takes at most 64 characters");
    }
}
