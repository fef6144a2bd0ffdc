//! Whether the node can serve pods.

use holdfast_model::refusal::Refusal;

/// Would an ADD work now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    Ready,
    /// Yes, but something is lacking, and this is what: the host's network cannot be put right, or the pool makes do without
    /// what the settings ask for.
    Impaired(String),
    /// Not at once, but addresses are on their way.
    Growing,
    /// The daemon does its work; there is no address to be had, and this is why. A node that is full is in this state.
    Short(Refusal),
    /// No: the daemon cannot serve anybody, and why.
    Refusing(Refusal),
}
