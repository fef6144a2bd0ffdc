//! What may be destroyed, and on what proof.
//!
//! To destroy is to end a lease and remove its wiring, to give something back to EC2, or to forget what EC2 no longer
//! has. Whoever does it hands one of these values over, and they are made here only:
//!
//! | what goes | proof | it stands on |
//! |---|---|---|
//! | a lease, with its links, rules and routes | [`Ended`] | the runtime's word; an ADD that was never answered; a namespace and a host link that are both gone |
//! | all leases | `NewBoot` | the kernel's boot id: sandboxes do not outlive a boot |
//! | the whole ledger | `Anothers` | metadata names another instance, and the host's links bear it out |
//! | an address or an ENI in EC2 | `Idle` and `Seen` | ledger and kernel agree that nobody holds it; and a read has shown the ENI as ours, five minutes ago at most and since it was chosen to go. A call that is repeated stands on `Seen` anew |
//! | an ENI that hangs unattached | [`crate::orphan`] | it bears this instance's tag and an intent's, or was left behind for longer than anybody takes to attach it |
//! | an address or an ENI in the book | `Left` | EC2 carried our own call out, or does not know it; a whole read shows it gone, half a minute after our last change, or five minutes while an ENI's link is still on the host |
//!
//! That something was not seen is never enough by itself: a link may come late, a listing lag, a path be hidden by a mount.

mod idle;
mod lease;
mod ledger;
mod left;
mod seen;

pub(crate) use idle::Accord;
pub use lease::{Ended, NetnsSeen, Sighting, collect_garbage, reap};
pub(crate) use ledger::{Anothers, NewBoot, Whose, whose};
pub(crate) use left::Left;
pub(crate) use seen::{LOOKED_AT_FOR, Seen};
