//! The box as network services: EC2, IMDS and the admin interface, each on a listener that the caller has bound.
//!
//! ```text
//! SharedVpc --+-- serve_ec2(listener, Callers)       one endpoint for all, or one per node
//!             +-- serve_imds(listener, instance)     one per node: IMDS knows who asks by where it is asked
//!             +-- serve_imds_by_peer(listeners, who)  or one for all, who know each other's address
//!             +-- serve_admin(listener)              for the person or test in charge
//! ```
//! Each `serve_*` runs until its future is dropped, and its connections end with it. A listener may have been bound in
//! another network namespace. All work on a current-thread runtime.

pub(crate) mod http;
pub mod shared;
pub(crate) mod timestamp;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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
    /// By access key id: a key that IMDS of the box handed out is its instance ([`access_key_id`]), and so is the
    /// instance's static one ([`static_key_id`]); any other is a caller named by the key.
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

/// What the access key ids of role credentials start with, and those that last.
const ROLE_KEY: &str = "ASIA";
const STATIC_KEY: &str = "AKIA";

/// The access key id that IMDS hands out to `instance`: `ASIA`, then the digits of its id in upper case.
pub fn access_key_id(instance: &InstanceId) -> String {
    key_of(ROLE_KEY, instance)
}

/// An access key id for clients of `instance` that cannot ask IMDS: it needs no session token and never expires.
pub fn static_key_id(instance: &InstanceId) -> String {
    key_of(STATIC_KEY, instance)
}

fn key_of(kind: &str, instance: &InstanceId) -> String {
    let digits = instance.as_str().strip_prefix(InstanceId::PREFIX).unwrap_or(instance.as_str());
    format!("{kind}{}", digits.to_ascii_uppercase())
}

fn instance_of_key(key: &str) -> Option<InstanceId> {
    let digits = key.strip_prefix(ROLE_KEY).or_else(|| key.strip_prefix(STATIC_KEY))?.to_ascii_lowercase();
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

/// Who asks for metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImdsClient {
    /// Whose metadata it gets.
    pub instance: InstanceId,
    /// Through how many hops an answer gets: with 1 none beyond the instance itself, with 2 also its containers.
    pub hop_limit: u8,
}

/// Serves IMDSv2 of many instances on one set of listeners. `who` tells by the address of a client whose metadata it
/// gets; a client that it does not know is hung up on. Errors: a listener cannot be made asynchronous.
pub async fn serve_imds_by_peer(
    shared: SharedVpc,
    listeners: Vec<TcpListener>,
    who: impl Fn(IpAddr) -> Option<ImdsClient> + Send + Sync + 'static,
) -> io::Result<()> {
    // Kept: sessions outlive connections, and are good on every listener.
    let faces: Mutex<BTreeMap<InstanceId, Arc<ImdsFace>>> = Mutex::default();
    let choose = Arc::new(move |stream: &TcpStream, peer: SocketAddr| {
        let client = who(peer.ip())?;
        let hops = i32::from(client.hop_limit);
        let limited = if peer.ip().to_canonical().is_ipv4() {
            setsockopt(stream, sockopt::Ipv4Ttl, &hops)
        } else {
            setsockopt(stream, sockopt::Ipv6Ttl, &hops)
        };
        if let Err(error) = limited {
            tracing::warn!(%error, %peer, "the hop limit is not kept");
        }
        let mut faces = faces.lock().unwrap_or_else(PoisonError::into_inner);
        let face = faces.entry(client.instance.clone());
        Some(Arc::clone(face.or_insert_with(|| Arc::new(ImdsFace::new(shared.clone(), client.instance)))))
    });
    let mut served = JoinSet::new();
    for listener in listeners {
        let choose = Arc::clone(&choose);
        served.spawn(http::serve_by_peer(listener, move |stream, peer| choose(stream, peer)));
    }
    while let Some(ended) = served.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    Ok(())
}

/// Serves the admin interface, see [`crate::admin`]. Errors: the listener cannot be made asynchronous.
pub async fn serve_admin(shared: SharedVpc, listener: TcpListener) -> io::Result<()> {
    http::serve(listener, AdminFace::new(shared)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_their_instance() {
        let instance = InstanceId::new("i-0123456789abcdef0");
        let key = access_key_id(&instance);
        assert_eq!(key, "ASIA0123456789ABCDEF0");
        assert_eq!(Callers::ByAccessKey.resolve(&key), Caller::instance(&instance));
        assert_eq!(Callers::ByAccessKey.resolve(&static_key_id(&instance)), Caller::instance(&instance));
        assert_eq!(Callers::ByAccessKey.resolve("AKIAEXAMPLE"), Caller::named("AKIAEXAMPLE"));
        assert_eq!(Callers::ByAccessKey.resolve("ASIAEXAMPLE"), Caller::named("ASIAEXAMPLE"));
        assert_eq!(Callers::Instance(instance.clone()).resolve("x"), Caller::instance(&instance));
    }
}
