//! Calls under way: what was sent arrives, whoever died meanwhile.
//!
//! ```text
//! send -> under way -> arrives: carried out -> answer waits to be taken
//!                                           \-> nobody waits: forgotten
//! ```
//! The one place where a call takes time. Whoever sends holds a [`Ticket`], which may be lost without any effect on
//! the call: EC2 does not know that its caller is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::op::Due;
use super::request::{Caller, Request};
use super::time::Micros;
use super::{Reply, SimVpc};

/// A call that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

#[derive(Debug)]
enum Call {
    UnderWay { arrives: Micros, caller: Caller, request: Box<Request>, wanted: bool },
    Answered { ready: Micros, reply: Box<Reply> },
}

/// All calls that were sent and whose answers were not taken.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<Ticket, Call>,
    next: u64,
}

impl SimVpc {
    /// Sends a request. It arrives after its latency, and is carried out then, also when nobody waits any more.
    pub fn send(&mut self, caller: &Caller, request: impl Into<Request>) -> Ticket {
        let request = request.into();
        let latency = self.config.timing.latency_of(&request);
        self.send_after(latency, caller, request)
    }

    /// The same with a latency of the caller's choice: a harness that draws its own.
    pub fn send_after(&mut self, latency: Duration, caller: &Caller, request: impl Into<Request>) -> Ticket {
        let ticket = Ticket(self.under_way.next);
        self.under_way.next += 1;
        let (caller, request) = (caller.clone(), Box::new(request.into()));
        let arrives = self.now.after(latency);
        self.under_way.calls.insert(ticket, Call::UnderWay { arrives, caller, request, wanted: true });
        self.schedule(latency, Due::Arrives(ticket));
        self.run_due(self.now);
        ticket
    }

    /// When there is something new about a call: its arrival, or once it has arrived the moment at which its answer
    /// can be taken. `None` for one that was taken, abandoned or never sent.
    pub fn ready_at(&self, ticket: Ticket) -> Option<Micros> {
        match self.under_way.calls.get(&ticket)? {
            Call::UnderWay { arrives, wanted, .. } => wanted.then_some(*arrives),
            Call::Answered { ready, .. } => Some(*ready),
        }
    }

    /// Takes the answer of a call, once it is ready.
    pub fn take(&mut self, ticket: Ticket) -> Option<Reply> {
        match self.under_way.calls.get(&ticket)? {
            Call::Answered { ready, .. } if *ready <= self.now => {}
            Call::Answered { .. } | Call::UnderWay { .. } => return None,
        }
        match self.under_way.calls.remove(&ticket) {
            Some(Call::Answered { reply, .. }) => Some(*reply),
            _ => None,
        }
    }

    /// Nobody waits for the answer any more. The call is carried out all the same.
    pub fn abandon(&mut self, ticket: Ticket) {
        match self.under_way.calls.get_mut(&ticket) {
            Some(Call::UnderWay { wanted, .. }) => *wanted = false,
            Some(Call::Answered { .. }) => drop(self.under_way.calls.remove(&ticket)),
            None => {}
        }
    }

    /// Calls that were sent and have not arrived.
    pub fn under_way(&self) -> usize {
        self.under_way.calls.values().filter(|call| matches!(call, Call::UnderWay { .. })).count()
    }

    pub(super) fn arrive(&mut self, ticket: Ticket) {
        let Some(Call::UnderWay { caller, request, wanted, .. }) = self.under_way.calls.remove(&ticket)
        else {
            return;
        };
        let reply = self.serve(&caller, *request);
        if wanted {
            let ready = self.now.after(reply.late_by);
            self.under_way.calls.insert(ticket, Call::Answered { ready, reply: Box::new(reply) });
        }
    }
}
