//! The door to the API server.
//!
//! Start reading at [`crd`].

pub mod asked;
pub mod crd;
pub mod deadline;
pub mod door;
pub mod fault;
pub mod request;

pub mod version;
pub mod watch;
pub mod write;

pub use deadline::Deadlines;
pub use door::{Door, DoorSettings};
pub use fault::{ApiFault, Cause};
pub use version::Version;
