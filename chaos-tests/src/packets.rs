//! Packets between pods: an echo server in each, and probes that say who saw what.
//!
//! A socket stays in the namespace it was opened in, so threads open sockets there and use them from anywhere.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_datapath::netns;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
};

/// Where echo servers listen.
pub const PORT: u16 = 7;

/// A UDP server that answers each datagram with its own content and the source address it saw.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Serves inside a namespace.
    pub fn serve(netns: &Arc<OwnedFd>) -> anyhow::Result<Self> {
        // Of both families: what comes by IPv4 has an address that stands for it.
        Self::serve_at(netns, Ipv6Addr::UNSPECIFIED.into())
    }

    /// The same at one of its addresses: answers leave from that one.
    pub fn serve_at(netns: &Arc<OwnedFd>, address: IpAddr) -> anyhow::Result<Self> {
        let socket = udp_at(netns, address, PORT)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            let mut buffer = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let mut answer = buffer[..length].to_vec();
                answer.extend_from_slice(format!(" seen from {}", from.ip().to_canonical()).as_bytes());
                // The asker tells a lost answer by its absence.
                let _lost: io::Result<usize> = socket.send_to(&answer, from);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has failed its asker already.
            let _panicked = thread.join();
        }
    }
}

/// A UDP socket inside a namespace; port 0 takes any.
pub fn udp_in(netns: &Arc<OwnedFd>, port: u16) -> anyhow::Result<UdpSocket> {
    udp_at(netns, Ipv4Addr::UNSPECIFIED.into(), port)
}

/// The same at one of the namespace's addresses.
pub fn udp_at(netns: &Arc<OwnedFd>, address: IpAddr, port: u16) -> anyhow::Result<UdpSocket> {
    netns::run_in(netns, || UdpSocket::bind((address, port)))?
        .with_context(|| format!("binding a UDP socket at {address}"))
}

/// The same for the family of an address, which is any.
pub fn udp_of(netns: &Arc<OwnedFd>, any: IpAddr, port: u16) -> anyhow::Result<UdpSocket> {
    let any = match any {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    netns::run_in(netns, || UdpSocket::bind((any, port)))?.context("binding a UDP socket")
}

/// One side of a conversation with many echo servers.
#[derive(Debug)]
pub struct Prober {
    socket: UdpSocket,
    of_ipv6: UdpSocket,
    sent: u64,
}

impl Prober {
    /// Asks from inside a namespace.
    pub fn new(netns: &Arc<OwnedFd>) -> anyhow::Result<Self> {
        Self::at(netns, Ipv4Addr::UNSPECIFIED.into())
    }

    /// Asks from one of its addresses, and from any of the other family.
    pub fn at(netns: &Arc<OwnedFd>, address: IpAddr) -> anyhow::Result<Self> {
        let of =
            |any: IpAddr| udp_at(netns, if any.is_ipv4() == address.is_ipv4() { address } else { any }, 0);
        let (socket, of_ipv6) = (of(Ipv4Addr::UNSPECIFIED.into())?, of(Ipv6Addr::UNSPECIFIED.into())?);
        Ok(Self { socket, of_ipv6, sent: 0 })
    }

    /// Asks once and waits for the answer; gives the source address that the other side saw. Answers to earlier
    /// questions are passed over.
    pub fn ask(&mut self, to: Ipv4Addr, patience: Duration) -> anyhow::Result<Ipv4Addr> {
        self.ask_port(SocketAddrV4::new(to, PORT), patience)
    }

    /// The same of an address of either family.
    pub fn ask_ip(&mut self, to: IpAddr, patience: Duration) -> anyhow::Result<IpAddr> {
        self.ask_at(SocketAddr::new(to, PORT), patience)
    }

    /// The same on another port.
    pub fn ask_port(&mut self, to: SocketAddrV4, patience: Duration) -> anyhow::Result<Ipv4Addr> {
        match self.ask_at(to.into(), patience)? {
            IpAddr::V4(seen) => Ok(seen),
            IpAddr::V6(seen) => anyhow::bail!("{to} was asked by IPv4 and saw {seen}"),
        }
    }

    fn ask_at(&mut self, to: SocketAddr, patience: Duration) -> anyhow::Result<IpAddr> {
        self.sent += 1;
        let question = format!("question {}", self.sent);
        let socket = if to.is_ipv4() { &self.socket } else { &self.of_ipv6 };
        socket.send_to(question.as_bytes(), to).with_context(|| format!("sending to {to}"))?;
        let until = Instant::now() + patience;
        let mut buffer = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            anyhow::ensure!(!left.is_zero(), "no answer from {to} within {} ms", patience.as_millis());
            socket.set_read_timeout(Some(left))?;
            let (length, from) = match socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    continue;
                }
                Err(error) => return Err(error).with_context(|| format!("asking {to}")),
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if let Some((echoed, seen)) = text.split_once(" seen from ")
                && echoed == question
            {
                anyhow::ensure!(from == to, "asked {to}, and {from} answered");
                return seen.trim().parse().with_context(|| format!("an address in {text:?}"));
            }
        }
    }
}

/// Asks the internet host of a box, which answers with the address and port that it saw.
pub fn ask_internet(
    netns: &Arc<OwnedFd>,
    host: SocketAddrV4,
    patience: Duration,
) -> anyhow::Result<Ipv4Addr> {
    let any = Ipv4Addr::UNSPECIFIED.into();
    match ask_internet_from(netns, any, host.into(), patience)? {
        IpAddr::V4(seen) => Ok(seen),
        IpAddr::V6(seen) => anyhow::bail!("{host} was asked by IPv4 and saw {seen}"),
    }
}

/// The same from one of the namespace's addresses, by its family.
pub fn ask_internet_from(
    netns: &Arc<OwnedFd>,
    address: IpAddr,
    host: SocketAddr,
    patience: Duration,
) -> anyhow::Result<IpAddr> {
    let socket = udp_at(netns, address, 0)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send_to(b"who am I?", host).with_context(|| format!("sending to {host}"))?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).with_context(|| format!("no answer from {host}"))?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (address, _port) = text.split_once(' ').with_context(|| format!("an address in {text:?}"))?;
    Ok(address.parse()?)
}

/// Packets sent on each link of a namespace since the link was made.
pub fn sent_by_link(netns: &Arc<OwnedFd>) -> anyhow::Result<BTreeMap<String, u64>> {
    let text = netns::run_in(netns, || std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let link = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        // Eight columns of what was received, then bytes and packets sent.
        Some((name.trim().to_owned(), counters.split_whitespace().nth(9)?.parse().ok()?))
    };
    Ok(text.lines().filter_map(link).collect())
}

/// A datagram from inside a namespace that bears another's source address.
pub fn send_as(netns: &Arc<OwnedFd>, source: IpAddr, to: SocketAddr, text: &str) -> anyhow::Result<()> {
    let family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let send = || -> anyhow::Result<()> {
        let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::IpTransparent, &true).context("taking any address")?;
        match source {
            IpAddr::V4(ip) => bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(ip, 0)))?,
            IpAddr::V6(ip) => {
                bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(ip, 0, 0, 0)))?;
            }
        }
        UdpSocket::from(socket).send_to(text.as_bytes(), to)?;
        Ok(())
    };
    netns::run_in(netns, send)?.with_context(|| format!("sending to {to} as {source}"))
}

/// An answer that takes longer is lost. Nobody sends anything again, so patience hides no loss; what is late is bounded
/// by [`Pings::hold`].
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// An answer may always take so long: the machine may be busy.
const SOON: Duration = Duration::from_millis(150);

/// Asks every so often until told to stop, and counts what was lost and how late answers were.
#[derive(Debug)]
pub struct Pinger {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Pings>>,
}

/// What a [`Pinger`] saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pings {
    /// Questions sent.
    pub sent: u64,
    /// Questions without an answer.
    pub lost: u64,
    /// How long the slowest answer took.
    pub slowest: Duration,
}

impl Pings {
    /// Adds what another saw.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// Nothing was lost, and nothing was late: no answer took longer than a moment, or than three times the slowest
    /// of a control that only the machine can have slowed down.
    pub fn hold(&self, control: &Self) -> anyhow::Result<()> {
        anyhow::ensure!(self.sent > 0, "nothing was asked");
        anyhow::ensure!(
            self.lost == 0,
            "{} of {} pings were lost (slowest answer {} ms; control: {} lost, slowest {} ms)",
            self.lost,
            self.sent,
            self.slowest.as_millis(),
            control.lost,
            control.slowest.as_millis()
        );
        let bound = SOON.max(control.slowest * 3);
        anyhow::ensure!(
            self.slowest <= bound,
            "an answer to a ping took {} ms, where {} ms are allowed",
            self.slowest.as_millis(),
            bound.as_millis()
        );
        Ok(())
    }
}

impl Pinger {
    /// Asks `to` from inside a namespace, `every` so often.
    pub fn start(netns: &Arc<OwnedFd>, to: impl Into<IpAddr>, every: Duration) -> anyhow::Result<Self> {
        let to = to.into();
        let mut prober = Prober::new(netns)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            let mut pings = Pings::default();
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                pings.sent += 1;
                match prober.ask_ip(to, ANSWERED_WITHIN) {
                    Ok(_) => pings.slowest = pings.slowest.max(asked.elapsed()),
                    Err(_) => pings.lost += 1,
                }
                std::thread::sleep((asked + every).saturating_duration_since(Instant::now()));
            }
            Ok(pings)
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops, and tells what was seen.
    pub fn stop(self) -> anyhow::Result<Pings> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow::anyhow!("the pinger panicked"))?
    }
}

/// Asks itself over the loopback of a namespace: what is late here is so for the machine's sake.
#[derive(Debug)]
pub struct Control {
    pinger: Pinger,
    _echo: Echo,
}

impl Control {
    /// In a namespace of its own.
    pub fn start(every: Duration) -> anyhow::Result<Self> {
        let netns = netns::create()?;
        netns::run_in(&netns, crate::pod::loopback_up)??;
        let echo = Echo::serve(&netns)?;
        Ok(Self { pinger: Pinger::start(&netns, Ipv4Addr::LOCALHOST, every)?, _echo: echo })
    }

    /// Stops, and tells what was seen.
    pub fn stop(self) -> anyhow::Result<Pings> {
        self.pinger.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_or_late_does_not_hold() {
        let control = Pings { sent: 10, lost: 0, slowest: Duration::from_millis(1) };
        let well = Pings { slowest: Duration::from_millis(149), ..control };
        well.hold(&control).unwrap();
        assert!(Pings { lost: 1, ..well }.hold(&control).is_err());
        assert!(Pings { sent: 0, ..well }.hold(&control).is_err());
        let late = Pings { slowest: Duration::from_millis(200), ..control };
        assert!(late.hold(&control).is_err());
        late.hold(&Pings { slowest: Duration::from_millis(70), ..control }).unwrap();
    }
}
