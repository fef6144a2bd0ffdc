//! Identifiers as EC2 spells them. A value holds whatever text a caller sent: [`super::SimVpc`] judges its
//! form and whether it exists, and answers with EC2's own error codes.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What every identifier of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Takes the text as it is, well formed or not.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether the text has the form of an identifier of this kind: the prefix, then 8 or 17
            /// lower-case hexadecimal digits (EC2 has both lengths, new objects get the long one).
            pub fn is_well_formed(&self) -> bool {
                self.0.strip_prefix($prefix).is_some_and(|rest| {
                    matches!(rest.len(), 8 | 17)
                        && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A VPC, `vpc-…`.
    VpcId, "vpc-"
);
id!(
    /// A subnet, `subnet-…`.
    SubnetId, "subnet-"
);
id!(
    /// A security group, `sg-…`.
    SecurityGroupId, "sg-"
);
id!(
    /// An instance, `i-…`.
    InstanceId, "i-"
);
id!(
    /// A network interface, `eni-…`.
    EniId, "eni-"
);
id!(
    /// The binding of a network interface to an instance, `eni-attach-…`.
    AttachmentId, "eni-attach-"
);
id!(
    /// The reservation that an instance belongs to, `r-…`.
    ReservationId, "r-"
);

/// A MAC address, shown as EC2 shows it: lower case, colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// The text is not six two-digit hexadecimal numbers with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address")]
pub struct BadMac(String);

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        let mut bytes = [0_u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            match parts.next().filter(|p| p.len() == 2).map(|p| u8::from_str_radix(p, 16)) {
                Some(Ok(value)) => *byte = value,
                _ => return Err(BadMac(text)),
            }
        }
        if parts.next().is_some() { Err(BadMac(text)) } else { Ok(Self(bytes)) }
    }
}
