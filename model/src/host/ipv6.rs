//! What IPv6 does on the node and on its links, as read. A node forwards IPv6 for its pods, and goes on hearing its own router.

use serde::{Deserialize, Serialize};

/// IPv6 in the whole namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Seen {
    /// Whether packets are forwarded (`net.ipv6.conf.all.forwarding`); `None`: this kernel has no IPv6, or was not asked.
    pub forwarding: Option<bool>,
    /// Whether it is turned off for all links (`net.ipv6.conf.all.disable_ipv6`).
    pub off: Option<bool>,
    /// Whether the main table has a default route; `None`: it was not looked for.
    pub way_out: Option<bool>,
}

/// IPv6 on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Link {
    /// Whether router advertisements are heard (`accept_ra`): 0 never, 1 unless the node forwards, 2 always.
    pub accept_ra: i32,
    /// Whether IPv6 is turned off on it (`disable_ipv6`).
    pub off: bool,
}

impl Ipv6Link {
    /// Advertisements are heard although the node forwards: else its way out is gone as soon as it does (`accept_ra`).
    pub const ALWAYS_HEARS: i32 = 2;
    /// They are not heard: on a pod's link the pod would say where the node's packets go.
    pub const NEVER_HEARS: i32 = 0;
}
