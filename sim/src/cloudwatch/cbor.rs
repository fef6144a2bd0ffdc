//! CBOR, as much of it as Smithy's "RPC v2" protocol uses, read into JSON; and errors written.

use minicbor::data::{IanaTag, Tag, Type};
use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Value, json};

/// Deeper than any request is.
const DEEPEST: usize = 16;

/// One whole item, and nothing behind it. A timestamp becomes seconds since 1970; what JSON cannot say (`NaN`, infinities) becomes a
/// text.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut decoder = Decoder::new(bytes);
    let value = item(&mut decoder, DEEPEST).map_err(|error| error.to_string())?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err("bytes are left over".to_owned()) }
}

fn item(decoder: &mut Decoder<'_>, depth: usize) -> Result<Value, Error> {
    let deeper = depth.checked_sub(1).ok_or_else(|| Error::message("nested too deeply"))?;
    Ok(match decoder.datatype()? {
        Type::Bool => json!(decoder.bool()?),
        Type::Null => {
            decoder.null()?;
            Value::Null
        }
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => json!(decoder.u64()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => json!(decoder.i64()?),
        Type::F16 | Type::F32 | Type::F64 => {
            let value = decoder.f64()?;
            if value.is_finite() { json!(value) } else { json!(value.to_string()) }
        }
        Type::String => json!(decoder.str()?),
        Type::StringIndef => json!(decoder.str_iter()?.collect::<Result<String, _>>()?),
        Type::Tag if decoder.tag()? == Tag::from(IanaTag::Timestamp) => item(decoder, deeper)?,
        Type::Array | Type::ArrayIndef => {
            let mut list = Vec::new();
            let mut left = decoder.array()?;
            while more(decoder, &mut left)? {
                list.push(item(decoder, deeper)?);
            }
            Value::Array(list)
        }
        Type::Map | Type::MapIndef => {
            let mut map = Map::new();
            let mut left = decoder.map()?;
            while more(decoder, &mut left)? {
                let Value::String(key) = item(decoder, deeper)? else {
                    return Err(Error::message("a key that is no text"));
                };
                if map.insert(key, item(decoder, deeper)?).is_some() {
                    return Err(Error::message("a key that comes twice"));
                }
            }
            Value::Object(map)
        }
        other => return Err(Error::message(format!("a {other}"))),
    })
}

/// Whether a list or a map goes on.
fn more(decoder: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

/// An error as Smithy's protocol has it.
pub(super) fn error(shape: &str, message: &str) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    let texts = ["__type", shape, "message", message];
    let written = encoder.map(2).and_then(|map| texts.iter().try_fold(map, |map, text| map.str(text)));
    // Into memory.
    written.map(|_| ()).unwrap_or_default();
    encoder.into_writer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_write_is_read() {
        // {"a": [1, -2, 1.5, 1(1.0e9), true, null], _ "b": "x"}
        let mut encoder = Encoder::new(Vec::new());
        encoder.begin_map().unwrap().str("a").unwrap().array(6).unwrap();
        encoder.u8(1).unwrap().i8(-2).unwrap().f32(1.5).unwrap().tag(IanaTag::Timestamp).unwrap();
        encoder.f64(1.0e9).unwrap().bool(true).unwrap().null().unwrap();
        encoder.str("b").unwrap().str("x").unwrap().str("n").unwrap().f64(f64::NAN).unwrap().end().unwrap();
        let bytes = encoder.into_writer();
        assert_eq!(
            read(&bytes).unwrap(),
            json!({"a": [1, -2, 1.5, 1.0e9, true, null], "b": "x", "n": "NaN"})
        );
        for cut in 0..bytes.len() {
            read(&bytes[..cut]).unwrap_err();
        }
        read(&[&bytes[..], &[0]].concat()).unwrap_err();
    }

    #[test]
    fn nonsense_ends() {
        // Lists in lists without end; a list of 2^64 - 1; a map with a number for a key; a key twice.
        read(&[0x81; 1000]).unwrap_err();
        read(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).unwrap_err();
        read(&[0xa1, 0x01, 0x01]).unwrap_err();
        read(&[0xa2, 0x61, 0x61, 0x01, 0x61, 0x61, 0x01]).unwrap_err();
        assert_eq!(read(&error("x#Y", "words")).unwrap(), json!({"__type": "x#Y", "message": "words"}));
    }
}
