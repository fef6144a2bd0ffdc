//! Schema 2 and schema 3: what the cluster says of the settings is kept.

use crate::step::{Row, StepError, Table};

/// Nothing was kept of it; the cluster is asked again.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
pub(crate) fn forward(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    Ok(rows)
}

/// The older version reads the environment only, so that it loses nothing.
#[expect(clippy::unnecessary_wraps, reason = "a step may fail")]
pub(crate) fn back(rows: Vec<Row>) -> Result<Vec<Row>, StepError> {
    Ok(rows.into_iter().filter(|row| row.table != Table::Settings).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_left_out_on_the_way_back_and_nothing_else() {
        let row = |table| Row { table, key: b"key".to_vec(), body: b"body".to_vec() };
        let newer: Vec<Row> = Table::of(3).iter().copied().map(row).collect();
        let older = back(newer.clone()).unwrap();
        assert_eq!(older, Table::of(2).iter().copied().map(row).collect::<Vec<_>>());
        assert_eq!(forward(older.clone()).unwrap(), older);
    }
}
