//! A small blocking rtnetlink socket.
//!
//! Why not the `rtnetlink` crate: it sends one request at a time and wants a runtime. Here several changes go to
//! the kernel in one system call and are answered by one acknowledgement, and a socket can live on any plain
//! thread, in any network namespace. Requests are made of the same message types (`netlink-packet-route`).
//! Answers are read attribute by attribute, and only those that we use, so that an attribute which a newer kernel
//! adds, or one that the crate reads wrongly, can never make a whole dump fail.
//!
//! ```no_run
//! use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, Socket};
//!
//! let mut socket = Socket::open()?;
//! for link in socket.links()? {
//!     println!("{} {}", link.index, link.name);
//! }
//! socket.apply(&Change::SetLink(LinkRef::Name("lo".into()), LinkSettings::up()))?;
//! # Ok::<(), holdfast_datapath::netlink::NetlinkError>(())
//! ```

mod address;
mod attributes;
mod change;
mod error;
mod ipv6;
mod link;
mod neighbour;
mod route;
mod rule;
mod socket;
mod watch;

pub use netlink_packet_route::AddressFamily;
pub use netlink_packet_route::address::AddressScope;
pub use netlink_packet_route::neighbour::NeighbourState;
pub use netlink_packet_route::route::{RouteScope, RouteType};

pub use address::Address;
pub use change::Change;
pub use error::NetlinkError;
pub use holdfast_model::ids::MacAddr;
pub use ipv6::Ipv6Settings;
pub use link::{Link, LinkRef, LinkSettings, Macvlan, Veth, VethEnd};
pub use neighbour::Neighbour;
pub use route::{Lookup, Route, RouteFilter};
pub use rule::Rule;
pub use socket::{Looked, Socket};
pub use watch::{Group, Notice, Watch};
