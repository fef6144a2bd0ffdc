//! Requests and their answers, one exchange at a time, through the library's connection.

use std::future::Future;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_sys::{AsyncSocket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, NetlinkAddr, getsockname, recv};
use rtnetlink::proto::{ConnectionHandle, ReplyExpectation, from_socket_with_codec};

use super::error::NetlinkError;
use super::message::{Message, Pieces};
use super::transport::{Transport, errno};
use crate::sys;

/// The wait for one answer. The kernel answers as it takes the request: a longer wait means that the
/// rtnl lock is held by something that hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The same for a socket that was handed over. Whoever opened it may take answers away: that must not hold a thread up that
/// others need.
const TIMEOUT_HANDED: Duration = Duration::from_millis(100);

/// And in all, in one exchange: with what whoever has a copy asks by it, answers to others would come for ever.
const WITHIN_HANDED: Duration = Duration::from_secs(1);

/// How often an answer is waited for in one exchange, which ordinarily is never.
const WAITS: u32 = 64;

/// The most that is cleared away from a socket that was handed over.
const CLEARED: u32 = 4096;

/// A connection to the kernel, polled by whoever waits for an answer.
///
/// `rtnetlink`'s own handle stands on the same connection. It is not used: it sends one request at a time, and keeps
/// neither the flag that says that a list changed while it was read, nor what a list's end says.
pub(super) struct Connection {
    inner: rtnetlink::proto::Connection<Message, Transport, Pieces>,
    handle: ConnectionHandle<Message>,
    unasked: UnboundedReceiver<(NetlinkMessage<Message>, SocketAddr)>,
    port: u32,
    /// How many requests were sent.
    sent: u32,
    notified: bool,
    timeout: Duration,
    /// How long an exchange may take in all; `None`: as long as the kernel keeps talking.
    within: Option<Duration>,
}

impl Connection {
    /// Opens one in the calling thread's namespace, where it stays.
    pub(super) fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let failed = |error: std::io::Error| NetlinkError::Socket {
            what: "open a netlink socket",
            errno: errno(&error),
        };
        let mut transport = Transport::new(protocol).map_err(failed)?;
        let port = transport.socket_mut().bind_auto().map_err(failed)?.port_number();
        // From then on nobody but the kernel can send to it.
        transport.socket_ref().connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        Ok(Self::over(transport, port, TIMEOUT))
    }

    /// Over a socket that somebody else opened, bound and connected, in whichever namespace. What is there to be read is
    /// of an earlier use.
    pub(super) fn handed(socket: OwnedFd) -> Result<Self, NetlinkError> {
        let failed = |errno| NetlinkError::Socket { what: "take a socket over that was handed to us", errno };
        let fd = socket.as_raw_fd();
        for cleared in 0.. {
            match recv(fd, &mut [], MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => break,
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) if cleared < CLEARED => {}
                Ok(_) => return Err(failed(Errno::EBUSY)),
                Err(errno) => return Err(failed(errno)),
            }
        }
        let port = getsockname::<NetlinkAddr>(fd).map_err(failed)?.pid();
        let mut connection = Self::over(Transport::over(sys::netlink_socket(socket)), port, TIMEOUT_HANDED);
        connection.within = Some(WITHIN_HANDED);
        Ok(connection)
    }

    fn over(transport: Transport, port: u32, timeout: Duration) -> Self {
        let (inner, handle, unasked) = from_socket_with_codec(transport);
        Self { inner, handle, unasked, port, sent: 0, notified: false, timeout, within: None }
    }

    /// The kernel's name for it.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    pub(super) fn transport(&mut self) -> &mut Transport {
        self.inner.socket_mut()
    }

    /// Sends requests in one system call and hears all that is answered to them, in order: which request, and what. The
    /// last must be of a kind that is answered to an end. For the others nothing is waited for: the kernel works through
    /// them in order and reports failures unasked, so when the last answer's end has come all have.
    ///
    /// The connection is told to expect no answer to any of them: it tells answers by their sequence number alone, and
    /// a notification of what another process did bears that process's number.
    pub(super) fn converse(
        &mut self,
        what: &dyn Fn() -> String,
        requests: Vec<NetlinkMessage<Message>>,
        mut heard: impl FnMut(usize, NetlinkMessage<Message>),
    ) -> Result<(), NetlinkError> {
        let Some(last) = requests.len().checked_sub(1) else { return Ok(()) };
        // As the connection numbers them.
        let first = self.sent.wrapping_add(1);
        self.sent = self.sent.wrapping_add(u32::try_from(requests.len()).unwrap_or(u32::MAX));
        let requests = requests.into_iter().map(|request| (request, ReplyExpectation::NotExpected));
        let sent = self.handle.request_batch_with_expectation(requests, SocketAddr::new(0, 0));
        drop(sent.map_err(|_closed| CLOSED)?);
        // Nothing is there to be read before the requests are sent, nor after the last answer: one datagram at a time
        // spares the attempts.
        self.transport().allow(0);
        self.turn()?;
        let mut waits = 0;
        let until = self.within.map(|within| Instant::now() + within);
        loop {
            let (own, mut ended, mut notified) = (self.port, false, false);
            for message in self.unasked() {
                let at = message.header.sequence_number.wrapping_sub(first) as usize;
                match message.header.port_number == own {
                    true if at <= last => {
                        let is_end =
                            matches!(message.payload, NetlinkPayload::Error(_) | NetlinkPayload::Done(_));
                        ended |= at == last && is_end;
                        heard(at, message);
                    }
                    // To an earlier exchange, whose wait timed out.
                    true => {}
                    false => notified = true,
                }
            }
            self.notified |= notified;
            if ended {
                return Ok(());
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(NetlinkError::Timeout { what: what() });
            }
            self.transport().allow(1);
            if !self.turn()? {
                waits += 1;
                if waits > WAITS {
                    return Err(NetlinkError::Timeout { what: what() });
                }
                self.wait(what)?;
            }
        }
    }

    /// Whether notifications came during exchanges, or were lost, since this was last asked.
    pub(super) fn take_notified(&mut self) -> bool {
        std::mem::take(&mut self.notified)
    }

    /// What came that belongs to no exchange.
    pub(super) fn unasked(&mut self) -> impl Iterator<Item = NetlinkMessage<Message>> {
        std::iter::from_fn(|| {
            let mut context = Context::from_waker(Waker::noop());
            match self.unasked.poll_next_unpin(&mut context) {
                Poll::Ready(next) => next.map(|(message, _from)| message),
                Poll::Pending => None,
            }
        })
    }

    /// Reads what is there and sends what is to be sent. Whether there was anything.
    pub(super) fn turn(&mut self) -> Result<bool, NetlinkError> {
        let mut context = Context::from_waker(Waker::noop());
        if Pin::new(&mut self.inner).poll(&mut context).is_ready() {
            return Err(CLOSED);
        }
        let transport = self.transport();
        match transport.take_failure() {
            Some((what, errno)) => Err(NetlinkError::Socket { what, errno }),
            None => Ok(transport.take_moved()),
        }
    }

    fn wait(&mut self, what: &dyn Fn() -> String) -> Result<(), NetlinkError> {
        let timeout = PollTimeout::try_from(self.timeout).unwrap_or(PollTimeout::MAX);
        loop {
            let transport = self.inner.socket_mut();
            match poll(&mut [PollFd::new(transport.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return Err(NetlinkError::Timeout { what: what() }),
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(NetlinkError::Socket { what: "wait for the kernel", errno }),
            }
        }
    }
}

/// The connection closes only when its socket fails, which it is not told of.
const CLOSED: NetlinkError =
    NetlinkError::Socket { what: "talk to the kernel by a closed connection", errno: Errno::ECONNRESET };

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_sys::protocols::NETLINK_ROUTE;
    use rtnetlink::MulticastGroup;

    use super::*;
    use crate::netlink::Rule;
    use crate::netns;

    fn nothing(
        connection: &mut Connection,
        flags: u16,
    ) -> Result<Vec<NetlinkMessage<Message>>, NetlinkError> {
        let mut answers = Vec::new();
        let asked = vec![Message::noop(NLM_F_REQUEST | flags)];
        connection.converse(&|| "ask nothing".to_owned(), asked, |_, answer| answers.push(answer))?;
        Ok(answers)
    }

    #[test]
    fn the_wait_for_an_answer_ends() {
        let mut connection = Connection::open(NETLINK_ROUTE).unwrap();
        connection.timeout = Duration::from_millis(20);
        let silence = nothing(&mut connection, 0).unwrap_err();
        assert_eq!(silence, NetlinkError::Timeout { what: "ask nothing".to_owned() });
        assert_eq!(nothing(&mut connection, NLM_F_ACK).unwrap().len(), 1, "and it serves on");
    }

    /// Whoever has a copy of a socket can have answers come to it for ever, none of which is awaited.
    #[test]
    fn an_exchange_by_a_socket_that_others_have_ends() {
        let mut connection = Connection::open(NETLINK_ROUTE).unwrap();
        connection.within = Some(Duration::from_millis(300));
        let copy = connection.transport().as_fd().try_clone_to_owned().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let noise = std::thread::spawn(move || {
            // A request for nothing that is acknowledged, with a number that is far from ours.
            let mut request = [16, 0, 1 << 30, 0].map(u32::to_ne_bytes).concat();
            request[4..8].copy_from_slice(&[1_u16, NLM_F_REQUEST | NLM_F_ACK].map(u16::to_ne_bytes).concat());
            while stopped.recv_timeout(Duration::from_millis(100)).is_err() {
                nix::sys::socket::send(copy.as_raw_fd(), &request, MsgFlags::empty()).unwrap();
            }
        });
        let asked = Instant::now();
        let given_up = nothing(&mut connection, 0).unwrap_err();
        stop.send(()).unwrap();
        noise.join().unwrap();
        assert_eq!(given_up, NetlinkError::Timeout { what: "ask nothing".to_owned() });
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    }

    #[test]
    fn an_answer_that_came_too_late_is_nobodys() {
        let mut connection = Connection::open(NETLINK_ROUTE).unwrap();
        // As after a wait that was given up.
        let late = vec![(Message::noop(NLM_F_REQUEST | NLM_F_ACK), ReplyExpectation::NotExpected)];
        drop(connection.handle.request_batch_with_expectation(late, SocketAddr::new(0, 0)).unwrap());
        connection.sent += 1;
        let answers = nothing(&mut connection, NLM_F_ACK).unwrap();
        let numbers: Vec<_> = answers.iter().map(|answer| answer.header.sequence_number).collect();
        assert_eq!(numbers, [2]);
    }

    /// Sockets count from 1: that two are at the same number is ordinary.
    #[test]
    fn a_notification_with_our_number_is_no_answer() {
        let netns = netns::create().unwrap();
        let open = || (Connection::open(NETLINK_ROUTE).unwrap(), Connection::open(NETLINK_ROUTE).unwrap());
        let (mut ours, mut theirs) = netns::run_in(&netns, open).unwrap();
        let group = MulticastGroup::Ipv4Rule as u32;
        ours.transport().socket_ref().add_membership(group).unwrap();
        let rule = RouteNetlinkMessage::NewRule(Rule::new(77, 77).message());
        let change = vec![Message::request(rule, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK)];
        theirs.converse(&String::new, change, |_, _| {}).unwrap();

        let answers = nothing(&mut ours, NLM_F_ACK).unwrap();
        assert!(
            matches!(answers[..], [NetlinkMessage { payload: NetlinkPayload::Error(_), .. }]),
            "{answers:?}"
        );
        assert!(ours.take_notified());
        assert!(!ours.take_notified());
    }

    #[test]
    fn a_socket_that_cannot_send_says_so_and_serves_on() {
        let mut connection = Connection::open(NETLINK_ROUTE).unwrap();
        // Larger than the kernel takes at once.
        let many = (0..40_000).map(|_| Message::noop(NLM_F_REQUEST | NLM_F_ACK)).collect();
        let refused = connection.converse(&String::new, many, |_, _| {}).unwrap_err();
        assert_eq!(refused, NetlinkError::Socket { what: "send to the kernel", errno: Errno::EMSGSIZE });
        assert_eq!(nothing(&mut connection, NLM_F_ACK).unwrap().len(), 1);
    }
}
