//! What the running process has seen of subnets, tags, and ENIs left behind, as it is kept; `subnets`, `tagging` and `leaks` decide by it.

mod leaks;
mod subnets;
mod tags;

pub use leaks::Leaks;
pub(crate) use leaks::{DEAD_AFTER, Found};
pub use subnets::SubnetsSeen;
pub(crate) use tags::{OWNER, TAG_OWNER};
pub use tags::{Tagging, Tags};
