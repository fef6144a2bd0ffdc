//! How long tags may be.

use super::*;
use crate::vpc::request::CreateTags;

#[test]
fn keys_end_at_127_characters_and_values_at_256() {
    let mut bed = Bed::new();
    let eni = bed.created();
    // Characters, not bytes.
    let tag = |key: usize, value: usize| CreateTags {
        resources: vec![eni.to_string()],
        tags: Tags::from([("\u{e9}".repeat(key), "\u{e9}".repeat(value))]),
    };
    for (key, value) in [(1, 0), (127, 256)] {
        bed.call(tag(key, value)).unwrap();
    }
    for (key, value) in [(0, 1), (128, 1), (1, 257)] {
        assert_eq!(bed.code(tag(key, value)), "InvalidParameterValue", "{key} {value}");
    }
}
