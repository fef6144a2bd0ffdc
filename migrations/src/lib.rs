//! Frozen record shapes of the ledger, one module per schema, and the steps between schemas.
//!
//! Nothing here sees `holdfast-model`: the types of the day move, and what is on disk must not move with them.
//! Nothing here sees the database or the encoding either: `store` reads and writes the rows, and hands in the
//! codec as [`Codec`].
//!
//! To add schema N+1: copy the shapes that change into a new module and change them there; name its tables in
//! [`Table::of`]; write the functions between the old rows and the new, there and back, and which rows the old words say as
//! they are; add a [`Step`] to [`steps`] and raise [`SCHEMA`]; check in a database file of schema N beside those in `store/tests/fixtures`. A module once
//! released is never edited.

mod one_to_two;
pub mod step;
mod three_to_four;
mod two_to_three;
pub mod v1;
pub mod v2;
pub mod v3;
pub mod v4;

pub use step::{Codec, Exact, Row, Step, StepError, Table, bring_back, bring_forward, exact, oldest};

/// The newest schema that this version writes. It writes the oldest that says all there is ([`oldest`]), so that the version
/// before can take the ledger over as long as nothing is in it that came with this one. Every record carries the schema it
/// was written under.
pub const SCHEMA: u8 = 4;

/// All steps that this version knows, one per schema it can leave behind, in order.
pub fn steps<C: Codec>() -> Vec<Step> {
    vec![
        Step { from: 1, forward: one_to_two::forward::<C>, back: one_to_two::back::<C>, exact: None },
        Step { from: 2, forward: two_to_three::forward, back: two_to_three::back, exact: None },
        Step {
            from: 3,
            forward: three_to_four::forward::<C>,
            back: three_to_four::back::<C>,
            exact: Some(three_to_four::exact::<C>),
        },
    ]
}
