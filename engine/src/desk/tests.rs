//! The engine between its requests and its ports.

mod addresses;
mod failing_disk;
mod hints;
mod host;
mod looks;
mod lost_links;
mod pods;
mod releases;
mod starts;
mod tags;
mod told_late;

use super::*;
use crate::{Deleted, Status};

fn refused() -> HostFault {
    HostFault::Refused { step: "a step".into(), cause: "no".into() }
}
