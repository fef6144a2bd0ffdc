//! The box as network services: EC2, IMDS and the admin interface, each on a listener that the caller has bound.
//!
//! ```text
//! SharedVpc --+-- serve_ec2(listener, Callers)       one endpoint for all, or one per node
//!             +-- serve_imds(listener, instance)     one per node: IMDS knows who asks by where it is asked
//!             +-- serve_imds_by_peer(listeners, who)  or one for all, who know each other's address
//!             +-- serve_admin(listener)              for the person or test in charge
//! ```
//! Each `serve_*` runs until its future is dropped, and its connections end with it. A listener may have been bound in
//! another network namespace. All work on a current-thread runtime. [`client`] is the other end.

pub mod client;
pub(crate) mod credentials;
pub(crate) mod http;
mod resettable;
pub mod shared;
pub(crate) mod timestamp;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub use credentials::{access_key_id, static_key_id};
pub use shared::{ClockMode, SharedVpc};

use crate::admin::AdminFace;
pub use crate::ec2::Ec2Service;
pub use crate::imds::ImdsService;
use crate::vpc::InstanceId;

/// How the EC2 endpoint of one listener knows who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callers {
    /// Everyone on this listener is this instance, whatever key was used.
    Instance(InstanceId),
    /// By access key id: role credentials that IMDS handed out are their instance's, as long as they last, and so is the
    /// instance's static key ([`static_key_id`]); any other static key (`AKIA` and 16 letters or digits) is a caller of
    /// that name; anything else is refused.
    ByAccessKey,
}

/// Serves the EC2 Query API. Errors: the listener cannot be made asynchronous.
pub async fn serve_ec2(shared: SharedVpc, listener: TcpListener, callers: Callers) -> io::Result<()> {
    http::serve(listener, Ec2Service::new(shared, callers)).await
}

/// Serves IMDSv2 of one instance. Errors: the listener cannot be made asynchronous.
pub async fn serve_imds(shared: SharedVpc, listener: TcpListener, instance: InstanceId) -> io::Result<()> {
    http::serve(listener, ImdsService::new(shared, instance)).await
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
    let faces: Mutex<BTreeMap<InstanceId, Arc<ImdsService>>> = Mutex::default();
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
        let face = faces.entry(client.instance);
        Some(Arc::clone(face.or_insert_with(|| Arc::new(ImdsService::new(shared.clone(), client.instance)))))
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
