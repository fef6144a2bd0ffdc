//! What the messages of a list amount to.

use netlink_packet_core::{DecodeError, NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload};
use nix::errno::Errno;

use super::error::NetlinkError;
use super::failure::Failure;
use super::message::{Message, objects};

/// A list of which nothing is missing, as far as the kernel tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole<T> {
    pub(super) list: Vec<T>,
    /// In how many pieces it came.
    pub(super) pieces: usize,
}

/// A list that is being read.
pub(super) struct Listing<'a, T, D> {
    decode: &'a D,
    whole: Whole<T>,
    interrupted: bool,
    unreadable: Option<DecodeError>,
    failure: Option<Failure>,
}

impl<'a, T, D: Fn(u16, &[u8]) -> Result<Option<T>, DecodeError>> Listing<'a, T, D> {
    pub(super) fn new(decode: &'a D) -> Self {
        let whole = Whole { list: Vec::new(), pieces: 0 };
        Self { decode, whole, interrupted: false, unreadable: None, failure: None }
    }

    pub(super) fn hear(&mut self, message: NetlinkMessage<Message>) {
        let flags = message.header.flags;
        self.interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(Message::Piece(piece)) => {
                self.whole.pieces += 1;
                for object in objects(&piece) {
                    match object.and_then(|object| (self.decode)(object.message_type(), object.payload())) {
                        Ok(object) => self.whole.list.extend(object),
                        Err(error) => self.unreadable = Some(error),
                    }
                }
            }
            NetlinkPayload::Done(done) => self.failure = Failure::of_list(&done, flags),
            NetlinkPayload::Error(error) => self.failure = Failure::of_request(&error, flags),
            _ => {}
        }
    }

    /// `None`: it changed while it was read.
    pub(super) fn outcome(self, what: &str) -> Result<Option<Whole<T>>, NetlinkError> {
        Ok(self.ended(what)?.ok())
    }

    /// `Err` with what came: it changed while it was read, so that something may be missing.
    pub(super) fn ended(self, what: &str) -> Result<Result<Whole<T>, Vec<T>>, NetlinkError> {
        match (self.failure, self.unreadable) {
            (Some(Failure(Errno::EINTR | Errno::EAGAIN | Errno::EBUSY, _)), _) => Ok(Err(self.whole.list)),
            (Some(failure), _) => Err(failure.of(what.to_owned())),
            _ if self.interrupted => Ok(Err(self.whole.list)),
            (None, Some(error)) => Err(NetlinkError::malformed(what.to_owned(), &error)),
            (None, None) => Ok(Ok(self.whole)),
        }
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DoneMessage, ErrorMessage, NLM_F_MULTIPART, NetlinkHeader};

    use super::*;

    type Payload = NetlinkPayload<Message>;

    /// A piece of one object with a byte, which is the object; 0 cannot be read.
    fn piece(byte: u8) -> Payload {
        let mut bytes = Vec::from(20_u32.to_ne_bytes());
        bytes.resize(16, 1);
        bytes.extend([byte, 0, 0, 0]);
        NetlinkPayload::InnerMessage(Message::Piece(bytes))
    }

    fn done(code: i32) -> Payload {
        let mut done = DoneMessage::default();
        done.code = code;
        NetlinkPayload::Done(done)
    }

    fn ended(messages: Vec<(u16, Payload)>) -> Result<Result<Whole<u8>, Vec<u8>>, NetlinkError> {
        let decode = |_, payload: &[u8]| match payload[0] {
            0 => Err("no object".into()),
            byte => Ok(Some(byte)),
        };
        let mut listing = Listing::new(&decode);
        for (flags, payload) in messages {
            let mut header = NetlinkHeader::default();
            header.flags = flags;
            listing.hear(NetlinkMessage::new(header, payload));
        }
        listing.ended("list")
    }

    fn read(messages: Vec<(u16, Payload)>) -> Result<Option<Whole<u8>>, NetlinkError> {
        Ok(ended(messages)?.ok())
    }

    #[test]
    fn a_list_is_whole_when_its_end_says_well() {
        let many = NLM_F_MULTIPART;
        let whole = read(vec![(many, piece(1)), (many, piece(2)), (many, done(0))]);
        assert_eq!(whole, Ok(Some(Whole { list: vec![1, 2], pieces: 2 })));
    }

    #[test]
    fn a_list_that_changed_while_it_was_read_is_none() {
        let (many, changed) = (NLM_F_MULTIPART, NLM_F_MULTIPART | NLM_F_DUMP_INTR);
        let cases = [
            vec![(changed, piece(1)), (many, done(0))],
            vec![(many, piece(1)), (changed, done(0))],
            vec![(changed, piece(0)), (many, done(0))],
            vec![(many, piece(1)), (many, done(-(Errno::EINTR as i32)))],
        ];
        for messages in cases {
            assert_eq!(read(messages.clone()), Ok(None), "{messages:?}");
        }
        assert_eq!(ended(vec![(many, piece(1)), (changed, done(0))]), Ok(Err(vec![1])), "what came is there");
    }

    #[test]
    fn a_list_that_fails_or_cannot_be_read_is_an_error() {
        let many = NLM_F_MULTIPART;
        let failed = read(vec![(many, piece(1)), (many, done(-(Errno::ENOENT as i32)))]).unwrap_err();
        assert!(failed.is_absent(), "{failed}");
        let mut error = ErrorMessage::default();
        error.code = std::num::NonZeroI32::new(-(Errno::EPERM as i32));
        let refused = read(vec![(0, NetlinkPayload::Error(error))]).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::EPERM));
        let unreadable = read(vec![(many, piece(1)), (many, piece(0)), (many, done(0))]).unwrap_err();
        assert_eq!(unreadable.to_string(), "list: malformed answer: no object");
    }
}
