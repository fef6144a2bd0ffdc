//! EC2's query parameters: dotted names into a tree, and the tree into whatever serde describes.
//!
//! `Filter.1.Value.2=x` is field `Filter`, entry 1, field `Value`, entry 2. What no structure asks for was not
//! understood and is refused by its name, so that a client's parameter is never silently ignored.

mod read;

use std::collections::BTreeMap;

use read::{Parameters, Unreadable};

use super::refusal::Refusal;

/// One value, with what is nested below it.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    below: BTreeMap<String, Node>,
}

/// The parameters of one request.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    root: Node,
}

impl Fields {
    /// Reads `name=value&…` as forms are encoded. A name that comes twice is refused: EC2 does not say which wins.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(encoded) {
            fields.insert(&name, value.into_owned())?;
        }
        Ok(fields)
    }

    fn insert(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        // Deeper than anything EC2 has; bounds the recursion of reading and dropping the tree.
        const DEEPEST: usize = 12;
        if name.split('.').count() > DEEPEST || name.split('.').any(str::is_empty) {
            return Err(Refusal::unknown_parameter(name));
        }
        let mut node = &mut self.root;
        for part in name.split('.') {
            node = node.below.entry(part.to_owned()).or_default();
        }
        if node.value.replace(value).is_some() {
            return Err(Refusal::malformed_query(&format!("The parameter {name} is given more than once")));
        }
        Ok(())
    }

    /// Takes the one parameter of this name, if it is given.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let node = self.root.below.get_mut(name)?;
        let value = node.value.take();
        if node.below.is_empty() {
            self.root.below.remove(name);
        }
        value
    }

    /// The one parameter of this name, which must be there and not be empty; it is taken.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        let value = self.text(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Refusal::missing_parameter(name))
    }

    /// The one boolean of this name, false if it is not given; it is taken.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        let Some(text) = self.text(name) else { return Ok(false) };
        read::boolean(&text)
            .ok_or_else(|| Refusal::invalid_value(Some(&text), name, &format!("expected {}", read::BOOLEAN)))
    }

    /// Reads all that is left, by a function that knows as what.
    pub(crate) fn read<T>(
        self,
        read: impl FnOnce(Parameters) -> Result<T, Unreadable>,
    ) -> Result<T, Refusal> {
        Ok(read(Parameters::of(self.root))?)
    }
}

/// Dotted name of the first value below a node.
fn first_below(node: &Node) -> Option<String> {
    let (name, node) = node.below.iter().next()?;
    match first_below(node) {
        Some(below) if node.value.is_none() => Some(format!("{name}.{below}")),
        _ => Some(name.clone()),
    }
}
