//! Frames on a byte stream: a 4-byte big-endian length, then that many bytes.
//!
//! No IO here: the plugin reads blocking, the daemon in an async runtime, both through [`FrameDecoder`].
//! A hostile length costs nothing: the decoder refuses a frame over its limit when it has the first four
//! bytes, and below the limit keeps only what has arrived, never what was announced.

/// The largest request the daemon takes.
///
/// One limit for all requests, since the kind is not known before the frame is read. GC needs it: it lists every
/// live attachment, some 110 bytes each, so 64 KiB would end at 600 pods. Only privileged peers get to send.
pub const MAX_REQUEST: usize = 1024 * 1024;

/// The largest answer the plugin takes. Real ones are a few hundred bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Bytes of the length in front of each frame.
pub const HEADER: usize = 4;

/// Why a stream of bytes is not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced or given length is over the limit.
    #[error("frame of {length} bytes, the limit is {limit}")]
    Oversized {
        /// Bytes announced.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The stream ended inside a frame, or before its first byte.
    #[error("stream ended after {have} bytes of a frame of {want}")]
    Truncated {
        /// Bytes that arrived, header included.
        have: usize,
        /// Bytes that the frame has, header included; [`HEADER`] while the header itself is incomplete.
        want: usize,
    },
}

/// Puts the length in front of `body`; refuses a body over `limit`.
pub fn encode(body: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
    let oversized = FrameError::Oversized { length: body.len(), limit };
    if body.len() > limit {
        return Err(oversized);
    }
    let Ok(length) = u32::try_from(body.len()) else { return Err(oversized) };
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Takes bytes as they arrive and gives whole frames.
///
/// After an error the decoder stays in error: a stream that lost its framing has no next frame.
#[derive(Debug)]
pub struct FrameDecoder {
    limit: usize,
    buffer: Vec<u8>,
}

impl FrameDecoder {
    /// A decoder that refuses frames with a body over `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, buffer: Vec::new() }
    }

    /// Adds bytes that arrived.
    ///
    /// The caller calls [`Self::next_frame`] after each push and stops at its error, so that no more than a frame
    /// and one read are ever kept.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame's body, or `None` while bytes are missing.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some(end) = self.frame_end()? else { return Ok(None) };
        if self.buffer.len() < end {
            return Ok(None);
        }
        let rest = self.buffer.split_off(end);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.drain(..HEADER);
        Ok(Some(frame))
    }

    /// How many bytes the stream must still give before a whole frame can be there. At least 1 when
    /// [`Self::next_frame`] gave `None`; a reader that takes no more than this never reads past a frame.
    pub fn missing(&self) -> usize {
        let end = self.frame_end().ok().flatten().unwrap_or(HEADER);
        end.saturating_sub(self.buffer.len())
    }

    /// The stream has ended: an error unless it ended between frames.
    ///
    /// A caller that still expects a frame treats an end between frames as [`FrameError::Truncated`] itself.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(self.truncated()) }
    }

    /// The error for a stream that ends now although a frame was expected.
    pub fn truncated(&self) -> FrameError {
        let want = self.frame_end().ok().flatten().unwrap_or(HEADER);
        FrameError::Truncated { have: self.buffer.len(), want }
    }

    /// Where the first frame ends, once its header is here.
    fn frame_end(&self) -> Result<Option<usize>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        // A length that this machine cannot count is over any limit.
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(FrameError::Oversized { length, limit: self.limit });
        }
        Ok(Some(HEADER + length))
    }
}

#[cfg(test)]
mod tests;
