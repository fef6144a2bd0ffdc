//! The tree of parameters as serde's source.
//!
//! | a type asks for | it is |
//! |---|---|
//! | a structure | the names below, each of which it must know, without its capital |
//! | a list | `Name.1`, `Name.2`, … in the order of their numbers, gaps allowed; none for a lone `Name=`, as SDKs send it |
//! | an option | none for a parameter that is not there or empty |
//! | a number, a boolean, a text | the value, in which numbers may have blanks around and booleans capitals |
//!
//! An empty value is a value in lists and for the name `Value` only, where it is that of a tag or of an attribute.

use std::collections::btree_map::{self, BTreeMap};
use std::fmt;

use serde::de::{self, DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::{Node, first_below};
use crate::ec2::refusal::Refusal;

/// Why parameters are not what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Dotted name of the parameter, from where the error is told; empty for what is read itself.
    name: String,
    why: Why,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    Missing,
    Unknown,
    Bad {
        /// Where it is one value that is bad.
        value: Option<String>,
        words: String,
    },
}

impl Unreadable {
    fn new(name: impl Into<String>, why: Why) -> Self {
        Self { name: name.into(), why }
    }

    /// The same error, told from one level above.
    fn inside(mut self, parent: &str) -> Self {
        self.name = match self.name.as_str() {
            "" => parent.to_owned(),
            name => format!("{parent}.{name}"),
        };
        self
    }
}

impl From<Unreadable> for Refusal {
    fn from(Unreadable { name, why }: Unreadable) -> Self {
        match why {
            Why::Missing => Self::missing_parameter(&name),
            Why::Unknown => Self::unknown_parameter(&name),
            Why::Bad { value, words } => Self::invalid_value(value.as_deref(), &name, &words),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.why)
    }
}

impl std::error::Error for Unreadable {}

impl de::Error for Unreadable {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::new("", Why::Bad { value: None, words: words.to_string() })
    }

    fn missing_field(member: &'static str) -> Self {
        Self::new(capitalised(member), Why::Missing)
    }

    fn unknown_field(_member: &str, _known: &'static [&'static str]) -> Self {
        // Its name is known where it was read.
        Self::new("", Why::Unknown)
    }
}

/// A node of the tree with its own name; the request itself has none.
pub(crate) struct Parameters {
    name: String,
    node: Node,
}

impl Parameters {
    /// All parameters of a request.
    pub(super) fn of(root: Node) -> Self {
        Self { name: String::new(), node: root }
    }

    /// The text of a node that has nothing below.
    fn text(self) -> Result<String, Unreadable> {
        if let Some(below) = first_below(&self.node) {
            return Err(Unreadable::new(below, Why::Unknown));
        }
        let may_be_empty = self.name == "Value" || is_number(&self.name);
        let value = self.node.value.filter(|value| may_be_empty || !value.is_empty());
        value.ok_or(Unreadable::new("", Why::Missing))
    }

    /// The text as something that it must say, in words that go behind "Expected".
    fn parsed<T>(self, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Unreadable> {
        let text = self.text()?;
        let bad = || Why::Bad { value: Some(text.clone()), words: format!("expected {expected}") };
        parse(text.trim()).ok_or_else(|| Unreadable::new("", bad()))
    }
}

/// What a boolean may say.
pub(super) const BOOLEAN: &str = "true or false";

/// A boolean; EC2 takes both cases.
pub(super) fn boolean(text: &str) -> Option<bool> {
    text.to_ascii_lowercase().parse().ok()
}

/// EC2 spells a member of a structure in one way, and its parameter with a capital: `subnetId`, `SubnetId`.
fn member_of(parameter: &str) -> Option<String> {
    let first = parameter.chars().next().filter(char::is_ascii_uppercase)?;
    Some(format!("{}{}", first.to_ascii_lowercase(), &parameter[1..]))
}

fn capitalised(member: &str) -> String {
    let mut parameter = member.to_owned();
    if let Some(first) = parameter.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    parameter
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty()
}

macro_rules! numbers {
    ($($read:ident => $visit:ident),*) => {
        $(
            fn $read<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
                visitor.$visit(self.parsed("an integer", |text| text.parse().ok())?)
            }
        )*
    };
}

impl<'de> de::Deserializer<'de> for Parameters {
    type Error = Unreadable;

    numbers! {
        deserialize_i8 => visit_i8, deserialize_i16 => visit_i16, deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64, deserialize_u8 => visit_u8, deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32, deserialize_u64 => visit_u64
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_bool(self.parsed(BOOLEAN, boolean)?)
    }

    /// A text, whatever else may be asked for.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let text = self.text()?;
        let read: Result<_, Unreadable> = visitor.visit_str(&text);
        read.map_err(|mut error| {
            if let Why::Bad { value, .. } = &mut error.why {
                value.get_or_insert(text);
            }
            error
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        let empty = self.node.below.is_empty() && self.node.value.as_ref().is_none_or(String::is_empty);
        if empty && self.name != "Value" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.node.value.is_some_and(|value| !value.is_empty()) {
            return Err(Unreadable::new("", Why::Unknown));
        }
        let mut numbered = BTreeMap::new();
        for (name, node) in self.node.below {
            let number: u32 = match name.parse() {
                Ok(number) if is_number(&name) => number,
                _ => {
                    let below = first_below(&node).filter(|_| node.value.is_none());
                    let error = Unreadable::new(below.unwrap_or_default(), Why::Unknown);
                    return Err(error.inside(&name));
                }
            };
            numbered.insert(number, Parameters { name, node });
        }
        visitor.visit_seq(Entries(numbered.into_values()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        if self.node.value.is_some() {
            return Err(Unreadable::new("", Why::Unknown));
        }
        visitor.visit_map(Members { left: self.node.below.into_iter(), next: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _members: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// The entries of a list.
struct Entries(btree_map::IntoValues<u32, Parameters>);

impl<'de> SeqAccess<'de> for Entries {
    type Error = Unreadable;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unreadable> {
        let Some(entry) = self.0.next() else { return Ok(None) };
        let name = entry.name.clone();
        seed.deserialize(entry).map(Some).map_err(|error| error.inside(&name))
    }
}

/// The members of a structure.
struct Members {
    left: btree_map::IntoIter<String, Node>,
    /// Whose name was read last.
    next: Option<Parameters>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = Unreadable;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Unreadable> {
        let Some((name, node)) = self.left.next() else { return Ok(None) };
        let member = member_of(&name).ok_or(Unreadable::new("", Why::Unknown));
        let key = member.and_then(|member| seed.deserialize(member.into_deserializer()));
        let key = key.map_err(|error| {
            // Named down to the value that was sent.
            let below = first_below(&node).filter(|_| node.value.is_none());
            Unreadable::new(below.unwrap_or_default(), error.why).inside(&name)
        })?;
        self.next = Some(Parameters { name, node });
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Unreadable> {
        let next = self.next.take().expect("serde asks for a name before its value");
        let name = next.name.clone();
        seed.deserialize(next).map_err(|error| error.inside(&name))
    }
}

#[cfg(test)]
mod tests;
