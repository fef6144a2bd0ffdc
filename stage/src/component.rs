//! One part of a stage: a process, where it runs, and how one knows that it is ready.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a part runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the keeper's own namespaces.
    Keeper,
    /// In the network namespace of the control plane's instance.
    Control,
    /// In all namespaces of a node.
    Node(String),
}

/// How one knows that a part is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Nobody waits for it: others do without it, or wait by themselves.
    AtOnce,
    /// A file appears.
    File(PathBuf),
    /// This succeeds, at the part's place.
    Command(Vec<String>),
}

/// A part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    /// Its name, which its log bears.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Beside what all parts have.
    pub environment: BTreeMap<String, String>,
    /// How one knows that it is ready.
    pub ready: Ready,
}

/// A file to be written before parts are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// Below the folder of who it is for.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Component {
    /// A part that nobody waits for.
    pub(crate) fn new(name: &str, place: Place, argv: Vec<String>) -> Self {
        let name = match &place {
            Place::Node(node) => format!("{node}-{name}"),
            Place::Keeper | Place::Control => name.to_owned(),
        };
        Self { name, place, argv, environment: BTreeMap::new(), ready: Ready::AtOnce }
    }

    /// The same, waited for.
    pub(crate) fn ready(self, ready: Ready) -> Self {
        Self { ready, ..self }
    }
}

/// Command-line words.
pub(crate) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
