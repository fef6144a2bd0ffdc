//! Which schema a file is written in: the oldest that says all there is, so that the version before can take the ledger
//! over, and goes on from it, as long as nothing is in it that came with a newer one.

use std::borrow::Cow;

use holdfast_migrations::{Row, Step, StepError, Table, bring_forward, exact, oldest};

use crate::write::Write;

/// The schemas that there are: the newest, and the ways between them. What is in memory is of the newest.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) known: u8,
    pub(crate) steps: Vec<Step>,
}

impl Schema {
    pub(crate) fn current() -> Self {
        Self {
            known: holdfast_migrations::SCHEMA,
            steps: holdfast_migrations::steps::<crate::codec::Bodies>(),
        }
    }

    /// The schema of a file that holds these rows.
    pub(crate) fn of(&self, rows: &[Row]) -> Result<u8, StepError> {
        oldest(&self.steps, self.known, rows)
    }

    /// Whether files of this schema are written.
    pub(crate) fn is_written(&self, schema: u8) -> bool {
        self.of(&[]).is_ok_and(|oldest| (oldest..=self.known).contains(&schema))
    }

    /// The same, and the rows in its words.
    pub(crate) fn oldest(&self, rows: &[Row]) -> Result<(u8, Vec<Row>), StepError> {
        let to = self.of(rows)?;
        let said: Result<Vec<Row>, StepError> = rows
            .iter()
            .map(|row| {
                let said = exact(&self.steps, self.known, to, row)?.ok_or(StepError::NoStep(self.known))?;
                Ok(said.into_owned())
            })
            .collect();
        Ok((to, said?))
    }

    /// The same writes in the words of schema `to`; `None`: these do not say all.
    pub(crate) fn written<'a>(
        &self,
        writes: &'a [Write],
        to: u8,
    ) -> Result<Option<Cow<'a, [Write]>>, StepError> {
        if to == self.known {
            return Ok(Some(Cow::Borrowed(writes)));
        }
        let said = |row: &Row| Ok(exact(&self.steps, self.known, to, row)?.map(Cow::into_owned));
        let older: Option<Vec<Write>> = writes
            .iter()
            .map(|write| {
                Ok(match write {
                    Write::Put(row) => said(row)?.map(Write::Put),
                    Write::Drop(table, key) => Some(Write::Drop(*table, key.clone())),
                    Write::Append(body) => {
                        let entry = Row { table: Table::Journal, key: Vec::new(), body: body.clone() };
                        said(&entry)?.map(|entry| Write::Append(entry.body))
                    }
                })
            })
            .collect::<Result<_, StepError>>()?;
        Ok(older.map(Cow::Owned))
    }

    /// Rows of schema `from` in the words of the newest.
    pub(crate) fn newest(&self, from: u8, rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
        bring_forward(&self.steps, from, self.known, rows)
    }
}
