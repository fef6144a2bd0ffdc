//! What the kernel says when it refuses.

use netlink_packet_core::{
    DoneMessage, Emitable, ErrorMessage, NLM_F_ACK_TLVS, NLM_F_CAPPED, NetlinkBuffer, NetlinkHeader,
    parse_string,
};
use nix::errno::Errno;

use super::error::NetlinkError;
use super::message::attributes;

/// Of an error's explanation: the words (`NLMSGERR_ATTR_MSG`).
const WORDS: u16 = 1;
/// An error number and the kernel's explanation, often empty.
pub(super) struct Failure(pub(super) Errno, pub(super) String);

impl Failure {
    /// `None` when it says "well".
    pub(super) fn of_request(error: &ErrorMessage, flags: u16) -> Option<Self> {
        let code = error.code?;
        // Of the request that it quotes, only the header is there (capped), or all.
        let quoted = match NetlinkBuffer::new_checked(&error.header) {
            _ if flags & NLM_F_CAPPED != 0 => NetlinkHeader::default().buffer_len(),
            Ok(quoted) => (quoted.length() as usize).next_multiple_of(4),
            Err(_) => error.header.len(),
        };
        Some(Self(Errno::from_raw(code.get().saturating_neg()), explanation(&error.header, quoted, flags)))
    }

    /// `None` when the list is whole.
    pub(super) fn of_list(end: &DoneMessage, flags: u16) -> Option<Self> {
        let failed = end.code != 0;
        let words = || explanation(&end.extended_ack, 0, flags);
        failed.then(|| Self(Errno::from_raw(end.code.saturating_neg()), words()))
    }

    pub(super) fn of(self, what: String) -> NetlinkError {
        let Self(errno, message) = self;
        NetlinkError::Refused { what, errno, message }
    }
}

fn explanation(bytes: &[u8], from: usize, flags: u16) -> String {
    if flags & NLM_F_ACK_TLVS == 0 {
        return String::new();
    }
    let words = attributes(bytes, from).map_while(Result::ok).find(|attribute| attribute.kind() == WORDS);
    words.and_then(|words| parse_string(words.value()).ok()).unwrap_or_default()
}
