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
mod book;
mod condition;
mod dels;
mod dump;
mod engine;
mod event;
mod handle;
mod kernel;
mod liveness;
mod pool;
mod start;
mod status;
mod timers;
mod verify;
mod world;

pub use dump::{Dump, WaitingAdd};
pub use engine::Engine;
pub use handle::{AddError, AddRequest, Deleted, EngineHandle, Status, Stopped};
pub use world::{Ports, RuntimeTasks, World};
