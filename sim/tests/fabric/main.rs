//! The fabric on the real kernel: what EC2 shows decides which packets arrive. Needs root, if only of a user namespace;
//! makes namespaces of its own and touches no other.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod delivery;
mod growth;
mod interfaces;
mod ipv6;
mod links;
mod loss;
mod metadata;
mod neighbours;
mod nodes;
mod outside;
mod pod;
mod site;
mod sysctls;
