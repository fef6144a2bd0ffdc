//! A listening socket of either kind.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Ipv6V6Only;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use crate::place::Place;

/// Where clients come in. A unix socket's file goes with it.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Connections that may wait to be taken.
const QUEUE: u32 = 64;

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(super) async fn bind(place: &Place) -> io::Result<Self> {
        match place {
            Place::Tcp(addresses) => {
                let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
                for address in addresses {
                    match listen(*address) {
                        Ok(listener) => return Ok(Self::Tcp(listener)),
                        // A kernel without this family. A port that is taken is taken in both.
                        Err(error) if error.kind() != ErrorKind::AddrInUse => last = error,
                        Err(error) => return Err(error),
                    }
                }
                Err(last)
            }
            Place::Unix(path) => {
                let listener = match UnixListener::bind(path) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse && is_dead(path).await => {
                        fs::remove_file(path)?;
                        UnixListener::bind(path)?
                    }
                    other => other?,
                };
                // What it shows is for the administrator, like all of a node's state.
                fs::set_permissions(path, Permissions::from_mode(0o600))?;
                Ok(Self::Unix(listener, path.clone()))
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // For clients of both families, whatever the host's default is.
        setsockopt(&socket, Ipv6V6Only, &false)?;
        socket
    };
    // The port of a daemon that ended a moment ago.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// Whether a socket was left by a process that is gone. Nothing else is taken away.
async fn is_dead(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|seen| seen.file_type().is_socket());
    is_socket
        && matches!(UnixStream::connect(path).await, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // Gone already: then somebody else has removed it.
            fs::remove_file(path).ok();
        }
    }
}
