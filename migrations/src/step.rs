//! Steps: how the rows of one schema become rows of the next.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The tables whose rows carry records, of all schemas. The table that holds the schema number itself is none of them:
/// it must be readable before the schema is known, and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row: whose ledger this is.
    Node,
    /// One row: what the cluster says of the settings. From schema 3 on.
    Settings,
    /// One row: what EC2 told of the instance's type. From schema 4 on.
    Limits,
    /// Subnets by id. From schema 2 on.
    Subnets,
    /// ENIs by id.
    Enis,
    /// Addresses by address. Schema 1 only.
    Addresses,
    /// What EC2 gave, by network. From schema 2 on.
    Blocks,
    /// What addresses are used for, by address. From schema 2 on.
    Uses,
    /// Leases by sandbox.
    Leases,
    /// Open intents by id.
    Intents,
    /// What happened, by running number.
    Journal,
}

impl Table {
    /// The tables of a schema, in the order in which they are read and written.
    pub fn of(schema: u8) -> &'static [Self] {
        use Table::{
            Addresses, Blocks, Enis, Intents, Journal, Leases, Limits, Node, Settings, Subnets, Uses,
        };
        match schema {
            0 | 1 => &[Node, Enis, Addresses, Leases, Intents, Journal],
            2 => &[Node, Subnets, Enis, Blocks, Uses, Leases, Intents, Journal],
            3 => &[Node, Settings, Subnets, Enis, Blocks, Uses, Leases, Intents, Journal],
            _ => &[Node, Settings, Limits, Subnets, Enis, Blocks, Uses, Leases, Intents, Journal],
        }
    }

    /// The table's name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Settings => "settings",
            Self::Limits => "limits",
            Self::Subnets => "subnets",
            Self::Enis => "enis",
            Self::Addresses => "addresses",
            Self::Blocks => "blocks",
            Self::Uses => "uses",
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
    /// A row with this record.
    pub fn of<C: Codec>(table: Table, key: Vec<u8>, record: &impl Serialize) -> Result<Self, StepError> {
        Ok(Self { table, key, body: C::encode(record)? })
    }

    /// Its record.
    pub fn record<C: Codec, T: DeserializeOwned>(&self) -> Result<T, StepError> {
        C::decode(&self.body)
    }

    /// The same row with its record rewritten; for what changes its shape and nothing else.
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
    /// The older schema has no words for it.
    #[error("schema {schema} cannot say that {what}")]
    Unsayable {
        /// The older schema.
        schema: u8,
        /// What it lacks.
        what: String,
    },
}

/// One step between neighbours. It sees the whole ledger, because a record's new shape may depend on others.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The older schema; the newer is the next.
    pub from: u8,
    /// What becomes of all rows of the older.
    pub forward: fn(Vec<Row>) -> Result<Vec<Row>, StepError>,
    /// What becomes of all rows of the newer, for a return to the version that wrote the older.
    pub back: fn(Vec<Row>) -> Result<Vec<Row>, StepError>,
    /// A row of the newer in the older's words, when these say all of it; `None`: they do not. Without it no ledger of the
    /// newer is left in the older.
    pub exact: Option<Exact>,
}

/// See [`Step::exact`].
pub type Exact = for<'a> fn(&'a Row) -> Result<Option<Cow<'a, Row>>, StepError>;

/// Brings all rows from schema `from` to schema `to`, one step at a time.
pub fn bring_forward(steps: &[Step], from: u8, to: u8, mut rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    for schema in from..to {
        rows = (step(steps, schema)?.forward)(rows)?;
    }
    Ok(rows)
}

/// Brings all rows from schema `from` back to schema `to`, one step at a time.
pub fn bring_back(steps: &[Step], from: u8, to: u8, mut rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    for schema in (to..from).rev() {
        rows = (step(steps, schema)?.back)(rows)?;
    }
    Ok(rows)
}

/// A row of schema `from` in the words of schema `to`, when these say all of it.
pub fn exact<'a>(steps: &[Step], from: u8, to: u8, row: &'a Row) -> Result<Option<Cow<'a, Row>>, StepError> {
    let mut said = Cow::Borrowed(row);
    for schema in (to..from).rev() {
        let Some(exact) = step(steps, schema)?.exact else { return Ok(None) };
        let older = match &said {
            Cow::Borrowed(row) => exact(row)?,
            Cow::Owned(row) => exact(row)?.map(|row| Cow::Owned(row.into_owned())),
        };
        let Some(older) = older else { return Ok(None) };
        said = older;
    }
    Ok(Some(said))
}

/// The oldest schema whose words say all of these rows of schema `from`.
pub fn oldest(steps: &[Step], from: u8, rows: &[Row]) -> Result<u8, StepError> {
    let mut schema = from;
    while let Some(older) = schema.checked_sub(1)
        && steps.iter().any(|step| step.from == older && step.exact.is_some())
    {
        for row in rows {
            if exact(steps, from, older, row)?.is_none() {
                return Ok(schema);
            }
        }
        schema = older;
    }
    Ok(schema)
}

fn step(steps: &[Step], schema: u8) -> Result<&Step, StepError> {
    steps.iter().find(|step| step.from == schema).ok_or(StepError::NoStep(schema))
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
    fn doubles(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
        let kept = rows.into_iter().filter(|row| row.table != Table::Journal);
        kept.map(|row| row.with::<Json, u32, u32>(|old| Ok(old * 2))).collect()
    }

    fn halves(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
        rows.into_iter().map(|row| row.with::<Json, u32, u32>(|new| Ok(new / 2))).collect()
    }

    /// Numbers become text.
    fn to_text(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
        rows.into_iter().map(|row| row.with::<Json, u32, String>(|old| Ok(format!("was {old}")))).collect()
    }

    fn to_number(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
        let number = |text: String| {
            let words = text.strip_prefix("was ").and_then(|text| text.parse::<u32>().ok());
            words.ok_or_else(|| StepError::Record(text.clone()))
        };
        rows.into_iter().map(|row| row.with::<Json, String, u32>(number)).collect()
    }

    /// Text that a number became.
    fn once_a_number(row: &Row) -> Result<Option<Cow<'_, Row>>, StepError> {
        let text: String = row.record::<Json, _>()?;
        let number = text.strip_prefix("was ").and_then(|text| text.parse::<u32>().ok());
        number.map(|number| Row::of::<Json>(row.table, row.key.clone(), &number).map(Cow::Owned)).transpose()
    }

    const STEPS: &[Step] = &[
        Step { from: 2, forward: to_text, back: to_number, exact: Some(once_a_number) },
        Step { from: 1, forward: doubles, back: halves, exact: None },
    ];

    #[test]
    fn steps_are_taken_in_the_order_of_schemas() {
        let rows = vec![row(Table::Enis, "21"), row(Table::Journal, "1"), row(Table::Leases, "4")];
        let there = bring_forward(STEPS, 1, 3, rows.clone()).unwrap();
        assert_eq!(there, vec![row(Table::Enis, "\"was 42\""), row(Table::Leases, "\"was 8\"")]);
        assert_eq!(bring_forward(STEPS, 1, 2, rows.clone()).unwrap()[0], row(Table::Enis, "42"));
        assert_eq!(bring_forward(STEPS, 3, 3, rows.clone()).unwrap(), rows, "no step, no change");
        let back = bring_back(STEPS, 3, 1, there.clone()).unwrap();
        assert_eq!(back, vec![row(Table::Enis, "21"), row(Table::Leases, "4")]);
        assert_eq!(bring_back(STEPS, 3, 3, there.clone()).unwrap(), there, "no step, no change");
    }

    #[test]
    fn the_oldest_words_that_say_all_are_found() {
        let said = |rows: &[Row]| oldest(STEPS, 3, rows).unwrap();
        let (short, long) = (row(Table::Enis, "\"was 42\""), row(Table::Leases, "\"is more\""));
        assert_eq!(said(&[]), 2, "beyond it nothing is left, however little there is to say");
        assert_eq!(said(std::slice::from_ref(&short)), 2);
        assert_eq!(said(&[short.clone(), long.clone()]), 3, "one row is enough");
        assert_eq!(exact(STEPS, 3, 2, &short).unwrap().unwrap().into_owned(), row(Table::Enis, "42"));
        assert_eq!(exact(STEPS, 3, 2, &long).unwrap(), None);
        assert_eq!(exact(STEPS, 3, 1, &short).unwrap(), None);
        assert_eq!(exact(STEPS, 3, 3, &long).unwrap().unwrap().into_owned(), long, "no step, no change");
        assert!(oldest(STEPS, 3, &[row(Table::Enis, "nonsense")]).is_err());
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
        assert_eq!(bring_back(STEPS, 4, 3, vec![]), Err(StepError::NoStep(3)));
    }
}
