//! A call for which the role lacks a right: which right, and for what, as EC2 tells it.
//!
//! No field of EC2's answer says it, only its prose: `User: ARN is not authorized to perform: ec2:CreateTags on resource: ARN because no
//! identity-based policy allows the ec2:CreateTags action`. The right need not be that of the call's own name: a creation with tags needs
//! another one. Older answers say none of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cloud::Api;

#[cfg(test)]
mod tests;

/// Longer than any ARN of what we use.
const LONGEST: usize = 256;

/// What is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Denial {
    /// The action as policies name it, as in `ec2:CreateTags`.
    pub action: String,
    /// The object, by its ARN where EC2 names it, else by its id; `None`: nothing in particular.
    pub object: Option<String>,
    /// Whether a policy forbids it by name, so that no allowance helps.
    pub explicit: bool,
}

impl Denial {
    /// What EC2's words say of a call about this object.
    pub fn read(api: Api, words: &str, about: Option<String>) -> Self {
        let named = after(words, "not authorized to perform: ").filter(|word| is_action(word));
        let object = after(words, "on resource: ").filter(|word| word.starts_with("arn:"));
        Self {
            action: named.map_or_else(|| format!("ec2:{api:?}"), str::to_owned),
            object: object.map(str::to_owned).or(about),
            explicit: words.contains("explicit deny"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not allowed to call {}", self.action)?;
        if let Some(object) = &self.object {
            write!(f, " on {object}")?;
        }
        f.write_str(if self.explicit {
            ": a policy denies it explicitly; change that one"
        } else {
            ": add it to the node role's policy"
        })
    }
}

/// The word that follows these.
fn after<'w>(words: &'w str, mark: &str) -> Option<&'w str> {
    let (_, rest) = words.split_once(mark)?;
    let word = rest.split_whitespace().next()?.trim_end_matches(['.', ',', ';']);
    let plain = word.chars().all(|c| c.is_ascii_graphic());
    (plain && !word.is_empty() && word.len() <= LONGEST).then_some(word)
}

fn is_action(word: &str) -> bool {
    let named = word.split_once(':');
    named.is_some_and(|(service, action)| {
        let letters = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
        letters(service) && letters(action)
    })
}
