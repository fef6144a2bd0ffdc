//! A small blocking rtnetlink socket, on the connection and the messages of `rtnetlink`.
//!
//! Requests are made by the library's builders and message types, sent by its connection, and their answers read by its
//! types. What is ours: the connection is polled by whoever waits for an answer, so that a socket serves on any plain
//! thread and in any network namespace; several changes go to the kernel in one system call and are answered by one
//! acknowledgement; and a list that changed while it was read, or that cannot be read whole, is never taken for the
//! whole one.
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
mod change;
mod connection;
pub(crate) mod conntrack;
mod error;
mod failure;
mod ipv4;
mod ipv6;
mod link;
mod list;
mod message;
mod neighbour;
mod route;
mod rule;
mod socket;
mod transport;
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
pub use rule::{Listed, Rule};
pub use socket::{Looked, Socket};
pub use watch::{Group, Notice, Watch};
