//! The loops: observe, plan, persist, act, answer.
//!
//! One task owns all live state: the ledger in memory, what was observed, who waits. Everything slow (EC2, the
//! kernel, the disk) runs beside it and reports back as an event. Decisions are the planner's; this
//! crate carries them out in the one order that survives a crash: persist the intent, act, read back, persist the
//! outcome, answer.
//!
//! Start reading at [`Engine`]; then `book`, which holds memory and disk together.

mod adds;
mod book;
mod dels;
mod dump;
mod engine;
mod event;
mod handle;
mod kernel;
mod living;
mod pool;
mod sandboxes;
mod start;
mod status;
mod timers;
mod unreached;
mod world;

pub use dump::{Dump, WaitingAdd};
pub use engine::Engine;
pub use handle::{AddError, AddRequest, Deleted, EngineHandle, Status, Stopped};
pub use world::{Ports, RuntimeTasks, World};
