//! The engine between its requests and its ports.

mod addresses;
mod failing_disk;
mod hints;
mod host;
mod looks;
mod lost_links;
mod pods;
mod starts;
mod tags;

use super::*;
use crate::{Deleted, Status};

fn refused() -> HostFault {
    HostFault::Refused { step: "a step".into(), cause: "no".into() }
}
