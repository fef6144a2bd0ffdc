//! A network namespace of the fabric.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, Socket};
use holdfast_datapath::netns;

use super::FabricError;

/// A kernel takes microseconds; a busy machine may take longer to get to it.
const USABLE_WITHIN: Duration = Duration::from_secs(5);

/// A network namespace, held by an open descriptor. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes one, with its loopback up.
    pub(super) fn create(name: &str) -> Result<Self, FabricError> {
        let fd = netns::create()
            .map_err(|source| FabricError::Namespace { what: format!("make namespace {name}"), source })?;
        let namespace = Self { name: name.to_owned(), fd };
        namespace.apply(
            &mut namespace.socket()?,
            &[Change::SetLink(LinkRef::Name("lo".to_owned()), LinkSettings::up())],
        )?;
        Ok(namespace)
    }

    /// What the fabric calls it: a node's name, `router` or `internet`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that `nsenter --net=` and the like can open, from every process that sees this one in its `/proc`, as
    /// long as the fabric is up.
    pub fn path(&self) -> PathBuf {
        path_of(&self.fd)
    }

    /// Its descriptor, to be handed on.
    pub fn descriptor(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Runs a closure inside, on a thread of its own. Sockets that it opens belong to the namespace for ever.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T, FabricError> {
        netns::run_in(&self.fd, inside).map_err(|source| self.entering(source))
    }

    /// A netlink socket inside.
    pub fn socket(&self) -> Result<Socket, FabricError> {
        netns::socket_in(&self.fd).map_err(|source| self.entering(source))
    }

    /// Listens inside.
    pub(super) fn listen(&self, address: IpAddr, port: u16) -> Result<TcpListener, FabricError> {
        let address = SocketAddr::new(address, port);
        self.run(|| TcpListener::bind(address))?.map_err(|source| FabricError::Listen {
            address: address.to_string(),
            place: self.name.clone(),
            source,
        })
    }

    /// Waits until an address that was just put there can be used. The kernel takes a moment for IPv6, also where it looks
    /// for no duplicates. `link`: of a link-local one.
    pub(super) fn until_usable(&self, address: Ipv6Addr, link: u32) -> Result<(), FabricError> {
        let scope = if address.is_unicast_link_local() { link } else { 0 };
        let place = SocketAddr::V6(SocketAddrV6::new(address, 0, 0, scope));
        let begun = Instant::now();
        let used = self.run(|| {
            loop {
                match UdpSocket::bind(place) {
                    Err(_) if begun.elapsed() < USABLE_WITHIN => std::thread::sleep(Duration::from_millis(1)),
                    other => return other.map(drop),
                }
            }
        })?;
        used.map_err(|source| FabricError::Listen {
            address: place.to_string(),
            place: self.name.clone(),
            source,
        })
    }

    /// Carries changes out, in order; the first failure is returned, after all were tried.
    pub(super) fn apply(&self, socket: &mut Socket, changes: &[Change]) -> Result<(), FabricError> {
        socket.apply_all(changes).map_err(|source| self.refused(source))
    }

    /// The index of a link.
    pub(super) fn index(&self, socket: &mut Socket, link: &str) -> Result<u32, FabricError> {
        match socket.link(&LinkRef::Name(link.to_owned())) {
            Ok(Some(link)) => Ok(link.index),
            Ok(None) => Err(FabricError::Unfit(format!("link {link} is gone from {}", self.name))),
            Err(source) => Err(self.refused(source)),
        }
    }

    pub(super) fn refused(&self, source: holdfast_datapath::netlink::NetlinkError) -> FabricError {
        FabricError::Netlink { what: format!("in {}", self.name), source }
    }

    fn entering(&self, source: netns::NetnsError) -> FabricError {
        FabricError::Namespace { what: format!("enter {}", self.name), source }
    }
}

/// The path by which other processes open what a descriptor of this one is of.
pub(super) fn path_of(fd: &OwnedFd) -> PathBuf {
    // The number that this /proc knows us by: under `unshare --pid` it is not the one that getpid gives.
    let me = std::fs::read_link("/proc/self").unwrap_or_else(|_| std::process::id().to_string().into());
    PathBuf::from("/proc").join(me).join("fd").join(fd.as_raw_fd().to_string())
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
