//! A whole node in one process, in virtual time: the real engine and the real store over a simulated cloud, kernel,
//! clock and disk. It can be killed at any step, and started again on what it left behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod away;
mod box_of;
mod braked;
mod burst;
mod cards;
mod chance;
mod churned;
mod clock;
mod cloud;
mod crash;
mod custom;
mod disk;
mod doubt;
mod exhausted;
mod fleet;
mod flips;
mod foreign;
mod found;
mod fresh;
mod gc;
mod given_up;
mod groups;
mod incidents;
mod ipv6;
mod judged;
mod kept;
mod kernel;
mod leaked;
mod life;
mod losses;
mod lost;
mod metadata_only;
mod node;
mod patience;
mod prefixes;
mod rights;
mod severed;
mod shared;
mod short;
mod side_by_side;
mod starts;
mod steps;
mod tasks;
mod unwritten;
mod useless;
mod witness;
