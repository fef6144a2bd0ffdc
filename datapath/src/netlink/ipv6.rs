//! What IPv6 does on a link, as the kernel tells with the link itself.

use super::attributes::Value;

const AF_INET6: u16 = 10;
const IFLA_INET6_CONF: u16 = 2;
// Places in the kernel's list (`DEVCONF_…` of linux/ipv6.h); it only ever grows at its end.
const FORWARDING: usize = 0;
const ACCEPT_RA: usize = 3;
const ACCEPT_REDIRECTS: usize = 4;
const DISABLE_IPV6: usize = 26;

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
    pub(super) fn decode(families: Value<'_>) -> Option<Self> {
        let (_, ipv6) = families.nested().find(|(family, _)| *family == AF_INET6)?;
        let (_, list) = ipv6.nested().find(|(kind, _)| *kind == IFLA_INET6_CONF)?;
        let at = |place: usize| Value(list.0.get(place * 4..place * 4 + 4)?).i32();
        Some(Self {
            forwarding: at(FORWARDING)?,
            accept_ra: at(ACCEPT_RA)?,
            accept_redirects: at(ACCEPT_REDIRECTS)?,
            disable_ipv6: at(DISABLE_IPV6)?,
        })
    }
}
