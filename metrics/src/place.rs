//! Where a port is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where something is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this address, or at the first of these that the kernel knows the family of.
    Tcp(Vec<SocketAddr>),
    /// On a unix socket.
    Unix(PathBuf),
}

/// Why a text names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want an address and a port as in 127.0.0.1:61679, or unix: and an absolute path")]
pub struct NoPlace;

impl Place {
    /// A port on all of the host's addresses: of both families where the kernel has both.
    pub fn everywhere(port: u16) -> Self {
        let at = |ip| SocketAddr::new(ip, port);
        Self::Tcp(vec![at(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), at(IpAddr::V4(Ipv4Addr::UNSPECIFIED))])
    }

    /// As Go's `net.Listen` is told it, with `unix:` before a path.
    pub fn parse(text: &str) -> Result<Self, NoPlace> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(NoPlace) };
        }
        let port = |text: &str| text.parse::<u16>().map_err(|_not_a_port| NoPlace);
        if let Some(text) = text.strip_prefix(':') {
            return Ok(Self::everywhere(port(text)?));
        }
        if let Some(text) = text.strip_prefix("localhost:") {
            return Ok(Self::Tcp(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port(text)?)]));
        }
        text.parse().map(|address| Self::Tcp(vec![address])).map_err(|_no_address| NoPlace)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addresses) => match addresses.first() {
                Some(address) => address.fmt(f),
                None => f.write_str("nowhere"),
            },
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_the_incumbents_are_given() {
        for (text, told) in [
            ("127.0.0.1:61679", Some("127.0.0.1:61679")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("[::1]:61679", Some("[::1]:61679")),
            (":61679", Some("[::]:61679")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("unix:x.sock", None),
            ("", None),
            ("127.0.0.1", None),
            ("example.com:80", None),
            (":70000", None),
        ] {
            assert_eq!(Place::parse(text).ok().map(|place| place.to_string()).as_deref(), told, "{text}");
        }
        assert!(matches!(Place::everywhere(1), Place::Tcp(both) if both.len() == 2));
    }
}
