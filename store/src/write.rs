//! What a transaction does to the tables.

use holdfast_migrations::{Row, Table};

/// One write of a transaction.
#[derive(Clone)]
pub(crate) enum Write {
    Put(Row),
    Drop(Table, Vec<u8>),
    Append(Vec<u8>),
}
