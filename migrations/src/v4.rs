//! The record of schema 4's new table, and its key. Frozen: no field, variant or order here ever changes; a new schema gets a
//! new module. What is not here is as in schema 3.

#![expect(missing_docs, reason = "frozen copies; the model documents every field")]

use serde::{Deserialize, Serialize};

pub use crate::v3::*;

/// The key of the one row of table `limits`.
pub const LIMITS_KEY: &[u8] = b"type";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hypervisor {
    Nitro,
    Xen,
    BareMetal,
}

/// Table `limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub instance_type: String,
    pub enis: Vec<u32>,
    pub ipv4_per_eni: u32,
    pub ipv6_per_eni: Option<u32>,
    pub hypervisor: Option<Hypervisor>,
}
