//! The kernel's side of Holdfast: network namespaces, netlink, nf_tables.
//!
//! [`Host`] is the node's network as the engine sees it (`holdfast_ports::host::HostNet`). Below it, [`netlink`] and
//! [`netns`] are small and know nothing of pods; the simulator's fabric builds on them too. [`nat`] is the one
//! nf_tables table of ours.

#[cfg(not(target_os = "linux"))]
compile_error!("holdfast-datapath drives the Linux kernel");

pub mod handed;
mod host;
pub mod nat;
pub mod netlink;
pub mod netns;
mod sys;
mod sysctl;

pub use host::{Host, HostOptions, LINK_GROUP, Step};
pub use sys::share_one_heap;
