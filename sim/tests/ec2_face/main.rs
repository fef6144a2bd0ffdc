//! The EC2 Query API and the admin interface over real loopback HTTP.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

#[path = "../loopback/mod.rs"]
mod loopback;

mod admin;
mod answers;
mod bodies;
mod calls;
mod refusals;
mod signatures;
