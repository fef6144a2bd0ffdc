//! What the demo, the benchmarks and the system tests share: pods that are real network namespaces, a runner that
//! calls the plugin as a container runtime does, packets, and a node under test that can be killed at will.
//!
//! Nothing here ships. Start reading at [`rig`].

pub mod cni;
pub mod latency;
pub mod look;
pub mod oracle;
pub mod packets;
pub mod pod;
pub mod report;
pub mod rig;
pub mod sabotage;
