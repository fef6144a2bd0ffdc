//! The tables: how changes and ledgers become rows of the database, and back.
//!
//! ```text
//! meta       "format" -> "holdfast ledger", "schema" -> one byte     never changes its own shape
//! node       "node"       -> whose ledger this is
//! settings   "cluster"    -> what the cluster says of the settings
//! limits     "type"       -> what EC2 told of the instance's type
//! subnets    subnet id    -> subnet
//! enis       ENI id       -> ENI
//! blocks     network      -> what EC2 gave
//! uses       4 or 16 bytes-> what an address is used for, rests included
//! leases     sandbox      -> lease
//! intents    UUID         -> open intent
//! journal    number       -> what happened; a ring
//! ```

use holdfast_migrations::v4::{LIMITS_KEY, NODE_KEY, SETTINGS_KEY};
use holdfast_migrations::{Row, Table};
use holdfast_model::block::Block;
use holdfast_model::eni::EniRecord;
use holdfast_model::intent::Intent;
use holdfast_model::journal::JournalEntry;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_model::limits::ToldLimits;
use holdfast_model::node::NodeRecord;
use holdfast_model::settings::ClusterSettings;
use holdfast_model::subnet::SubnetRecord;
use redb::{
    Durability, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use crate::codec::{self, CodecError};
use crate::error::Damage;
use crate::fault::Fault;
use crate::record::{
    Record, UseRecord, block_key, eni_key, intent_key, journal_key, journal_number, lease_key, subnet_key,
    use_key,
};
use crate::schema::Schema;
use crate::write::Write;

const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const FORMAT: &[u8] = b"holdfast ledger";

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// A change that cannot be written.
#[derive(Debug)]
pub(crate) struct Unwritable {
    pub(crate) table: Table,
    pub(crate) cause: CodecError,
}

fn row(table: Table, key: Vec<u8>, record: &impl Record) -> Result<Row, Unwritable> {
    let body = codec::encode(&record.freeze()).map_err(|cause| Unwritable { table, cause })?;
    Ok(Row { table, key, body })
}

/// What the changes write, in their order.
pub(crate) fn writes(changes: &[Change]) -> Result<Vec<Write>, Unwritable> {
    changes
        .iter()
        .map(|change| {
            Ok(match change {
                Change::PutNode(node) => Write::Put(row(Table::Node, NODE_KEY.to_vec(), node)?),
                Change::PutSettings(settings) => {
                    Write::Put(row(Table::Settings, SETTINGS_KEY.to_vec(), settings)?)
                }
                Change::PutTypeLimits(told) => Write::Put(row(Table::Limits, LIMITS_KEY.to_vec(), told)?),
                Change::PutEni(eni) => Write::Put(row(Table::Enis, eni_key(&eni.id), eni)?),
                Change::DropEni(id) => Write::Drop(Table::Enis, eni_key(id)),
                Change::PutSubnet(subnet) => Write::Put(row(Table::Subnets, subnet_key(&subnet.id), subnet)?),
                Change::DropSubnet(id) => Write::Drop(Table::Subnets, subnet_key(id)),
                Change::PutBlock(block) => Write::Put(row(Table::Blocks, block_key(block.net), block)?),
                Change::DropBlock(net) => Write::Drop(Table::Blocks, block_key(*net)),
                Change::PutUse(ip, what) => {
                    Write::Put(row(Table::Uses, use_key(*ip), &UseRecord(*ip, what.clone()))?)
                }
                Change::DropUse(ip) => Write::Drop(Table::Uses, use_key(*ip)),
                Change::PutLease(lease) => Write::Put(row(Table::Leases, lease_key(&lease.sandbox), lease)?),
                Change::DropLease(sandbox) => Write::Drop(Table::Leases, lease_key(sandbox)),
                Change::PutIntent(intent) => Write::Put(row(Table::Intents, intent_key(intent.id), intent)?),
                Change::DropIntent(id) => Write::Drop(Table::Intents, intent_key(*id)),
                Change::Journal(entry) => Write::Append(row(Table::Journal, Vec::new(), entry)?.body),
            })
        })
        .collect()
}

/// All rows of a ledger.
pub(crate) fn rows_of(ledger: &Ledger) -> Result<Vec<Row>, Unwritable> {
    let mut rows = Vec::new();
    if let Some(node) = &ledger.node {
        rows.push(row(Table::Node, NODE_KEY.to_vec(), node)?);
    }
    if ledger.settings != ClusterSettings::default() {
        rows.push(row(Table::Settings, SETTINGS_KEY.to_vec(), &ledger.settings)?);
    }
    if let Some(told) = &ledger.type_limits {
        rows.push(row(Table::Limits, LIMITS_KEY.to_vec(), told)?);
    }
    for subnet in ledger.subnets.values() {
        rows.push(row(Table::Subnets, subnet_key(&subnet.id), subnet)?);
    }
    for eni in ledger.enis.values() {
        rows.push(row(Table::Enis, eni_key(&eni.id), eni)?);
    }
    for block in ledger.blocks.values() {
        rows.push(row(Table::Blocks, block_key(block.net), block)?);
    }
    for (ip, what) in &ledger.uses {
        rows.push(row(Table::Uses, use_key(*ip), &UseRecord(*ip, what.clone()))?);
    }
    for lease in ledger.leases.values() {
        rows.push(row(Table::Leases, lease_key(&lease.sandbox), lease)?);
    }
    for intent in ledger.intents.values() {
        rows.push(row(Table::Intents, intent_key(intent.id), intent)?);
    }
    Ok(rows)
}

/// The rows of a journal, numbered from its oldest entry on.
pub(crate) fn journal_rows(journal: &[JournalEntry]) -> Result<Vec<Row>, Unwritable> {
    (0..).zip(journal).map(|(number, entry)| row(Table::Journal, journal_key(number), entry)).collect()
}

/// The ledger and the journal, oldest entry first, that these rows of the current schema add up to.
pub(crate) fn content_of(rows: Vec<Row>) -> Result<(Ledger, Vec<JournalEntry>), Damage> {
    let mut ledger = Ledger::default();
    let mut journal = Vec::new();
    for row in rows {
        let key = row.key.as_slice();
        let change = match row.table {
            Table::Node => Change::PutNode(thaw(&row, |_: &NodeRecord| NODE_KEY.to_vec())?),
            Table::Settings => Change::PutSettings(thaw(&row, |_: &ClusterSettings| SETTINGS_KEY.to_vec())?),
            Table::Limits => Change::PutTypeLimits(thaw(&row, |_: &ToldLimits| LIMITS_KEY.to_vec())?),
            Table::Subnets => Change::PutSubnet(thaw(&row, |subnet: &SubnetRecord| subnet_key(&subnet.id))?),
            Table::Enis => Change::PutEni(thaw(&row, |eni: &EniRecord| eni_key(&eni.id))?),
            Table::Blocks => Change::PutBlock(thaw(&row, |block: &Block| block_key(block.net))?),
            Table::Uses => {
                let UseRecord(ip, what) = thaw(&row, |UseRecord(ip, _)| use_key(*ip))?;
                Change::PutUse(ip, what)
            }
            Table::Leases => Change::PutLease(thaw(&row, |lease: &Lease| lease_key(&lease.sandbox))?),
            Table::Intents => Change::PutIntent(thaw(&row, |intent: &Intent| intent_key(intent.id))?),
            Table::Journal => {
                let number = journal_number(key)
                    .ok_or_else(|| bad(Table::Journal, format!("a key of {} bytes", key.len())))?;
                journal.push(thaw(&row, |_: &JournalEntry| journal_key(number))?);
                continue;
            }
            Table::Addresses => return Err(bad(row.table, "of an older schema".to_owned())),
        };
        ledger.apply(&change);
    }
    Ok((ledger, journal))
}

fn thaw<R: Record>(row: &Row, key: impl FnOnce(&R) -> Vec<u8>) -> Result<R, Damage> {
    let frozen = codec::decode(&row.body).map_err(|error| bad(row.table, error.to_string()))?;
    let record = R::thaw(frozen).map_err(|error| bad(row.table, error.to_string()))?;
    if key(&record) == row.key {
        Ok(record)
    } else {
        Err(bad(row.table, "it lies under another record's key".to_owned()))
    }
}

pub(crate) fn bad(table: Table, reason: String) -> Damage {
    Damage::Record { table: table.name(), reason }
}

/// Makes an empty database a ledger of this schema that holds these rows.
pub(crate) fn found(txn: &WriteTransaction, schema: u8, rows: &[Row]) -> Result<(), Fault> {
    {
        let mut meta = txn.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("schema", [schema].as_slice())?;
    }
    for &table in Table::of(schema) {
        let mut open = txn.open_table(definition(table))?;
        for row in rows.iter().filter(|row| row.table == table) {
            open.insert(row.key.as_slice(), codec::wrap(schema, &row.body).as_slice())?;
        }
    }
    Ok(())
}

/// Makes a ledger of schema `from` one of the newest, with all that it holds.
pub(crate) fn raise(txn: &WriteTransaction, from: u8, schema: &Schema) -> Result<(), Fault> {
    let mut older = Vec::new();
    for &table in Table::of(from) {
        older.extend(rows_of_table(&txn.open_table(definition(table))?, table, from)?);
        txn.delete_table(definition(table))?;
    }
    let newer = schema.newest(from, older).map_err(|error| Damage::Broken(error.to_string()))?;
    found(txn, schema.known, &newer)
}

/// Carries out writes, and shortens the journal to `journal_limit` entries.
pub(crate) fn apply(
    txn: &WriteTransaction,
    schema: u8,
    writes: &[Write],
    journal_limit: u32,
) -> Result<(), Fault> {
    for write in writes {
        match write {
            Write::Put(row) => {
                let mut table = txn.open_table(definition(row.table))?;
                table.insert(row.key.as_slice(), codec::wrap(schema, &row.body).as_slice())?;
            }
            Write::Drop(table, key) => {
                let mut table = txn.open_table(definition(*table))?;
                table.remove(key.as_slice())?;
            }
            Write::Append(body) => {
                let mut table = txn.open_table(definition(Table::Journal))?;
                let last = table.last()?.map(|(key, _)| journal_number(key.value()));
                let number = match last {
                    None => 0,
                    Some(Some(last)) => last.wrapping_add(1),
                    Some(None) => return Err(bad(Table::Journal, "a key of odd length".to_owned()).into()),
                };
                table.insert(journal_key(number).as_slice(), codec::wrap(schema, body).as_slice())?;
                while table.len()? > u64::from(journal_limit) {
                    table.pop_first()?;
                }
            }
        }
    }
    Ok(())
}

/// Opens a transaction whose commit returns only when it is durable.
///
/// One-phase: pages and header go out together, checksums tell after a crash whether they all arrived, and one
/// sync is enough. The price is that bit rot in the very last commit of a file that was not closed looks like a
/// commit under way, and the one before it is taken. Two-phase commits, and redb's quick repair, which implies
/// them, would double the syncs of every ADD and DEL; the full repair they save takes about a millisecond here.
pub(crate) fn begin(db: &redb::Database) -> Result<WriteTransaction, Fault> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    Ok(txn)
}

/// The schema of the ledger; `None` for a database without any table.
pub(crate) fn schema_of(txn: &ReadTransaction) -> Result<Option<u8>, Fault> {
    let foreign = || Fault::from(Damage::Foreign("a redb database of another program".to_owned()));
    let meta = match txn.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => {
            let empty = txn.list_tables()?.next().is_none() && txn.list_multimap_tables()?.next().is_none();
            return if empty { Ok(None) } else { Err(foreign()) };
        }
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_other_shape) => return Err(foreign()),
    };
    if meta.get("format")?.is_none_or(|format| format.value() != FORMAT) {
        return Err(foreign());
    }
    let schema = meta.get("schema")?.and_then(|schema| match schema.value() {
        [schema] => Some(*schema),
        _ => None,
    });
    match schema {
        Some(schema) => Ok(Some(schema)),
        None => Err(Damage::Record { table: "meta", reason: "no schema number".to_owned() }.into()),
    }
}

/// All rows of a ledger of this schema, journal in order. Only the tables that the schema had are opened.
pub(crate) fn rows(txn: &ReadTransaction, schema: u8) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    for &table in Table::of(schema) {
        rows.extend(rows_of_table(&txn.open_table(definition(table))?, table, schema)?);
    }
    Ok(rows)
}

fn rows_of_table(
    open: &impl ReadableTable<&'static [u8], &'static [u8]>,
    table: Table,
    schema: u8,
) -> Result<Vec<Row>, Fault> {
    open.iter()?
        .map(|entry| {
            let (key, value) = entry?;
            row_of(table, schema, key.value(), value.value())
        })
        .collect()
}

fn row_of(table: Table, schema: u8, key: &[u8], value: &[u8]) -> Result<Row, Fault> {
    let body = codec::unwrap(schema, value).map_err(|error| bad(table, error.to_string()))?;
    Ok(Row { table, key: key.to_vec(), body: body.to_vec() })
}

/// The rows of the newest journal entries, oldest first.
pub(crate) fn journal(txn: &ReadTransaction, schema: u8, limit: usize) -> Result<Vec<Row>, Fault> {
    let table = txn.open_table(definition(Table::Journal))?;
    let mut rows = Vec::new();
    for entry in table.iter()?.rev().take(limit) {
        let (key, value) = entry?;
        rows.push(row_of(Table::Journal, schema, key.value(), value.value())?);
    }
    rows.reverse();
    Ok(rows)
}
