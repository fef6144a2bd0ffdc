//! Steps: how the rows of one schema become rows of the next.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The tables whose rows carry records. The table that holds the schema number itself is none of them: it must
/// be readable before the schema is known, and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row: whose ledger this is.
    Node,
    /// ENIs by id.
    Enis,
    /// Addresses by address.
    Addresses,
    /// Leases by sandbox.
    Leases,
    /// Open intents by id.
    Intents,
    /// What happened, by running number.
    Journal,
}

impl Table {
    /// All of them, in the order in which they are read and written.
    pub const ALL: [Self; 6] =
        [Self::Node, Self::Enis, Self::Addresses, Self::Leases, Self::Intents, Self::Journal];

    /// The table's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Enis => "enis",
            Self::Addresses => "addresses",
            Self::Leases => "leases",
            Self::Intents => "intents",
            Self::Journal => "journal",
        }
    }
}

/// One row: the record's encoded body, without the prefix that names format and schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The table it is in.
    pub table: Table,
    /// Its key, as in the file.
    pub key: Vec<u8>,
    /// The record, encoded.
    pub body: Vec<u8>,
}

impl Row {
    /// The same row with its record rewritten; for steps that change a shape and nothing else.
    pub fn with<C, Old, New>(
        self,
        rewrite: impl FnOnce(Old) -> Result<New, StepError>,
    ) -> Result<Self, StepError>
    where
        C: Codec,
        Old: DeserializeOwned,
        New: Serialize,
    {
        let body = C::encode(&rewrite(C::decode(&self.body)?)?)?;
        Ok(Self { body, ..self })
    }
}

/// How records become bytes. Implemented by `store`.
pub trait Codec {
    /// Reads a record; the bytes must be exactly one record.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StepError>;
    /// Writes a record.
    fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StepError>;
}

/// Why a ledger could not be brought forward.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A record is not what its schema says.
    #[error("a record does not decode: {0}")]
    Record(String),
    /// This version has no step from this schema.
    #[error("no step leads away from schema {0}")]
    NoStep(u8),
}

/// One step forward.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The schema it leaves; it arrives at the next.
    pub from: u8,
    /// What becomes of one row: itself rewritten, nothing, or several. Pure, and never given a row twice.
    pub rewrite: fn(Row) -> Result<Vec<Row>, StepError>,
}

/// Brings all rows from schema `from` to schema `to`, one step at a time.
pub fn bring_forward(steps: &[Step], from: u8, to: u8, mut rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    for schema in from..to {
        let step = steps.iter().find(|step| step.from == schema).ok_or(StepError::NoStep(schema))?;
        let mut next = Vec::with_capacity(rows.len());
        for row in rows {
            next.extend((step.rewrite)(row)?);
        }
        rows = next;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Json;

    impl Codec for Json {
        fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StepError> {
            serde_json::from_slice(bytes).map_err(|error| StepError::Record(error.to_string()))
        }

        fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StepError> {
            serde_json::to_vec(record).map_err(|error| StepError::Record(error.to_string()))
        }
    }

    fn row(table: Table, body: &str) -> Row {
        Row { table, key: b"key".to_vec(), body: body.as_bytes().to_vec() }
    }

    /// Numbers double, and the journal is dropped.
    fn doubles(row: Row) -> Result<Vec<Row>, StepError> {
        match row.table {
            Table::Journal => Ok(Vec::new()),
            _ => Ok(vec![row.with::<Json, u32, u32>(|old| Ok(old * 2))?]),
        }
    }

    /// Numbers become text.
    fn to_text(row: Row) -> Result<Vec<Row>, StepError> {
        Ok(vec![row.with::<Json, u32, String>(|old| Ok(format!("was {old}")))?])
    }

    const STEPS: &[Step] = &[Step { from: 2, rewrite: to_text }, Step { from: 1, rewrite: doubles }];

    #[test]
    fn steps_are_taken_in_the_order_of_schemas() {
        let rows = vec![row(Table::Enis, "21"), row(Table::Journal, "1"), row(Table::Leases, "4")];
        let there = bring_forward(STEPS, 1, 3, rows.clone()).unwrap();
        assert_eq!(there, vec![row(Table::Enis, "\"was 42\""), row(Table::Leases, "\"was 8\"")]);
        assert_eq!(bring_forward(STEPS, 1, 2, rows.clone()).unwrap()[0], row(Table::Enis, "42"));
        assert_eq!(bring_forward(STEPS, 3, 3, rows.clone()).unwrap(), rows, "no step, no change");
    }

    #[test]
    fn a_missing_step_and_a_broken_record_are_told() {
        assert_eq!(bring_forward(STEPS, 1, 4, vec![]), Err(StepError::NoStep(3)));
        assert_eq!(bring_forward(STEPS, 0, 2, vec![]), Err(StepError::NoStep(0)));
        let broken = bring_forward(STEPS, 1, 2, vec![row(Table::Enis, "nonsense")]);
        assert!(matches!(broken, Err(StepError::Record(_))), "{broken:?}");
    }

    #[test]
    fn every_schema_left_behind_has_its_step() {
        let steps = crate::steps::<Json>();
        let from: Vec<u8> = steps.iter().map(|step| step.from).collect();
        assert_eq!(from, (1..crate::SCHEMA).collect::<Vec<_>>());
    }
}
