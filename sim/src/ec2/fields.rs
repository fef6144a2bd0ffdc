//! The reader of EC2 query parameters: dotted names into a tree, and a tree that is used up as it is read.
//!
//! `Filter.1.Value.2=x` is field `Filter`, entry 1, field `Value`, entry 2. Reading takes a field out; what is left at
//! the end was not understood, and [`Fields::finish`] refuses it by name, so that a client's parameter is never
//! silently ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::refusal::Refusal;

/// One value, with what is nested below it.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    below: BTreeMap<String, Node>,
}

/// The fields of one structure (the whole request, or one nested in it), each to be read at most once.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// Dotted name of this structure with a closing dot, empty for the request itself: for messages.
    path: String,
    fields: BTreeMap<String, Node>,
}

impl Fields {
    /// Reads `name=value&…` as forms are encoded. A name that comes twice is refused: EC2 does not say which wins.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, Refusal> {
        let mut root = Self::default();
        for (name, value) in form_urlencoded::parse(encoded) {
            root.insert(&name, value.into_owned())?;
        }
        Ok(root)
    }

    fn insert(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        // Deeper than anything EC2 has; bounds the recursion of dropping the tree.
        const DEEPEST: usize = 12;
        if name.is_empty() || name.split('.').count() > DEEPEST || name.split('.').any(str::is_empty) {
            return Err(Refusal::unknown_parameter(name));
        }
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let mut node = self.fields.entry(first.to_owned()).or_default();
        for part in parts {
            node = node.below.entry(part.to_owned()).or_default();
        }
        if node.value.replace(value).is_some() {
            return Err(Refusal::malformed_query(&format!("The parameter {name} is given more than once")));
        }
        Ok(())
    }

    /// A text, if given.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let node = self.fields.get_mut(name)?;
        let value = node.value.take();
        if node.below.is_empty() {
            self.fields.remove(name);
        }
        value
    }

    /// A text that must be there and must not be empty.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        match self.text(name) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(Refusal::missing_parameter(&format!("{}{name}", self.path))),
        }
    }

    /// A number or whatever else reads from text, if given.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Refusal> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let parsed = value.trim().parse().ok();
        // The parser's own words would be Rust's, not EC2's.
        parsed
            .map(Some)
            .ok_or_else(|| Refusal::invalid_value(&value, &format!("{}{name}", self.path), expected))
    }

    /// As [`Fields::parsed`], but must be there.
    pub(crate) fn required<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<T, Refusal> {
        self.parsed(name, expected)?
            .ok_or_else(|| Refusal::missing_parameter(&format!("{}{name}", self.path)))
    }

    /// A boolean, if given. EC2 takes both cases.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.text(name) else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(Refusal::invalid_value(&value, &format!("{}{name}", self.path), "true or false")),
        }
    }

    /// The texts of `Name.1`, `Name.2`, … in the order of their numbers; gaps are allowed.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let mut texts = Vec::new();
        for (path, mut node) in self.entries(name)? {
            match node.value.take() {
                Some(value) if node.below.is_empty() => texts.push(value),
                _ => return Err(Refusal::unknown_parameter(&path)),
            }
        }
        Ok(texts)
    }

    /// As [`Fields::texts`], each read as `T`.
    pub(crate) fn all_parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Vec<T>, Refusal> {
        let path = format!("{}{name}", self.path);
        self.texts(name)?
            .into_iter()
            .map(|text| {
                text.trim().parse().ok().ok_or_else(|| Refusal::invalid_value(&text, &path, expected))
            })
            .collect()
    }

    /// The structures of `Name.1.…`, `Name.2.…` in the order of their numbers, each handed to `read` and then checked
    /// to be used up.
    pub(crate) fn structures<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Fields) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let mut all = Vec::new();
        for (path, node) in self.entries(name)? {
            all.push(Self::read_node(path, node, &mut read)?);
        }
        Ok(all)
    }

    /// The structure `Name.…`, if any of its fields is given.
    pub(crate) fn structure<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Fields) -> Result<T, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        let Some(node) = self.fields.remove(name) else { return Ok(None) };
        Self::read_node(format!("{}{name}", self.path), node, &mut read).map(Some)
    }

    /// Refuses what nobody read.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match first_left(&self.fields) {
            Some(name) => Err(Refusal::unknown_parameter(&format!("{}{name}", self.path))),
            None => Ok(()),
        }
    }

    fn read_node<T>(
        path: String,
        node: Node,
        read: &mut impl FnMut(&mut Fields) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if node.value.is_some() {
            return Err(Refusal::unknown_parameter(&path));
        }
        let mut fields = Self { path: format!("{path}."), fields: node.below };
        let value = read(&mut fields)?;
        fields.finish()?;
        Ok(value)
    }

    fn entries(&mut self, name: &str) -> Result<Vec<(String, Node)>, Refusal> {
        let Some(node) = self.fields.remove(name) else { return Ok(Vec::new()) };
        let path = format!("{}{name}", self.path);
        // The SDKs send a lone `Name=` for a list that is set and empty.
        if node.value.as_ref().is_some_and(|value| !value.is_empty()) {
            return Err(Refusal::unknown_parameter(&path));
        }
        let mut numbered = BTreeMap::new();
        for (number, below) in node.below {
            let path = format!("{path}.{number}");
            let number: u32 = number.parse().ok().ok_or_else(|| Refusal::unknown_parameter(&path))?;
            numbered.insert(number, (path, below));
        }
        Ok(numbered.into_values().collect())
    }
}

/// Dotted name of the first value in the tree.
fn first_left(fields: &BTreeMap<String, Node>) -> Option<String> {
    let (name, node) = fields.iter().next()?;
    match first_left(&node.below) {
        Some(below) if node.value.is_none() => Some(format!("{name}.{below}")),
        _ => Some(name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lists_come_in_numeric_order_and_nested_structures_are_read() {
        let mut fields =
            read("Id.10=c&Id.2=b&Id.1=a&Filter.1.Name=vpc-id&Filter.1.Value.1=x%26y+z&A.Value=true");
        assert_eq!(fields.texts("Id").unwrap(), ["a", "b", "c"]);
        let filters =
            fields.structures("Filter", |f| Ok((f.required_text("Name")?, f.texts("Value")?))).unwrap();
        assert_eq!(filters, [("vpc-id".to_owned(), vec!["x&y z".to_owned()])]);
        assert_eq!(fields.structure("A", |f| f.flag("Value")).unwrap(), Some(Some(true)));
        fields.finish().unwrap();
    }

    #[test]
    fn what_nobody_reads_is_named() {
        let mut fields = read("Known=1&Filter.1.Name=a&Filter.1.Colour=red");
        assert_eq!(fields.parsed::<u32>("Known", "an integer").unwrap(), Some(1));
        let refusal = fields.structures("Filter", |f| f.required_text("Name")).unwrap_err();
        assert_eq!(refusal.code, "UnknownParameter");
        assert!(refusal.message.contains("Filter.1.Colour"), "{}", refusal.message);
        let refusal = read("Oops.2.Deep=1").finish().unwrap_err();
        assert!(refusal.message.contains("Oops.2.Deep"), "{}", refusal.message);
    }

    #[test]
    fn bad_values_and_missing_ones_are_refused() {
        assert_eq!(
            read("N=many").parsed::<u32>("N", "an integer").unwrap_err().code,
            "InvalidParameterValue"
        );
        assert_eq!(read("B=yes").flag("B").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(read("S=").required_text("S").unwrap_err().code, "MissingParameter");
        assert_eq!(read("L.x=1").texts("L").unwrap_err().code, "UnknownParameter");
        assert_eq!(read("L.1.y=1").texts("L").unwrap_err().code, "UnknownParameter");
        assert_eq!(Fields::parse(b"A=1&A=2").unwrap_err().code, "MalformedQueryString");
        assert_eq!(Fields::parse(b"A..B=1").unwrap_err().code, "UnknownParameter");
    }

    #[test]
    fn an_empty_list_may_be_sent_as_a_lone_name() {
        let mut fields = read("Ids=");
        assert!(fields.texts("Ids").unwrap().is_empty());
        fields.finish().unwrap();
    }
}
