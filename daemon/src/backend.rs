//! Who answers the plugin and the operator.

use holdfast_engine::EngineHandle;

/// Who answers.
#[derive(Clone)]
pub(crate) enum Backend {
    /// Nobody yet, and why.
    Refusing(String),
    /// The engine.
    Engine(EngineHandle),
}
