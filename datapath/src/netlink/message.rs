//! What goes over the library's connection.

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;

use bytes::BytesMut;
use netlink_packet_core::{
    DecodeError, NLM_F_MULTIPART, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlaBuffer, NlasIterator, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::proto::{NetlinkCodec, NetlinkMessageCodec};

/// Message types below this one are netlink's own (`NLMSG_MIN_TYPE`).
const FIRST_OBJECT: u16 = 16;

/// A request, or a piece of what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To the kernel.
    Request(RouteNetlinkMessage),
    /// To the kernel, of a kind that the library does not know: its type and what follows the netlink header.
    Raw(u16, Vec<u8>),
    /// From the kernel: see [`objects`].
    Piece(Vec<u8>),
}

impl Message {
    /// With its flags; the connection numbers it.
    pub(super) fn request(message: RouteNetlinkMessage, flags: u16) -> NetlinkMessage<Self> {
        with_flags(NetlinkPayload::InnerMessage(Self::Request(message)), flags)
    }

    /// With its flags; the connection numbers it.
    pub(super) fn raw(kind: u16, payload: Vec<u8>, flags: u16) -> NetlinkMessage<Self> {
        with_flags(NetlinkPayload::InnerMessage(Self::Raw(kind, payload)), flags)
    }

    /// That asks for nothing.
    pub(super) fn noop(flags: u16) -> NetlinkMessage<Self> {
        with_flags(NetlinkPayload::Noop, flags)
    }
}

fn with_flags(payload: NetlinkPayload<Message>, flags: u16) -> NetlinkMessage<Message> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    NetlinkMessage::new(header, payload)
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        match self {
            Self::Request(message) => message.message_type(),
            Self::Raw(kind, _) => *kind,
            Self::Piece(bytes) => {
                objects(bytes).find_map(Result::ok).map_or(0, |object| object.message_type())
            }
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Request(message) => NetlinkSerializable::buffer_len(message),
            Self::Raw(_, bytes) | Self::Piece(bytes) => bytes.len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Request(message) => message.serialize(buffer),
            Self::Raw(_, bytes) | Self::Piece(bytes) => buffer.copy_from_slice(bytes),
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(_: &NetlinkHeader, bytes: &[u8]) -> Result<Self, Infallible> {
        Ok(Self::Piece(bytes.to_vec()))
    }
}

/// Hands over a list as the kernel gives it, in pieces of many objects, unread. Whoever asked reads them, of complex ones
/// the attributes that are used only: an attribute that a newer kernel adds, or one of somebody else's link that the
/// library reads wrongly, then cannot make a whole list unreadable. Nor can an object be missing from a list unnoticed,
/// as where the library's own reading passes over what it does not understand. And a list of a node's rules, of which
/// each pod has two, takes half as long as message by message.
pub(super) struct Pieces;

impl NetlinkMessageCodec for Pieces {
    fn decode<T: NetlinkDeserializable + Debug>(src: &mut BytesMut) -> io::Result<Option<NetlinkMessage<T>>> {
        if src.is_empty() {
            return Ok(None);
        }
        let Some((mut header, length)) = first_object(src) else { return NetlinkCodec::decode(src) };
        let mut end = length;
        while header.flags & NLM_F_MULTIPART != 0 && end < src.len() {
            match NetlinkBuffer::new_checked(&src[end..]) {
                Ok(next) if next.message_type() < FIRST_OBJECT => break,
                Ok(next) if next.sequence_number() != header.sequence_number => break,
                Ok(next) => {
                    // Each says for itself whether the list changed meanwhile.
                    header.flags |= next.flags();
                    end += next.length() as usize;
                }
                // Garbage goes with the piece: its reader will say so.
                Err(_) => end = src.len(),
            }
        }
        let bytes = src.split_to(end);
        let message = T::deserialize(&header, &bytes).map_err(io::Error::other)?;
        Ok(Some(NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message))))
    }

    fn encode<T: NetlinkSerializable + Debug>(
        message: NetlinkMessage<T>,
        buf: &mut BytesMut,
    ) -> io::Result<()> {
        NetlinkCodec::encode(message, buf)
    }
}

fn first_object(bytes: &[u8]) -> Option<(NetlinkHeader, usize)> {
    let first = NetlinkBuffer::new_checked(bytes).ok()?;
    let header = NetlinkHeader::parse(&first).ok()?;
    (header.message_type >= FIRST_OBJECT).then(|| (header, first.length() as usize))
}

/// The messages of a piece.
pub(super) fn objects(piece: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>, DecodeError>> {
    let mut rest = piece;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let object = NetlinkBuffer::new_checked(rest);
        let length = object.as_ref().map_or(rest.len(), |object| object.length() as usize);
        rest = &rest[length..];
        Some(object)
    })
}

/// Whether an object's bytes have those of an address anywhere. If not, it cannot name it, and need not be read: of a node's
/// thousands of rules and routes a pod has three.
pub(super) fn may_name(payload: &[u8], address: IpAddr) -> bool {
    let has = |octets: &[u8]| payload.windows(octets.len()).any(|bytes| bytes == octets);
    match address {
        IpAddr::V4(address) => has(&address.octets()),
        IpAddr::V6(address) => has(&address.octets()),
    }
}

/// The attributes that follow a message's header.
pub(super) fn attributes(
    payload: &[u8],
    header: usize,
) -> impl Iterator<Item = Result<NlaBuffer<&[u8]>, DecodeError>> {
    NlasIterator::new(payload.get(header..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE};

    use super::*;

    /// `struct nlmsghdr` before a payload of eight bytes.
    fn message(kind: u16, flags: u16, sequence: u32, payload: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(24_u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend([payload; 8]);
        bytes
    }

    /// What the connection is given of a datagram: each message's type, flags, and the objects of a piece.
    fn given(datagram: &[Vec<u8>]) -> Vec<(u16, u16, Vec<Option<u8>>)> {
        let mut bytes = BytesMut::from(datagram.concat().as_slice());
        let mut given = Vec::new();
        while let Some(message) = Pieces::decode::<Message>(&mut bytes).unwrap() {
            let objects = match &message.payload {
                NetlinkPayload::InnerMessage(Message::Piece(piece)) => {
                    objects(piece).map(|object| Some(object.ok()?.payload()[0])).collect()
                }
                _ => Vec::new(),
            };
            given.push((message.header.message_type, message.header.flags, objects));
        }
        given
    }

    #[test]
    fn a_list_comes_in_pieces_and_its_end_apart() {
        let (many, changed) = (NLM_F_MULTIPART, NLM_F_MULTIPART | NLM_F_DUMP_INTR);
        let datagram = [
            message(32, many, 7, 1),
            message(32, changed, 7, 2),
            message(32, many, 7, 3),
            message(NLMSG_DONE, many, 7, 0),
        ];
        let all = vec![Some(1), Some(2), Some(3)];
        assert_eq!(
            given(&datagram),
            [(32, changed, all), (NLMSG_DONE, many, vec![])],
            "with the interruption"
        );
    }

    #[test]
    fn what_is_no_list_and_what_is_of_another_request_is_kept_apart() {
        let many = NLM_F_MULTIPART;
        assert_eq!(
            given(&[
                message(16, 0, 1, 1),
                message(17, 0, 1, 2),
                message(32, many, 7, 3),
                message(32, many, 8, 4)
            ]),
            [
                (16, 0, vec![Some(1)]),
                (17, 0, vec![Some(2)]),
                (32, many, vec![Some(3)]),
                (32, many, vec![Some(4)])
            ]
        );
    }

    #[test]
    fn garbage_in_a_list_is_not_passed_over() {
        let many = NLM_F_MULTIPART;
        for garbage in [vec![9], vec![200, 0, 0, 0], message(32, many, 7, 2)[..20].to_vec()] {
            let seen = given(&[message(32, many, 7, 1), garbage.clone()]);
            assert_eq!(seen, [(32, many, vec![Some(1), None])], "{garbage:?}");
        }
    }
}
