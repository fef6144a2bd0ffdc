//! Bytes: how one record is written. The only module that knows the encoding.
//!
//! A value is `[format, schema]` and then the body. `format` names the encoding, so that it can be replaced
//! (bincode is no longer maintained; postcard is the exit) while old values are still told apart; `schema`
//! names the shapes, see `holdfast-migrations`.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use holdfast_migrations::step::{Codec, StepError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// bincode 2, standard configuration.
const FORMAT: u8 = 1;

/// No record is larger. The largest real one is an intent to create an ENI with fifty tags of full length
/// (EC2's limits: 128 + 256 characters each), under 40 KiB even where characters take two bytes.
pub(crate) const MOST: usize = 64 * 1024;

/// What decoding may claim, so that a length that lies allocates little. Claims count a number by its width in memory, a
/// length among them, up to sixteen bytes where the body may have one: whatever fits into a body may be claimed.
const CLAIMED: usize = 16 * MOST;

const CONFIG: Configuration<LittleEndian, Varint, Limit<CLAIMED>> =
    bincode::config::standard().with_limit::<CLAIMED>();

/// Why bytes are no record, or a record makes no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("it is cut off")]
    Short,
    #[error("format {0} is unknown")]
    Format(u8),
    #[error("it is of schema {found} in a ledger of schema {wanted}")]
    Schema { found: u8, wanted: u8 },
    #[error("{0}")]
    Body(String),
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    #[error("{0} bytes, more than {MOST}")]
    TooLarge(usize),
}

/// Puts the prefix before an encoded body.
pub(crate) fn wrap(schema: u8, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(body.len() + 2);
    value.extend([FORMAT, schema]);
    value.extend(body);
    value
}

/// Takes the prefix off; it must name this schema.
pub(crate) fn unwrap(wanted: u8, value: &[u8]) -> Result<&[u8], CodecError> {
    match value {
        [FORMAT, schema, body @ ..] if *schema == wanted => Ok(body),
        [FORMAT, found, ..] => Err(CodecError::Schema { found: *found, wanted }),
        [format, _, ..] => Err(CodecError::Format(*format)),
        _ => Err(CodecError::Short),
    }
}

/// Encodes a record's body.
pub(crate) fn encode(record: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let body =
        bincode::serde::encode_to_vec(record, CONFIG).map_err(|error| CodecError::Body(error.to_string()))?;
    if body.len() > MOST { Err(CodecError::TooLarge(body.len())) } else { Ok(body) }
}

/// Decodes a record's body: exactly one record.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    if body.len() > MOST {
        return Err(CodecError::TooLarge(body.len()));
    }
    let (record, read) = bincode::serde::decode_from_slice(body, CONFIG)
        .map_err(|error| CodecError::Body(error.to_string()))?;
    if read == body.len() { Ok(record) } else { Err(CodecError::Trailing(body.len() - read)) }
}

/// The codec as migration steps see it.
pub(crate) struct Bodies;

impl Codec for Bodies {
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StepError> {
        decode(bytes).map_err(|error| StepError::Record(error.to_string()))
    }

    fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StepError> {
        encode(record).map_err(|error| StepError::Record(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_checked() {
        let value = wrap(3, b"body");
        assert_eq!(value, [1, 3, b'b', b'o', b'd', b'y']);
        assert_eq!(unwrap(3, &value), Ok(b"body".as_slice()));
        assert_eq!(unwrap(4, &value), Err(CodecError::Schema { found: 3, wanted: 4 }));
        assert_eq!(unwrap(3, &[9, 3, 0]), Err(CodecError::Format(9)));
        assert_eq!(unwrap(3, &[1]), Err(CodecError::Short));
    }

    #[test]
    fn a_body_is_exactly_one_record() {
        let record = (7_u32, "text".to_owned());
        let body = encode(&record).unwrap();
        assert_eq!(decode::<(u32, String)>(&body), Ok(record));
        assert!(matches!(decode::<(u32, String)>(&body[..body.len() - 1]), Err(CodecError::Body(_))));
        for more in 1..3 {
            let longer = [body.clone(), vec![0; more]].concat();
            assert_eq!(decode::<(u32, String)>(&longer), Err(CodecError::Trailing(more)));
        }
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        // A string that claims 2^60 bytes.
        let mut body = vec![253];
        body.extend((1_u64 << 60).to_le_bytes());
        assert!(matches!(decode::<String>(&body), Err(CodecError::Body(_))));
    }

    /// What was written and cannot be read is lost.
    #[test]
    fn whatever_encodes_decodes() {
        fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(record: T) {
            let body = encode(&record).unwrap();
            assert_eq!(body.len(), MOST);
            assert_eq!(decode(&body), Ok(record));
        }
        // Three bytes are the length's. Numbers and lengths take fewer here than in memory.
        comes_back("x".repeat(MOST - 3));
        comes_back(vec![0_u64; MOST - 3]);
        comes_back(vec![0_u128; MOST - 3]);
        comes_back(vec![String::new(); MOST - 3]);
    }

    #[test]
    fn an_oversized_record_is_refused_both_ways() {
        let text = "x".repeat(MOST);
        assert!(matches!(encode(&text), Err(CodecError::TooLarge(_))));
        assert!(matches!(decode::<String>(&vec![0; MOST + 1]), Err(CodecError::TooLarge(_))));
        // The largest real one fits; and the longest, whose length takes three bytes.
        assert!(encode(&"x".repeat(40 * 1024)).is_ok());
        assert_eq!(encode(&"x".repeat(MOST - 3)).map(|body| body.len()), Ok(MOST));
    }
}
