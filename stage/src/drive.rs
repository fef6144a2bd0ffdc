//! A stage as one uses it: applications on it, clients of them, and somebody who kills daemons meanwhile. For the demo, the
//! benchmarks and the tests.

mod app;
mod client;
mod cluster;
mod killer;
mod rolling;
mod verb;

pub use app::{App, Pod, doubled};
pub use client::{Asked, Client};
pub use cluster::Cluster;
pub use killer::Killer;
pub use rolling::Rolled;
pub use verb::verb;
