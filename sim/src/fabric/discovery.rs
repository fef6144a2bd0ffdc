//! IPv6 neighbour discovery on behalf of the ENIs, and router advertisements, on all links of the router.
//!
//! The kernel answers for others only address by address, and with its own link-layer address; the VPC answers for whole
//! /80 prefixes, and with the ENI's. So a raw socket hears what nodes ask (the packet filter sends solicitations to all
//! nodes of the link, see [`super::filter`]) and answers by itself. For the gateway, which is the router's own, the
//! kernel answers.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use holdfast_datapath::netlink::MacAddr;
use ipnet::Ipv6Net;
use nix::libc::{in6_addr, in6_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrIn6, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::filter::GATEWAY_MAC;
use super::residents::Residents;
use super::{FabricError, MTU, Namespace};

/// Where the VPC's router answers in every subnet ("IPv6 subnet default gateway", announced by AWS in November 2022).
pub const IPV6_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1);

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// What receivers want of a packet of neighbour discovery: that no router can have forwarded it.
const HOPS: i32 = 255;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The socket, and what it knows.
#[derive(Debug)]
pub(super) struct Discovery {
    socket: OwnedFd,
    residents: Residents,
}

/// What a node asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Who has this address?
    WhoHas(Ipv6Addr),
    /// Who are the routers?
    Routers,
}

impl Discovery {
    /// Listens in the router. Nobody is answered yet.
    pub(super) fn up(router: &Namespace, residents: &Residents) -> Result<Self, FabricError> {
        let open = || -> nix::Result<OwnedFd> {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(&socket, sockopt::Ipv6Ttl, &HOPS)?;
            setsockopt(&socket, sockopt::Ipv6MulticastHops, &HOPS)?;
            Ok(socket)
        };
        let socket = router.run(open)?.map_err(|errno| FabricError::Listen {
            address: "ICMPv6".to_owned(),
            place: router.name().to_owned(),
            source: errno.into(),
        })?;
        Ok(Self { socket, residents: residents.clone() })
    }

    /// Answers until dropped. Errors: the socket cannot be made asynchronous, or is broken.
    pub(super) async fn serve(self) -> io::Result<()> {
        // A socket of another kind, but the runtime only waits on it.
        let socket = UdpSocket::from_std(self.socket.into())?;
        loop {
            let heard = socket.async_io(Interest::READABLE, || hear(socket.as_raw_fd())).await?;
            let Some((question, from, link)) = heard else { continue };
            let Some(answer) = answer(&self.residents, question, from, link) else { continue };
            if let Err(error) = send(socket.as_raw_fd(), &answer, from, link) {
                tracing::debug!(%error, %from, link, "no neighbour's answer");
            }
        }
    }
}

/// The next question, who asks, and on which link.
fn hear(socket: RawFd) -> io::Result<Option<(Question, Ipv6Addr, u32)>> {
    let mut bytes = [0_u8; 256];
    let mut space = nix::cmsg_space!(in6_pktinfo);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got = recvmsg::<SockaddrIn6>(socket, &mut parts, Some(&mut space), MsgFlags::empty())?;
    let link = got.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_ifindex),
        _ => None,
    });
    let (from, length) = (got.address.map(|address| address.ip()), got.bytes);
    let question = bytes.get(..length).and_then(question);
    Ok(question.zip(from).zip(link).map(|((question, from), link)| (question, from, link)))
}

fn question(message: &[u8]) -> Option<Question> {
    match *message.first()? {
        ROUTER_SOLICITATION => Some(Question::Routers),
        SOLICITATION => {
            let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
            Some(Question::WhoHas(target.into()))
        }
        _ => None,
    }
}

/// What is answered; `None`: nothing.
fn answer(residents: &Residents, question: Question, from: Ipv6Addr, link: u32) -> Option<Vec<u8>> {
    match question {
        // Whoever probes for a duplicate of its own address hears nothing.
        Question::WhoHas(_) if from.is_unspecified() => None,
        Question::WhoHas(target) => {
            let home = residents.who_has(IpAddr::V6(target)).filter(|home| home.link != link)?;
            Some(advertisement(target, home.mac))
        }
        Question::Routers => Some(router_advertisement(residents.behind(link)?.ipv6?)),
    }
}

/// Solicited, and to be believed over what was known.
fn advertisement(target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(target.octets());
    message.extend(link_layer(2, mac));
    message
}

/// As the VPC's router has it: addresses come by DHCPv6, the subnet is on the link, and this is a default router.
fn router_advertisement(subnet: Ipv6Net) -> Vec<u8> {
    const LIFETIME: u16 = 1800;
    const VALID: u32 = 2_592_000;
    const PREFERRED: u32 = 604_800;
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0xc0];
    message.extend(LIFETIME.to_be_bytes());
    message.extend([0; 8]);
    message.extend(link_layer(1, GATEWAY_MAC));
    message.extend([5, 1, 0, 0]);
    message.extend(MTU.to_be_bytes());
    message.extend([3, 4, subnet.prefix_len(), 0x80]);
    message.extend(VALID.to_be_bytes());
    message.extend(PREFERRED.to_be_bytes());
    message.extend([0; 4]);
    message.extend(subnet.network().octets());
    message
}

/// Option 1: of the sender; 2: of the target.
fn link_layer(kind: u8, mac: MacAddr) -> impl Iterator<Item = u8> {
    [kind, 1].into_iter().chain(mac.0)
}

fn send(socket: RawFd, message: &[u8], to: Ipv6Addr, link: u32) -> nix::Result<()> {
    let to = if to.is_unspecified() { ALL_NODES } else { to };
    let local = to.is_unicast_link_local() || to.is_multicast();
    let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, if local { link } else { 0 }));
    let gateway = in6_addr { s6_addr: IPV6_GATEWAY.octets() };
    let info = in6_pktinfo { ipi6_addr: gateway, ipi6_ifindex: link };
    let control = [ControlMessage::Ipv6PacketInfo(&info)];
    // The kernel fills the checksum in.
    sendmsg(socket, &[IoSlice::new(message)], &control, MsgFlags::empty(), Some(&to)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::residents::Home;
    use crate::vpc::{EniId, InstanceId};

    #[test]
    fn the_vpc_answers_for_what_is_elsewhere_and_for_nothing_else() {
        let residents = Residents::default();
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let ipv6 = Some("2600:1f13:a::/64".parse().unwrap());
        let home = Home { instance: InstanceId::new("i-1"), mac, link: 3, ipv6 };
        residents.move_in(&EniId::new("eni-1"), home);
        residents.settle("2600:1f13:a:0:5::/80".parse().unwrap(), &EniId::new("eni-1"));
        let target: Ipv6Addr = "2600:1f13:a:0:5::9".parse().unwrap();
        let from: Ipv6Addr = "fe80::1234".parse().unwrap();
        let asked = |question, from, link| answer(&residents, question, from, link);
        let told = asked(Question::WhoHas(target), from, 4).unwrap();
        assert_eq!((told.len(), told[0], &told[8..24]), (32, 136, &target.octets()[..]));
        assert_eq!(told[24..], [2, 1, 2, 0, 0, 0, 0, 7]);
        assert_eq!(asked(Question::WhoHas(target), from, 3), None, "it is behind the asker's own link");
        assert_eq!(asked(Question::WhoHas(target), Ipv6Addr::UNSPECIFIED, 4), None);
        assert_eq!(asked(Question::WhoHas("2600:1f13:a::9".parse().unwrap()), from, 4), None);
        assert_eq!(asked(Question::Routers, from, 4), None, "no link of an ENI");
        let routers = asked(Question::Routers, from, 3).unwrap();
        assert_eq!((routers.len(), routers[0]), (16 + 8 + 8 + 32, 134));
    }

    #[test]
    fn only_whole_questions_are_heard() {
        let mut message = [0_u8; 24];
        message[0] = 135;
        message[23] = 1;
        assert_eq!(question(&message), Some(Question::WhoHas(Ipv6Addr::LOCALHOST)));
        assert_eq!(question(&message[..23]), None);
        message[0] = 136;
        assert_eq!(question(&message), None);
        assert_eq!(question(&[]), None);
        assert_eq!(question(&[133]), Some(Question::Routers));
    }
}
