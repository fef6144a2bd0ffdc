//! The internet: a host outside the VPC that tells whoever reaches it where the packets came from, and EC2.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use holdfast_datapath::netlink::{Address, Change, LinkRef, LinkSettings, MacAddr, Neighbour, Route};
use tokio::io::AsyncWriteExt as _;

use super::{FabricError, Namespace, sysctl};

/// Port on which the internet host answers, over TCP and UDP, with one line: the address and port that it saw.
pub const ECHO_PORT: u16 = 7777;

/// Name of the host's link.
pub(super) const LINK: &str = "inet0";
/// Link-layer address of the host.
pub(super) const HOST_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x1e, 0x01]);
/// Link-layer address of the router's end.
pub(super) const ROUTER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x1e, 0x02]);

/// Port of the EC2 API: plain HTTP.
const EC2_PORT: u16 = 80;

const MAIN: u32 = 254;

/// Addresses outside the VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outside {
    /// Of the host that answers.
    pub host: IpAddr,
    /// Of EC2, on port 80.
    pub ec2: IpAddr,
}

/// The internet host.
#[derive(Debug)]
pub(super) struct Internet {
    namespace: Namespace,
    hosts: Vec<Host>,
    ec2: Vec<TcpListener>,
}

/// What one address of the host listens on.
#[derive(Debug)]
struct Host {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Internet {
    /// Makes the host, its services bound, and no link yet.
    pub(super) fn up(outsides: &[Outside]) -> Result<Self, FabricError> {
        let namespace = Namespace::create("internet")?;
        sysctl::write(&namespace, &[("ipv4/conf/all/rp_filter", "0"), ("ipv4/conf/default/rp_filter", "0")])?;
        if outsides.iter().all(|outside| outside.host.is_ipv4()) {
            sysctl::without_ipv6(&namespace)?;
        } else {
            // The address that it has on its link is its own without a proof.
            sysctl::write(&namespace, &[("ipv6/conf/default/accept_dad", "0")])?;
        }
        let mut socket = namespace.socket()?;
        let loopback = namespace.index(&mut socket, "lo")?;
        let (mut hosts, mut ec2) = (Vec::new(), Vec::new());
        for outside in outsides {
            let own = |address: IpAddr| Change::PutAddress(Address::new(loopback, address.into()));
            namespace.apply(&mut socket, &[own(outside.host), own(outside.ec2)])?;
            for address in [outside.host, outside.ec2] {
                if let IpAddr::V6(address) = address {
                    namespace.until_usable(address, loopback)?;
                }
            }
            let at = SocketAddr::new(outside.host, ECHO_PORT);
            let udp = namespace.run(|| UdpSocket::bind(at))?.map_err(|source| FabricError::Listen {
                address: at.to_string(),
                place: namespace.name().to_owned(),
                source,
            })?;
            hosts.push(Host { tcp: namespace.listen(outside.host, ECHO_PORT)?, udp });
            ec2.push(namespace.listen(outside.ec2, EC2_PORT)?);
        }
        Ok(Self { namespace, hosts, ec2 })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Everything that is not itself lies behind the router, once that has made the link.
    pub(super) fn connect(&self, router: IpAddr, router_ipv6: Option<IpAddr>) -> Result<(), FabricError> {
        let mut socket = self.namespace.socket()?;
        let link = self.namespace.index(&mut socket, LINK)?;
        self.namespace.apply(&mut socket, &[Change::SetLink(LinkRef::Index(link), LinkSettings::up())])?;
        for router in [router].into_iter().chain(router_ipv6) {
            self.namespace.apply(
                &mut socket,
                &[
                    Change::PutNeighbour(Neighbour::permanent(link, router, ROUTER_MAC)),
                    Change::AddRoute(Route { onlink: true, ..Route::default_via(MAIN, router, link) }),
                ],
            )?;
        }
        Ok(())
    }

    /// What EC2 listens on, and what answers at the host's addresses.
    pub(super) fn services(self) -> (Vec<TcpListener>, Vec<impl Future<Output = io::Result<()>>>) {
        (self.ec2, self.hosts.into_iter().map(Host::serve).collect())
    }
}

impl Host {
    /// Answers until dropped. Errors: the sockets cannot be made asynchronous.
    async fn serve(self) -> io::Result<()> {
        self.tcp.set_nonblocking(true)?;
        self.udp.set_nonblocking(true)?;
        let tcp = tokio::net::TcpListener::from_std(self.tcp)?;
        let udp = tokio::net::UdpSocket::from_std(self.udp)?;
        let mut scratch = [0_u8; 64];
        loop {
            tokio::select! {
                accepted = tcp.accept() => match accepted {
                    // A line fits every fresh socket's buffer, so one slow client cannot hold up the rest.
                    Ok((mut stream, from)) => {
                        let line = format!("{} {}\n", from.ip(), from.port());
                        if let Err(error) = stream.write_all(line.as_bytes()).await {
                            tracing::debug!(%error, %from, "client left early");
                        }
                    }
                    Err(error) => pause(&error).await,
                },
                received = udp.recv_from(&mut scratch) => match received {
                    Ok((_, from)) => {
                        let line = format!("{} {}\n", from.ip(), from.port());
                        if let Err(error) = udp.send_to(line.as_bytes(), from).await {
                            tracing::debug!(%error, %from, "no way back");
                        }
                    }
                    Err(error) => pause(&error).await,
                },
            }
        }
    }
}

/// Most failures pass; none may make the loop spin.
async fn pause(error: &io::Error) {
    tracing::debug!(%error, "the internet host stumbles");
    tokio::time::sleep(Duration::from_millis(5)).await;
}
