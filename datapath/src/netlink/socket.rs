//! The socket: batches out, whole lists in.

use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{DecodeError, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::AsyncSocket;
use netlink_sys::protocols::NETLINK_ROUTE;
use rtnetlink::MulticastGroup;

use super::change::Change;
use super::connection::Connection;
use super::error::NetlinkError;
use super::failure::Failure;
use super::link::{Link, LinkRef};
use super::list::{Listing, Whole};
use super::message::{Message, objects};
use super::transport::errno;

/// Requests in one system call. Their error replies, should all fail, must fit the socket's receive queue.
const BATCH: usize = 64;
/// How often an interrupted dump is begun anew. Upstream's five are too few while dozens of pods start.
const DUMP_ATTEMPTS: u32 = 50;

/// A request with its flags.
pub(super) struct Outgoing {
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
}

/// A blocking rtnetlink socket. It belongs for ever to the namespace of the thread that opened it.
pub struct Socket {
    connection: Connection,
    /// Whether the kernel knows how much this socket reads at once. Until then it makes small pieces of dumps.
    primed: bool,
    /// The last list that is to be watched came in several pieces.
    several: bool,
}

/// What [`Socket::apply_and_look`] did and saw.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Each change's failure, in order; `None` where it went well.
    pub failures: Vec<Option<NetlinkError>>,
    /// The links asked for, in order; `None` where there is none such.
    pub links: Vec<Option<Link>>,
}

impl Socket {
    /// Opens a socket in the calling thread's namespace. To reach another one, see [`crate::netns`].
    ///
    /// Strict checking and extended acknowledgements are asked for; a kernel without them (before 4.20) goes on
    /// without.
    pub fn open() -> Result<Self, NetlinkError> {
        Connection::open(NETLINK_ROUTE).map(Self::over)
    }

    /// A socket that somebody else opened, wherever that was, as [`crate::handed`] gives it.
    ///
    /// It serves as one of our own does, and whoever else has it can make what is asked by it fail, within a bounded time.
    pub fn handed(socket: OwnedFd) -> Result<Self, NetlinkError> {
        Connection::handed(socket).map(Self::over)
    }

    fn over(mut connection: Connection) -> Self {
        let socket = connection.transport().socket_ref();
        for refused in [
            socket.set_ext_ack(true).err(),
            socket.set_cap_ack(true).err(),
            socket.set_netlink_get_strict_chk(true).err(),
        ]
        .into_iter()
        .flatten()
        {
            tracing::debug!(%refused, "an old kernel: netlink without strict checks or explanations");
        }
        Self { connection, primed: false, several: false }
    }

    /// The kernel's name for this socket; changes that it makes are announced to others under it.
    pub fn port(&self) -> u32 {
        self.connection.port()
    }

    /// Carries one change out.
    pub fn apply(&mut self, change: &Change) -> Result<(), NetlinkError> {
        self.apply_all(std::slice::from_ref(change))
    }

    /// Carries changes out, in order, in as few system calls as possible. All are tried, also after one failed;
    /// the first failure is returned.
    pub fn apply_all(&mut self, changes: &[Change]) -> Result<(), NetlinkError> {
        match self.apply_each(changes)?.into_iter().flatten().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Carries changes out like [`Socket::apply_all`] and gives each one's failure, in order; `None` where it went
    /// well. `Err` when the socket itself failed.
    pub fn apply_each(&mut self, changes: &[Change]) -> Result<Vec<Option<NetlinkError>>, NetlinkError> {
        let mut results = Vec::with_capacity(changes.len());
        for chunk in changes.chunks(BATCH) {
            let requests: Vec<_> = chunk.iter().map(Change::request).collect();
            let answers = self.exchange(&|| batch_name(chunk), requests, |_, _, _| Ok(()))?;
            results.extend(named(answers, chunk));
        }
        Ok(results)
    }

    /// Carries changes out, then looks links up, all in one system call: at most 64 in all.
    pub fn apply_and_look(&mut self, changes: &[Change], links: &[LinkRef]) -> Result<Looked, NetlinkError> {
        let mut requests: Vec<_> = changes.iter().map(Change::request).collect();
        requests.extend(links.iter().map(LinkRef::get));
        let mut seen = vec![None; links.len()];
        let answers = self.exchange(&|| batch_name(changes), requests, |at, kind, payload| {
            if let Some(slot) = at.checked_sub(changes.len()).and_then(|at| seen.get_mut(at)) {
                *slot = Link::decode(kind, payload)?;
            }
            Ok(())
        })?;
        Ok(Looked { failures: named(answers, changes).collect(), links: seen })
    }

    /// Asks for one object. The kernel answers with it, or with an error.
    pub(super) fn query<T>(
        &mut self,
        what: &str,
        request: Outgoing,
        decode: impl Fn(u16, &[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, NetlinkError> {
        let mut found = None;
        let answers = self.exchange(&|| what.to_owned(), vec![request], |_, kind, payload| {
            if found.is_none() {
                found = decode(kind, payload)?;
            }
            Ok(())
        })?;
        match answers.into_iter().flatten().next() {
            Some(failure) => Err(failure.of(what.to_owned())),
            None => Ok(found),
        }
    }

    /// Sends requests in one system call and reads the answers. Only the last asks for an acknowledgement.
    fn exchange(
        &mut self,
        what: &dyn Fn() -> String,
        requests: Vec<Outgoing>,
        mut on_object: impl FnMut(usize, u16, &[u8]) -> Result<(), DecodeError>,
    ) -> Result<Vec<Option<Failure>>, NetlinkError> {
        let count = requests.len();
        let mut answers: Vec<Option<Failure>> = (0..count).map(|_| None).collect();
        let mut unreadable = None;
        let requests = requests.into_iter().enumerate().map(|(at, request)| {
            let ack = if at + 1 == count { NLM_F_ACK } else { 0 };
            Message::request(request.message, request.flags | ack)
        });
        self.connection.converse(what, requests.collect(), |at, heard| match heard.payload {
            NetlinkPayload::InnerMessage(Message::Piece(piece)) => {
                for object in objects(&piece) {
                    let read =
                        |object: NetlinkBuffer<&[u8]>| on_object(at, object.message_type(), object.payload());
                    unreadable = object.and_then(read).err().or(unreadable.take());
                }
            }
            NetlinkPayload::Error(error) => answers[at] = Failure::of_request(&error, heard.header.flags),
            _ => {}
        })?;
        self.primed = true;
        match unreadable {
            Some(error) => Err(NetlinkError::malformed(what(), &error)),
            None => Ok(answers),
        }
    }

    /// Reads a whole list. A list that changed while it was read is read anew, a bounded number of times: what is
    /// returned is complete.
    ///
    /// This believes the kernel's word on whether the list changed. It gives none for rules: see
    /// [`Socket::dump_watched`].
    pub(super) fn dump<T>(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        decode: impl Fn(u16, &[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, NetlinkError> {
        self.until_settled(what, |socket| {
            Ok(socket.dump_once(what, &request, &decode)?.map(|dumped| dumped.list))
        })
    }

    /// Reads a whole list of a kind for which the kernel does not say whether it changed meanwhile.
    ///
    /// A list that comes in one piece was read in one go. One that comes in several is believed only when no
    /// change was announced from before its first piece until after its last. A change is announced a moment
    /// after it is made; `barrier`, a request that waits for the same lock and does nothing, outlasts that moment.
    pub(super) fn dump_watched<T>(
        &mut self,
        what: &'static str,
        request: RouteNetlinkMessage,
        group: MulticastGroup,
        barrier: &Change,
        decode: impl Fn(u16, &[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, NetlinkError> {
        // A list that was long last time is not read for nothing first.
        if !self.several
            && let Some(dumped) = self.dump_once(what, &request, &decode)?
            && dumped.pieces <= 1
        {
            return Ok(dumped.list);
        }
        let failed = |what, error: std::io::Error| NetlinkError::Socket { what, errno: errno(&error) };
        let group = group as u32;
        let subscribed = self.connection.transport().socket_ref().add_membership(group);
        subscribed.map_err(|error| failed("subscribe to changes", error))?;
        let result = self.until_settled(what, |socket| {
            // What was announced before the first piece does not count: read it away.
            socket.apply_each(std::slice::from_ref(barrier))?;
            socket.connection.take_notified();
            let dumped = socket.dump_once(what, &request, &decode)?;
            socket.apply_each(std::slice::from_ref(barrier))?;
            let changed = socket.connection.take_notified();
            let Some(dumped) = dumped.filter(|dumped| dumped.pieces <= 1 || !changed) else {
                return Ok(None);
            };
            socket.several = dumped.pieces > 1;
            Ok(Some(dumped.list))
        });
        let unsubscribed = self.connection.transport().socket_ref().drop_membership(group);
        unsubscribed.map_err(|error| failed("unsubscribe from changes", error))?;
        result
    }

    fn until_settled<T>(
        &mut self,
        what: &'static str,
        mut attempt: impl FnMut(&mut Self) -> Result<Option<T>, NetlinkError>,
    ) -> Result<T, NetlinkError> {
        for tried in 0..DUMP_ATTEMPTS {
            if let Some(whole) = attempt(self)? {
                return Ok(whole);
            }
            // Whoever changes it does so a few times in a row; waiting costs less than reading again at once.
            std::thread::sleep(Duration::from_micros(200) * tried.min(20));
        }
        Err(NetlinkError::Unsettled { what: what.to_owned(), attempts: DUMP_ATTEMPTS })
    }

    /// `None`: interrupted. The answer is read to its end all the same, or the socket would stay busy.
    fn dump_once<T>(
        &mut self,
        what: &'static str,
        request: &RouteNetlinkMessage,
        decode: &impl Fn(u16, &[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<Whole<T>>, NetlinkError> {
        self.prime(what)?;
        let request = Message::request(request.clone(), NLM_F_REQUEST | NLM_F_DUMP);
        let mut listing = Listing::new(decode);
        self.connection.converse(&|| what.to_owned(), vec![request], |_, heard| listing.hear(heard))?;
        listing.outcome(what)
    }

    /// Lets the kernel see how much is read at once, by an exchange of nothing, so that already the first piece of
    /// the first dump is as large as it makes them (32 KiB): most lists then come in one.
    fn prime(&mut self, what: &'static str) -> Result<(), NetlinkError> {
        if self.primed {
            return Ok(());
        }
        self.connection.converse(
            &|| what.to_owned(),
            vec![Message::noop(NLM_F_REQUEST | NLM_F_ACK)],
            |_, _acknowledged| {},
        )?;
        self.primed = true;
        Ok(())
    }
}

/// Each change's failure in words.
fn named(answers: Vec<Option<Failure>>, changes: &[Change]) -> impl Iterator<Item = Option<NetlinkError>> {
    answers
        .into_iter()
        .zip(changes)
        .map(|(answer, change)| answer.map(|failure| failure.of(change.to_string())))
}

fn batch_name(changes: &[Change]) -> String {
    match changes {
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => "nothing".to_owned(),
    }
}
