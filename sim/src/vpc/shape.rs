//! Shapes that EC2 gives to plain values, for serde's `with`: an address alone in a structure, tags as a list of
//! structures, an attribute as the `value` of a structure.

use serde::{Deserialize, Serialize};

/// A module for a list of plain values, each of which is a structure with one member of this name.
macro_rules! each_in {
    ($module:ident, $name:literal) => {
        pub(super) mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            #[derive(Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            struct One<T> {
                #[serde(rename = $name)]
                it: T,
            }

            pub(in super::super) fn serialize<T: Serialize, S: Serializer>(
                all: &[T],
                out: S,
            ) -> Result<S::Ok, S::Error> {
                out.collect_seq(all.iter().map(|it| One { it }))
            }

            pub(in super::super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
                input: D,
            ) -> Result<Vec<T>, D::Error> {
                Ok(Vec::deserialize(input)?.into_iter().map(|One { it }| it).collect())
            }
        }
    };
}

each_in!(private_ip_address, "privateIpAddress");
each_in!(ipv4_prefix, "ipv4Prefix");
each_in!(ipv6_address, "ipv6Address");
each_in!(ipv6_prefix, "ipv6Prefix");

/// A tag in a list.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tag<T> {
    key: T,
    value: Option<T>,
}

/// All tags of a resource as a list; a missing value is the empty one.
pub(super) mod tags {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Tag;
    use crate::vpc::Tags;

    pub(in super::super) fn serialize<S: Serializer>(tags: &Tags, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(tags.iter().map(|(key, value)| Tag { key, value: Some(value) }))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Tags, D::Error> {
        let mut tags = Tags::new();
        for Tag { key, value } in Vec::<Tag<String>>::deserialize(input)? {
            if tags.insert(key, value.unwrap_or_default()).is_some() {
                return Err(D::Error::custom("each key may be given once"));
            }
        }
        Ok(tags)
    }
}

/// Keys of tags with or without a value, which may be empty, as a list.
pub(super) mod tag_keys {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Tag;

    type Keys = [(String, Option<String>)];

    pub(in super::super) fn serialize<S: Serializer>(keys: &Keys, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(keys.iter().map(|(key, value)| Tag { key, value: value.as_ref() }))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Vec<(String, Option<String>)>, D::Error> {
        Ok(Vec::<Tag<String>>::deserialize(input)?.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }
}

/// The new value of an attribute: a structure whose one member is `value`.
pub(super) mod attribute {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Attribute<T> {
        value: T,
    }

    #[allow(clippy::ref_option, reason = "serde hands over the field as it is")]
    pub(in super::super) fn serialize<T: Serialize, S: Serializer>(
        new: &Option<T>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        new.as_ref().map(|value| Attribute { value }).serialize(out)
    }

    pub(in super::super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::deserialize(input)?.map(|Attribute { value }| value))
    }
}
