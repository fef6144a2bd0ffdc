//! What was acknowledged, in memory: the rows as the disk has them, so that the file can be written anew when the disk has
//! failed. A ledger of the same content takes three times as much, and the engine has one already.

use std::collections::BTreeMap;

use holdfast_migrations::{Row, Table};
use holdfast_model::ledger::Ledger;

use crate::error::Damage;
use crate::tables;
use crate::write::Write;

/// Bytes that do not grow any more.
type Bytes = Box<[u8]>;

/// All rows but those of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable(BTreeMap<(Table, Bytes), Bytes>);

impl Durable {
    /// The rows of a ledger.
    pub(crate) fn of(rows: Vec<Row>) -> Self {
        Self(rows.into_iter().map(|row| ((row.table, row.key.into()), row.body.into())).collect())
    }

    /// These writes are durable.
    pub(crate) fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put(row) => {
                    self.0.insert((row.table, row.key.into()), row.body.into());
                }
                Write::Drop(table, key) => {
                    self.0.remove(&(table, key.into_boxed_slice()));
                }
                Write::Append(_) => {}
            }
        }
    }

    /// The rows.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let row = |table, key: &Bytes, body: &Bytes| Row { table, key: key.to_vec(), body: body.to_vec() };
        self.0.iter().map(|((table, key), body)| row(*table, key, body)).collect()
    }

    /// The ledger that they add up to.
    pub(crate) fn ledger(&self) -> Result<Ledger, Damage> {
        tables::content_of(self.rows()).map(|(ledger, _no_journal)| ledger)
    }
}
