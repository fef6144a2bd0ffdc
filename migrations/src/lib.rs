//! Frozen record shapes of the ledger, one module per schema, and the forward steps between schemas.
//!
//! Nothing here sees `holdfast-model`: the types of the day move, and what is on disk must not move with them.
//! Nothing here sees the database or the encoding either: `store` reads and writes the rows, and hands in the
//! codec as [`Codec`].
//!
//! To add schema N+1: copy the shapes that change into a new module and change them there; write a function
//! from the old shape to the new; add a [`Step`] to [`steps`] and raise [`SCHEMA`]; check in a database file
//! of schema N beside those in `store/tests/fixtures`. A module once released is never edited.

pub mod step;
pub mod v1;

pub use step::{Codec, Row, Step, StepError, Table, bring_forward};

/// The schema that this version writes. Every record carries the schema it was written under.
pub const SCHEMA: u8 = 1;

/// All steps that this version knows, one per schema it can leave behind, in order.
///
/// None so far: schema 1 is the first.
pub fn steps<C: Codec>() -> Vec<Step> {
    Vec::new()
}
