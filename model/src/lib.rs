//! The vocabulary of Holdfast: ids, ENIs, blocks of addresses and their uses, leases, sandboxes, intents, configuration, and the
//! invariants that bind them.
//!
//! This crate does no IO, reads no clock and draws no randomness. Every other room speaks in these types, so a
//! word has one meaning everywhere. Start reading at [`ledger`]: it is what the daemon remembers.

pub mod block;
pub mod brake;
mod chain;
pub mod cloud;
pub mod config;
pub mod denial;
pub mod eni;
pub mod eni_config;
pub mod host;
pub mod ids;
pub mod intent;
pub mod invariants;
pub mod journal;
pub mod leak;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod node;
pub mod pool;
pub mod refusal;
pub mod sandbox;
pub mod settings;
pub mod subnet;
pub mod time;
pub mod uses;
pub mod warm;

pub use chain::chain;
