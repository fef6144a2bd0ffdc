//! A whole node in one process, in virtual time: the real engine and the real store over a simulated cloud, kernel,
//! clock and disk. It can be killed at any step, and started again on what it left behind.

pub mod clock;
pub mod cloud;
pub mod disk;
pub mod kernel;
pub mod node;
pub mod steps;

pub use node::{Node, Outcome, Pod};
pub use steps::{Killed, Steps};
