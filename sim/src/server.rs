//! The box as network services: EC2, IMDS and the admin interface, each on a listener that the caller has bound.
//!
//! ```text
//! SharedVpc --+-- serve_ec2(listener, Callers)       one endpoint for all, or one per node
//!             +-- serve_imds(listener, instance)     one per node: IMDS knows who asks by where it is asked
//!             +-- serve_admin(listener)              for the person or test in charge
//! ```
//! Each `serve_*` runs until its future is dropped, and its connections end with it. A listener may have been bound in
//! another network namespace. All work on a current-thread runtime.

pub(crate) mod http;
mod service;
pub mod shared;
pub(crate) mod timestamp;

use std::io;
use std::net::TcpListener;

pub use service::{Ec2Service, ImdsService};
pub use shared::{ClockMode, SharedVpc};

use crate::admin::AdminFace;
use crate::ec2::Ec2Face;
use crate::imds::ImdsFace;
use crate::vpc::{Caller, InstanceId};

/// How the EC2 endpoint of one listener knows who calls. Signatures are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callers {
    /// Everyone on this listener is this instance.
    Instance(InstanceId),
    /// By access key id: a key that IMDS of the box handed out is its instance ([`access_key_id`]); any other is a
    /// caller named by the key.
    ByAccessKey,
}

impl Callers {
    /// The caller that signed with this access key id.
    pub fn resolve(&self, access_key_id: &str) -> Caller {
        match self {
            Self::Instance(instance) => Caller::instance(instance),
            Self::ByAccessKey => match instance_of_key(access_key_id) {
                Some(instance) => Caller::instance(&instance),
                None => Caller::named(access_key_id),
            },
        }
    }
}

/// What the access key ids of role credentials start with.
const ROLE_KEY: &str = "ASIA";

/// The access key id that IMDS hands out to `instance`: `ASIA`, then the digits of its id in upper case.
pub fn access_key_id(instance: &InstanceId) -> String {
    let digits = instance.as_str().strip_prefix(InstanceId::PREFIX).unwrap_or(instance.as_str());
    format!("{ROLE_KEY}{}", digits.to_ascii_uppercase())
}

fn instance_of_key(key: &str) -> Option<InstanceId> {
    let digits = key.strip_prefix(ROLE_KEY)?.to_ascii_lowercase();
    let instance = InstanceId::new(format!("{}{digits}", InstanceId::PREFIX));
    instance.is_well_formed().then_some(instance)
}

/// Serves the EC2 Query API. Errors: the listener cannot be made asynchronous.
pub async fn serve_ec2(shared: SharedVpc, listener: TcpListener, callers: Callers) -> io::Result<()> {
    http::serve(listener, Ec2Face::new(shared, callers)).await
}

/// Serves IMDSv2 of one instance. Errors: the listener cannot be made asynchronous.
pub async fn serve_imds(shared: SharedVpc, listener: TcpListener, instance: InstanceId) -> io::Result<()> {
    http::serve(listener, ImdsFace::new(shared, instance)).await
}

/// Serves the admin interface, see [`crate::admin`]. Errors: the listener cannot be made asynchronous.
pub async fn serve_admin(shared: SharedVpc, listener: TcpListener) -> io::Result<()> {
    http::serve(listener, AdminFace::new(shared)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_keys_lead_back_to_their_instance() {
        let instance = InstanceId::new("i-0123456789abcdef0");
        let key = access_key_id(&instance);
        assert_eq!(key, "ASIA0123456789ABCDEF0");
        assert_eq!(Callers::ByAccessKey.resolve(&key), Caller::instance(&instance));
        assert_eq!(Callers::ByAccessKey.resolve("AKIAEXAMPLE"), Caller::named("AKIAEXAMPLE"));
        assert_eq!(Callers::ByAccessKey.resolve("ASIAEXAMPLE"), Caller::named("ASIAEXAMPLE"));
        assert_eq!(Callers::Instance(instance.clone()).resolve("x"), Caller::instance(&instance));
    }
}
