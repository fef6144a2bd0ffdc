//! The box as network services: EC2, IMDS and the admin interface, each on a listener that the caller has bound.
//!
//! ```text
//! SharedVpc --+-- serve_ec2(listener, Callers)       one endpoint for all, or one per node
//!             +-- serve_imds(listener, instance)     one per node: IMDS knows who asks by where it is asked
//!             +-- serve_admin(listener)              for the person or test in charge
//! ```
//! Each `serve_*` runs until its future is dropped, and its connections end with it. A listener may have been bound in
//! another network namespace. All work on a current-thread runtime. [`client`] is the other end.

pub mod client;
pub(crate) mod credentials;
pub(crate) mod http;
pub mod shared;
pub(crate) mod timestamp;

use std::io;
use std::net::TcpListener;

pub use credentials::access_key_id;
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
    /// By access key id: role credentials that IMDS handed out are their instance's, as long as they last; a static key
    /// (`AKIA` and 16 letters or digits) is a caller of that name; anything else is refused.
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

/// Serves the admin interface, see [`crate::admin`]. Errors: the listener cannot be made asynchronous.
pub async fn serve_admin(shared: SharedVpc, listener: TcpListener) -> io::Result<()> {
    http::serve(listener, AdminFace::new(shared)).await
}
