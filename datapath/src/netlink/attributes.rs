//! Reading the attributes of an answer, leniently: what is not asked for is not looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The flag bits of an attribute's kind (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const KIND_MASK: u16 = 0x3fff;
const HEADER: usize = 4;

/// Walks type-length-value attributes. Ends at the first that does not fit in what is left.
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes([*self.0.first()?, *self.0.get(1)?]));
        let kind = u16::from_ne_bytes([*self.0.get(2)?, *self.0.get(3)?]) & KIND_MASK;
        let value = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, Value(value)))
    }
}

/// One attribute's bytes. Each reader gives `None` when the length does not suit the type.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(pub(crate) &'a [u8]);

impl<'a> Value<'a> {
    pub(crate) fn u8(self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(crate) fn u32(self) -> Option<u32> {
        self.0.try_into().ok().map(u32::from_ne_bytes)
    }

    pub(crate) fn i32(self) -> Option<i32> {
        self.0.try_into().ok().map(i32::from_ne_bytes)
    }

    /// Text up to the first NUL.
    pub(crate) fn text(self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(&self.0[..end]).into_owned()
    }

    pub(crate) fn ip(self) -> Option<IpAddr> {
        if let Ok(four) = <[u8; 4]>::try_from(self.0) {
            Some(Ipv4Addr::from(four).into())
        } else {
            <[u8; 16]>::try_from(self.0).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
        }
    }

    pub(crate) fn nested(self) -> Attributes<'a> {
        Attributes(self.0)
    }
}

/// A number out of a fixed header.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Value(bytes.get(at..at + 4)?).u32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_walked_with_their_padding() {
        let bytes = [5, 0, 7, 0, 9, 0, 0, 0, 8, 0, 0x0b, 0x80, 1, 0, 0, 0];
        let seen: Vec<_> = Attributes(&bytes).map(|(kind, value)| (kind, value.0.to_vec())).collect();
        assert_eq!(seen, [(7, vec![9]), (11, vec![1, 0, 0, 0])]);
    }

    #[test]
    fn a_length_that_lies_ends_the_walk() {
        for bytes in [&[200, 0, 1, 0, 1][..], &[3, 0, 1, 0], &[0, 0, 0, 0], &[4, 0, 1]] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn values_of_the_wrong_length_are_no_values() {
        assert_eq!(Value(&[1, 2, 3]).u32(), None);
        assert_eq!(Value(&[1, 2, 3]).ip(), None);
        assert_eq!(Value(b"eth0\0junk").text(), "eth0");
    }
}
