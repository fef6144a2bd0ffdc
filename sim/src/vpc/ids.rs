//! Identifiers as EC2 spells them. A value holds whatever text a caller sent: [`super::SimVpc`] judges its
//! form and whether it exists, and answers with EC2's own error codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest text that an identifier keeps whole; EC2's own are shorter (`eni-attach-` and 17 digits).
const LONGEST: usize = 31;

/// A short text by value, so that identifiers are copied and compared without a heap. What is longer than
/// [`LONGEST`] is no identifier of EC2's: its head is kept, for error messages, and an ellipsis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Short {
    /// Padded with zeros: compares as text, since no identifier holds a zero byte.
    bytes: [u8; LONGEST],
    len: u8,
}

impl Short {
    const EMPTY: Self = Self { bytes: [0; LONGEST], len: 0 };

    fn new(text: &str) -> Self {
        const MORE: &str = "…";
        let (head, tail) = match text.len() {
            ..=LONGEST => (text, ""),
            _ => (&text[..text.floor_char_boundary(LONGEST - MORE.len())], MORE),
        };
        let mut short = Self::EMPTY;
        for (place, byte) in short.bytes.iter_mut().zip(head.bytes().chain(tail.bytes())) {
            *place = byte;
        }
        short.len = u8::try_from(head.len() + tail.len()).unwrap_or_default();
        short
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Short);

        impl $name {
            /// What every identifier of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Takes the text as it is, well formed or not.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Short::new(text.as_ref()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Whether the text has the form of an identifier of this kind: the prefix, then 8 or 17
            /// lower-case hexadecimal digits (EC2 has both lengths, new objects get the long one).
            pub fn is_well_formed(&self) -> bool {
                self.as_str().strip_prefix($prefix).is_some_and(|rest| {
                    matches!(rest.len(), 8 | 17)
                        && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
                })
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(Short::EMPTY)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_compare_as_their_texts_do_and_a_long_text_is_never_well_formed() {
        let mut texts = ["eni-0123456789abcdef0", "", "eni-1", "eni-0", "eni-00", "x"];
        let mut ids = texts.map(EniId::new);
        texts.sort_unstable();
        ids.sort_unstable();
        assert_eq!(ids.each_ref().map(EniId::as_str), texts);
        let long = EniId::new(format!("eni-{}", "ä".repeat(40)));
        assert!(long.as_str().starts_with("eni-ä") && long.as_str().ends_with('…'), "{long}");
        assert!(!EniId::new(format!("eni-0123456789abcdef0{}", "0".repeat(40))).is_well_formed());
        assert!(EniId::new("eni-0123456789abcdef0").is_well_formed());
        assert!(AttachmentId::new("eni-attach-0123456789abcdef0").is_well_formed());
    }
}
