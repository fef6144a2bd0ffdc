//! What IPv4 does on a link, as it is told and set with the link itself.

use netlink_packet_core::{DecodeError, DefaultNla, Emitable, NlaBuffer, Parseable};
use netlink_packet_route::link::{AfSpecInet, LinkAttribute};
use nix::libc::{AF_INET, IFLA_AF_SPEC};

use super::message::attributes;

const FAMILY: u16 = AF_INET as u16;
/// Of the family's part: its settings (`IFLA_INET_CONF`).
const SETTINGS: u16 = 1;
/// `IPV4_DEVCONF_RP_FILTER` of linux/ip.h.
const RP_FILTER: u16 = 8;

/// Out of a link's `IFLA_AF_SPEC`; `None` when IPv4 has nothing to say of the link.
pub(super) fn rp_filter_of(families: &NlaBuffer<&[u8]>) -> Result<Option<u8>, DecodeError> {
    for family in attributes(families.value(), 0) {
        let family = family?;
        if family.kind() != FAMILY {
            continue;
        }
        for told in attributes(family.value(), 0) {
            let told = told?;
            if told.kind() == SETTINGS
                && let AfSpecInet::DevConf(now) = AfSpecInet::parse(&told)?
            {
                return Ok(u8::try_from(now.rp_filter).ok());
            }
        }
    }
    Ok(None)
}

/// By the message that sets the rest, with no need to write below `/proc/sys`. (The library has a form for it that leaves
/// out what is zero, and zero is a setting.)
pub(super) fn rp_filter(value: u32) -> LinkAttribute {
    let within = |kind: u16, inner: DefaultNla| {
        let mut bytes = vec![0; inner.buffer_len()];
        inner.emit(&mut bytes);
        DefaultNla::new(kind, bytes)
    };
    let setting = DefaultNla::new(RP_FILTER, value.to_ne_bytes().to_vec());
    LinkAttribute::Other(within(IFLA_AF_SPEC, within(FAMILY, within(SETTINGS, setting))))
}
