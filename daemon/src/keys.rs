//! Names of sandboxes, from the wire's to the model's.

use holdfast_model::sandbox::{SandboxKey, SandboxNames};

/// The model's key for the wire's.
pub(crate) fn key_of(key: &holdfast_wire::ids::SandboxKey) -> SandboxKey {
    SandboxKey::from(SandboxNames {
        container_id: key.container_id.to_string(),
        ifname: key.ifname.to_string(),
        network: key.network.to_string(),
    })
}
