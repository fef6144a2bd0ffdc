//! What IPv6 does on a link, as the kernel tells with the link itself.

use netlink_packet_core::{DecodeError, NlaBuffer, Parseable};
use netlink_packet_route::link::AfSpecInet6;
use nix::libc::AF_INET6;

use super::message::attributes;

/// Of the family's part: its settings (`IFLA_INET6_CONF`).
const SETTINGS: u16 = 2;

/// Settings of a link under `/proc/sys/net/ipv6/conf`, by their names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Settings {
    /// `forwarding`.
    pub forwarding: i32,
    /// `accept_ra`.
    pub accept_ra: i32,
    /// `accept_redirects`.
    pub accept_redirects: i32,
    /// `disable_ipv6`.
    pub disable_ipv6: i32,
}

impl Ipv6Settings {
    /// Out of the link's `IFLA_AF_SPEC`; `None` when IPv6 has nothing to say of the link.
    pub(super) fn decode(families: &NlaBuffer<&[u8]>) -> Result<Option<Self>, DecodeError> {
        for family in attributes(families.value(), 0) {
            let family = family?;
            if i32::from(family.kind()) != AF_INET6 {
                continue;
            }
            for told in attributes(family.value(), 0) {
                let told = told?;
                if told.kind() == SETTINGS
                    && let AfSpecInet6::DevConf(now) = AfSpecInet6::parse(&told)?
                {
                    return Ok(Some(Self {
                        forwarding: now.forwarding,
                        accept_ra: now.accept_ra,
                        accept_redirects: now.accept_redirects,
                        disable_ipv6: now.disable_ipv6,
                    }));
                }
            }
        }
        Ok(None)
    }
}
