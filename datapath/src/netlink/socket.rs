//! The socket: batches out, acknowledgements and dumps in.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::attributes::Attributes;
use super::change::Change;
use super::error::NetlinkError;
use super::link::{Link, LinkRef};

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// The kernel never makes a larger piece of a dump.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Requests in one system call. Their error replies, should all fail, must fit the socket's receive queue.
const BATCH: usize = 64;
/// How often an interrupted dump is begun anew. Upstream's five are too few while dozens of pods start.
const DUMP_ATTEMPTS: u32 = 50;
/// The wait for one answer. The kernel answers as it takes the request: a longer wait means that the rtnl lock is
/// held by something that hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request with its flags, not yet numbered.
pub(super) struct Outgoing {
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
}

/// A blocking rtnetlink socket. It belongs for ever to the namespace of the thread that opened it.
pub struct Socket {
    socket: netlink_sys::Socket,
    /// The kernel's name for this socket: on its answers, and on the notifications that its changes cause.
    port: u32,
    sequence: u32,
    /// Whether the kernel knows how much this socket reads at once. Until then it makes small pieces of dumps.
    primed: bool,
    /// A notification came: only while one is subscribed to.
    notified: bool,
    send: Vec<u8>,
    receive: Vec<u8>,
}

struct Dumped<T> {
    list: Vec<T>,
    /// In how many pieces it came.
    pieces: usize,
}

/// What [`Socket::apply_and_look`] did and saw.
#[derive(Clone, Debug)]
pub struct Looked {
    /// Each change's failure, in order; `None` where it went well.
    pub failures: Vec<Option<NetlinkError>>,
    /// The links asked for, in order; `None` where there is none such.
    pub links: Vec<Option<Link>>,
}

/// What the kernel said to one request of a batch.
enum Answer {
    Silence,
    Error(Errno, String),
}

impl Answer {
    fn failure_of(self, change: &Change) -> Option<NetlinkError> {
        match self {
            Self::Silence => None,
            Self::Error(errno, message) => {
                Some(NetlinkError::Refused { what: change.to_string(), errno, message })
            }
        }
    }
}

impl Socket {
    /// Opens a socket in the calling thread's namespace. To reach another one, see [`crate::netns`].
    ///
    /// Strict checking and extended acknowledgements are asked for; a kernel without them (before 4.20) goes on
    /// without.
    pub fn open() -> Result<Self, NetlinkError> {
        let failed = |error: std::io::Error| NetlinkError::Socket {
            what: "open a netlink socket",
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        };
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(failed)?;
        let port = socket.bind_auto().map_err(failed)?.port_number();
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
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
        let opened = Self {
            socket,
            port,
            sequence: 0,
            primed: false,
            notified: false,
            send: Vec::new(),
            receive: vec![0; RECEIVE_BUFFER],
        };
        opened.set_timeout(TIMEOUT)?;
        Ok(opened)
    }

    /// The kernel's name for this socket; changes that it makes are announced to others under it.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Changes how long one answer is waited for. 10 seconds unless changed; not zero.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), NetlinkError> {
        let micros = i64::try_from(timeout.as_micros().max(1)).unwrap_or(i64::MAX);
        let value = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &value)
            .map_err(|errno| NetlinkError::Socket { what: "set the receive timeout", errno })
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
            let answers = self.exchange(&|| batch_name(chunk), requests, &mut |_, _, _| {})?;
            results.extend(answers.into_iter().zip(chunk).map(|(answer, change)| answer.failure_of(change)));
        }
        Ok(results)
    }

    /// Carries changes out, then looks links up, all in one system call: at most 64 in all.
    pub fn apply_and_look(&mut self, changes: &[Change], links: &[LinkRef]) -> Result<Looked, NetlinkError> {
        let mut requests: Vec<_> = changes.iter().map(Change::request).collect();
        requests.extend(links.iter().map(LinkRef::get));
        let mut seen = vec![None; links.len()];
        let answers = self.exchange(&|| batch_name(changes), requests, &mut |at, kind, payload| {
            if let Some(slot) = at.checked_sub(changes.len()).and_then(|at| seen.get_mut(at)) {
                *slot = Link::decode(kind, payload);
            }
        })?;
        let failures = answers.into_iter().zip(changes).map(|(answer, change)| answer.failure_of(change));
        Ok(Looked { failures: failures.collect(), links: seen })
    }

    /// Asks for one object. The kernel answers with it, or with an error.
    pub(super) fn query<T>(
        &mut self,
        what: &str,
        request: Outgoing,
        decode: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        let mut found = None;
        let answers = self.exchange(&|| what.to_owned(), vec![request], &mut |_, kind, payload| {
            found = found.take().or_else(|| decode(kind, payload));
        })?;
        match answers.into_iter().next() {
            Some(Answer::Error(errno, message)) => {
                Err(NetlinkError::Refused { what: what.to_owned(), errno, message })
            }
            _ => Ok(found),
        }
    }

    /// Sends requests in one system call and reads the answers. Only the last asks for an acknowledgement: the
    /// kernel works through them in order and reports failures unasked, so when that one has come all have.
    fn exchange(
        &mut self,
        what: &dyn Fn() -> String,
        requests: Vec<Outgoing>,
        on_object: &mut dyn FnMut(usize, u16, &[u8]),
    ) -> Result<Vec<Answer>, NetlinkError> {
        let count = requests.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let first = self.sequence.wrapping_add(1);
        self.send.clear();
        for (at, request) in requests.into_iter().enumerate() {
            let ack = if at + 1 == count { NLM_F_ACK } else { 0 };
            self.enqueue(request.message, request.flags | ack);
        }
        self.send_all()?;

        let mut answers: Vec<Answer> = (0..count).map(|_| Answer::Silence).collect();
        let mut done = false;
        while !done {
            let length = self.receive_one(what)?;
            for message in Messages(&self.receive[..length]) {
                // An answer to an earlier request, whose wait timed out, is dropped.
                let at = message.sequence.wrapping_sub(first) as usize;
                if message.port != self.port {
                    self.notified = true;
                    continue;
                }
                if at >= count {
                    continue;
                }
                if message.kind == NLMSG_ERROR {
                    if let Some(failure) = message.failure() {
                        answers[at] = failure;
                    }
                    done |= at + 1 == count;
                } else {
                    on_object(at, message.kind, message.payload);
                }
            }
        }
        Ok(answers)
    }

    /// Reads a whole list. A list that changed while it was read is read anew, a bounded number of times: what is
    /// returned is complete.
    ///
    /// This believes the kernel's word on whether the list changed. It gives none for rules: see
    /// [`Socket::dump_watched`].
    pub(super) fn dump<T>(
        &mut self,
        what: &'static str,
        request: Outgoing,
        decode: impl Fn(u16, &[u8]) -> Option<T>,
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
        request: Outgoing,
        group: u32,
        barrier: &Change,
        decode: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        if let Some(dumped) = self.dump_once(what, &request, &decode)?
            && dumped.pieces <= 1
        {
            return Ok(dumped.list);
        }
        let failed = |what, error: std::io::Error| NetlinkError::Socket {
            what,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
        };
        self.socket.add_membership(group).map_err(|error| failed("subscribe to changes", error))?;
        let result = self.until_settled(what, |socket| {
            // What was announced before the first piece does not count: read it away.
            socket.apply_each(std::slice::from_ref(barrier))?;
            socket.notified = false;
            let dumped = socket.dump_once(what, &request, &decode)?;
            socket.apply_each(std::slice::from_ref(barrier))?;
            Ok(dumped.filter(|_| !socket.notified).map(|dumped| dumped.list))
        });
        self.socket.drop_membership(group).map_err(|error| failed("unsubscribe from changes", error))?;
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
        request: &Outgoing,
        decode: &impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<Dumped<T>>, NetlinkError> {
        self.prime(what)?;
        self.send.clear();
        self.enqueue(request.message.clone(), request.flags);
        self.send_all()?;
        let mut dumped = Dumped { list: Vec::new(), pieces: 0 };
        let mut interrupted = false;
        loop {
            let length = self.receive_one(&|| what.to_owned())?;
            let mut objects = false;
            for message in Messages(&self.receive[..length]) {
                if message.port != self.port {
                    self.notified = true;
                    continue;
                }
                if message.sequence != self.sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => match message.failure() {
                        Some(Answer::Error(Errno::EINTR | Errno::EAGAIN | Errno::EBUSY, _)) => {
                            return Ok(None);
                        }
                        Some(Answer::Error(errno, message)) => {
                            return Err(NetlinkError::Refused { what: what.to_owned(), errno, message });
                        }
                        _ => {
                            dumped.pieces += usize::from(objects);
                            return Ok((!interrupted).then_some(dumped));
                        }
                    },
                    kind => {
                        objects = true;
                        dumped.list.extend(decode(kind, message.payload));
                    }
                }
            }
            dumped.pieces += usize::from(objects);
        }
    }

    /// Lets the kernel see how much is read at once, by an exchange of nothing, so that already the first piece of
    /// the first dump is as large as it makes them (32 KiB): most lists then come in one.
    fn prime(&mut self, what: &'static str) -> Result<(), NetlinkError> {
        if self.primed {
            return Ok(());
        }
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        header.sequence_number = self.sequence;
        let mut nothing = NetlinkMessage::<RouteNetlinkMessage>::new(header, NetlinkPayload::Noop);
        nothing.finalize();
        self.send.clear();
        self.send.resize(nothing.buffer_len(), 0);
        nothing.serialize(&mut self.send);
        self.send_all()?;
        self.receive_one(&|| what.to_owned())?;
        Ok(())
    }

    fn enqueue(&mut self, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let start = self.send.len();
        self.send.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut self.send[start..]);
    }

    fn send_all(&self) -> Result<(), NetlinkError> {
        loop {
            match self.socket.send(&self.send, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(NetlinkError::Socket {
                        what: "send to the kernel",
                        errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)),
                    });
                }
            }
        }
    }

    fn receive_one(&mut self, what: &dyn Fn() -> String) -> Result<usize, NetlinkError> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.receive, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > self.receive.len() => {
                    return Err(NetlinkError::Malformed {
                        what: what(),
                        detail: format!("{length} bytes in one piece"),
                    });
                }
                Ok(length) => {
                    self.primed = true;
                    return Ok(length);
                }
                Err(Errno::EINTR) => {}
                // Notifications were lost for want of room; answers never are, while they are being read.
                Err(Errno::ENOBUFS) => self.notified = true,
                Err(Errno::EAGAIN) => return Err(NetlinkError::Timeout { what: what() }),
                Err(errno) => return Err(NetlinkError::Socket { what: "receive from the kernel", errno }),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn batch_name(changes: &[Change]) -> String {
    match changes {
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        [] => "nothing".to_owned(),
    }
}

/// One message of what was received.
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) port: u32,
    pub(super) payload: &'a [u8],
}

impl Message<'_> {
    /// Of an error or end-of-list message: the error number and its explanation; `None` when it says "well".
    fn failure(&self) -> Option<Answer> {
        let code = i32::from_ne_bytes(self.payload.get(..4)?.try_into().ok()?);
        if code == 0 {
            return None;
        }
        // Of the request that it quotes, only the header is there (capped), or all; a list's end quotes nothing.
        let quoted = match self.kind {
            NLMSG_DONE => 0,
            _ if self.flags & NLM_F_CAPPED != 0 => HEADER,
            _ => {
                let length = super::attributes::u32_at(self.payload, 4).unwrap_or(0);
                (length as usize).next_multiple_of(4)
            }
        };
        let explanation = if self.flags & NLM_F_ACK_TLVS == 0 {
            String::new()
        } else {
            Attributes(self.payload.get(4 + quoted..).unwrap_or_default())
                .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
                .map(|(_, value)| value.text())
                .unwrap_or_default()
        };
        Some(Answer::Error(Errno::from_raw(code.saturating_neg()), explanation))
    }
}

/// Walks the messages of one received piece. Ends at the first that does not fit in what is left.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..HEADER)?;
        let length = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes(header[8..12].try_into().ok()?),
            port: u32::from_ne_bytes(header[12..16].try_into().ok()?),
            payload: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}
