//! What the API server keeps otherwise than it was rendered, whatever is written.
//!
//! It completes objects with defaults of its own, drops what says nothing to it, and its hooks change what they like. A list of
//! all that can never be whole. So it is learnt: a write after which the object is of the version that it was before has changed
//! nothing, and what stood in the fields that it was about is as good as they get. Without that one such field would be
//! written again and again, and be taken for restored.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::decide::Write;
use crate::ownership::Ownership;

/// What was learnt of one render.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    render: String,
    /// By managed field, what stands there.
    fields: BTreeMap<String, Option<Value>>,
    ownership: Option<Ownership>,
}

impl Kept {
    /// What is wanted is this render from now on. What was learnt of another one says nothing of it.
    pub fn of(&mut self, render: &str) {
        if self.render != render {
            *self = Self { render: render.to_owned(), ..Self::default() };
        }
    }

    /// A write changed nothing.
    pub fn learn(&mut self, write: &Write) {
        if write.drifted.is_empty() {
            self.ownership = Some(write.noted.clone());
        }
        self.fields.extend(write.drifted.clone());
    }

    /// Whether what stands in a field is what the server makes of what was rendered.
    pub(crate) fn has(&self, field: &str, stands: Option<&Value>) -> bool {
        self.fields.get(field).is_some_and(|kept| kept.as_ref() == stands)
    }

    /// Whether this is what it notes, whatever is written.
    pub(crate) fn notes(&self, noted: &Ownership) -> bool {
        self.ownership.as_ref() == Some(noted)
    }
}
