//! The kernel's side of Holdfast: network namespaces, netlink, nf_tables.
//!
//! [`netlink`] and [`netns`] are small and know nothing of pods; the simulator's fabric builds on them too.

#[cfg(not(target_os = "linux"))]
compile_error!("holdfast-datapath drives the Linux kernel");

pub mod netlink;
pub mod netns;
