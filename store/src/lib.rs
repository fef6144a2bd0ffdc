//! The ledger on disk: one redb file, changed only by durable transactions.
//!
//! This crate owns the file, its tables and its bytes; it is the only one that sees redb, and one module of it
//! (`codec`) the only code that sees bincode. It decides nothing about addresses: it stores
//! [`Change`](holdfast_model::ledger::Change)s and gives back the [`Ledger`](holdfast_model::ledger::Ledger)
//! that they add up to.
//!
//! Start reading at [`Store`]; the engine talks to a [`Writer`], which owns a store on a thread of its own.

mod codec;
mod durable;
mod error;
mod fault;
mod file;
mod image;
#[cfg(test)]
mod migration_tests;
mod options;
mod record;
mod schema;
mod store;
mod tables;
mod write;
mod writer;

pub use error::{CommitError, Damage, OpenError, ReadError};
pub use options::{CommitObserver, JOURNAL_LIMIT, Medium, OpenOptions};
pub use redb::StorageBackend;
pub use store::{Found, Inspected, Opened, Store, admits};
pub use writer::{Drive, Report, Writer};
