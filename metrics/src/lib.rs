//! What a node tells those who watch it: metrics for Prometheus, and introspection for people and support tools, both under
//! the names, types and shapes of the Amazon VPC CNI, so that dashboards and alerts that are there go on working.
//!
//! Everything is derived. Gauges come from one [`Snapshot`] of the engine's figures, made at most once a second however many
//! ask; counters from the one place that all of a kind passes through: EC2's calls by [`Counted`], ADDs and DELs at their
//! answer ([`Answers`]), and what the engine finds and repairs from its own tally. So no two metrics can tell
//! different stories of one thing. What is not known is absent, never zero.
//!
//! Start reading at [`catalogue`], which lists every metric; then `page`, and [`http`] for how it is served.

pub mod catalogue;
pub mod http;

mod answers;
mod calls;
mod enis;
mod families;
mod introspection;
mod ours;
mod page;
mod place;
mod settings;
mod site;
mod snapshot;
mod text;
mod upstream;

#[cfg(test)]
mod example;

pub use answers::{AddOutcome, Answers, DelOutcome};
pub use calls::{Calls, Counted};
pub use introspection::Introspection;
pub use page::{Metrics, Record};
pub use place::Place;
pub use snapshot::{Snapshot, Source, Standing, ViewFigures};
pub use text::Text;
