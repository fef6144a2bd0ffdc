//! Death by SIGKILL on the real kernel: a node whose daemon is a process that kills itself at an appointed step.
//!
//! ```text
//!   test ── Node ── SimVpc, fabric, sandboxes (real network namespaces), ledger (a real file), the clock
//!             └─ Life ── Child ══ stdin, stdout: JSON lines ══ chaos_node: the real engine, store and datapath
//! ```
//!
//! `chaos_node` differs from the shipping daemon in four ports only. EC2 and the metadata service are questions to
//! the test over its own pipes; the clock is the test's; and the kernel port is the real one with a count around it.
//! So the test sees each step as it is passed, and moves time as it likes: quickly, but never before the engine has
//! looked at the instant before, and not at all while the test itself is busy. Cool-downs and the ages of ENIs are
//! minutes; a life with ten of those takes about a second.
//!
//! A step is named by what is done and by how many times it was done before in this life ([`wire::Passed`]): a recorded
//! life gives the list, and another life can be told to die at any of them. Two lives on a real kernel are not equal;
//! a life that never comes to its step says so.
//!
//! Nothing stays behind: namespaces belong to the threads and descriptors of the test and end with it, and
//! `chaos_node` ends when its stdin does. The ledgers are files below the build folder.

mod child;
mod faults;
mod life;
mod node;
mod room;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use holdfast_model::config::{Config, Setting, WarmTargets};

pub use life::{Halt, Life, Pace};
pub use node::{Node, Sandbox};
pub use room::enter_own_namespaces;

/// What the node is configured with: two spare addresses, so that pods make it grow and shrink; and an ADD that is held
/// much longer than usual, because in virtual time a busy machine looks slow.
pub fn config(ledger: PathBuf) -> Config {
    Config {
        warm: Setting::default_of(WarmTargets { warm_enis: 0, warm_ips: 2, minimum_ips: 0 }),
        add_hold: Setting::default_of(Duration::from_secs(900)),
        ledger: Setting::default_of(ledger),
        ..Config::default()
    }
}
