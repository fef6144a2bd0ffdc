//! The doors between the engine and the world: what it needs done, and what it may do when that fails.
//!
//! Adapters implement these traits and know neither each other nor the engine. Every method is idempotent, it
//! may be called again after an unknown outcome, but for [`Monitoring::publish`].

pub mod clock;
pub mod cloud;
pub mod host;
pub mod metadata;
pub mod monitoring;
pub mod netns;
pub mod spawner;

pub use clock::Clock;
pub use cloud::{Cloud, CloudError, CloudFault};
pub use host::{HostFault, HostNet, Liveness};
pub use metadata::{HintAsked, Metadata, MetadataError, MetadataHint};
pub use monitoring::{Data, Datum, InstanceTags, Monitoring};
pub use netns::Netns;
pub use spawner::Spawner;
