//! An answer that goes on: one line after the other, each within its time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;

use super::fault;
use crate::asked::Asked;
use crate::deadline::within;
use crate::fault::{ApiFault, Cause};

/// The largest object that a store takes, written at length.
const LONGEST_LINE: usize = 16 << 20;
/// What is kept for lines to come once a long one was handed over.
const KEPT: usize = 64 << 10;

/// The lines of an answer.
pub struct Lines {
    asked: Asked,
    body: Body,
    read: BytesMut,
    /// How much of `read` was looked through and has no line's end.
    looked: usize,
    silence: Duration,
}

impl Lines {
    pub(super) fn new(asked: Asked, body: Body, silence: Duration) -> Self {
        Self { asked, body, read: BytesMut::new(), looked: 0, silence }
    }

    /// What was asked for.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The next whole line, or nothing when the answer has ended. A piece of a line at its end is no line.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiFault> {
        loop {
            if let Some(end) = self.read[self.looked..].iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(self.looked + end + 1).freeze();
                self.looked = 0;
                return Ok(Some(line));
            }
            self.looked = self.read.len();
            if self.looked > LONGEST_LINE {
                let words = format!("a line of more than {LONGEST_LINE} bytes");
                return Err(fault(&self.asked, Cause::Malformed(words)));
            }
            if self.read.is_empty() && self.read.capacity() > KEPT {
                self.read = BytesMut::new();
            }
            match within(self.silence, self.body.frame()).await {
                Err(cause) => return Err(fault(&self.asked, cause)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(fault(&self.asked, Cause::Broken(holdfast_model::chain(&error))));
                }
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
            }
        }
    }
}
