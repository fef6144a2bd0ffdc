//! Schema 3 and schema 4: what EC2 told of the instance's type is kept.

use crate::step::{Row, StepError, Table};

/// Nothing was kept of it; EC2 is asked again.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
pub(crate) fn forward(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    Ok(rows)
}

/// The older version asks EC2 in each process.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
pub(crate) fn back(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    Ok(rows.into_iter().filter(|row| row.table != Table::Limits).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_left_out_on_the_way_back_and_nothing_else() {
        let row = |table| Row { table, key: b"key".to_vec(), body: b"body".to_vec() };
        let newer: Vec<Row> = Table::of(4).iter().copied().map(row).collect();
        let older = back(newer.clone()).unwrap();
        assert_eq!(older, Table::of(3).iter().copied().map(row).collect::<Vec<_>>());
        assert_eq!(forward(older.clone()).unwrap(), older);
    }
}
