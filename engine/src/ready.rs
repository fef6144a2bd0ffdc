//! Whether the node can serve pods.

use holdfast_model::refusal::Refusal;

/// Would an ADD work now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    Ready,
    /// Yes, but pods lack something, and this is why: the host's network cannot be put right.
    Impaired(String),
    /// Not at once, but addresses are on their way.
    Growing,
    /// The daemon does its work; there is no address to be had, and this is why. A node that is full is in this state.
    Short(Refusal),
    /// No: the daemon cannot serve anybody, and why.
    Refusing(Refusal),
}
