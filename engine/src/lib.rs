//! The loops: observe, plan, persist, act, answer.
//!
//! One task owns all live state: the ledger in memory, what was observed, who waits. Everything slow (EC2, the
//! kernel, the disk) runs beside it and reports back as an event. Decisions are the planner's; this
//! crate carries them out in the one order that survives a crash: persist the intent, act, read back, persist the
//! outcome, answer.
//!
//! Start reading at [`Engine`]; then `book`, which holds memory and disk together, and `attachment`, the way of one pod.

mod acts;
mod adds;
mod attachment;
mod attachments;
mod before_look;
mod book;
mod cards;
mod condition;
mod configure;
mod dels;
#[cfg(test)]
mod desk;
mod diversions;
mod diverted;
mod dump;
mod durations;
mod engine;
mod event;
mod figures;
mod handle;
mod kernel;
mod leaks;
mod liveness;
mod measure;
mod phases;
mod pool;
mod pool_told;
mod reach;
mod ready;
mod request;
mod rewire;
mod rewirings;
mod start;
mod state;
mod status;
mod tally;
mod timers;
mod unreached;
mod verify;
mod world;

pub use dump::{Dump, WaitingAdd};
pub use durations::Durations;
pub use engine::Engine;
pub use figures::{AddressState, EniFigures, Figures};
pub use handle::EngineHandle;
pub use holdfast_planner::explain::{Explained, RoomShown, Source, SubnetRoom};
pub use holdfast_planner::targets::Level;
pub use pool_told::PoolTold;
pub use ready::Status;
pub use request::{AddError, AddRequest, Deleted, Stopped, VethNames};
pub use tally::{AddPhases, Found, Repair, Tally};
pub use world::{Ports, RuntimeTasks, World};
