//! The faces without a listener: for who carries requests to them by other means than sockets.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};

use super::http::{Handler, Reply};
use super::{Callers, SharedVpc};
use crate::ec2::Ec2Face;
use crate::imds::ImdsFace;
use crate::vpc::InstanceId;

/// The EC2 Query API.
#[derive(Debug)]
pub struct Ec2Service(Ec2Face);

impl Ec2Service {
    /// EC2 of this box.
    pub fn new(shared: SharedVpc, callers: Callers) -> Self {
        Self(Ec2Face::new(shared, callers))
    }

    /// Answers one request; `None`: the connection closes without a byte.
    pub async fn answer(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        answered(self.0.handle(request).await)
    }
}

/// IMDSv2 of one instance.
#[derive(Debug)]
pub struct ImdsService(ImdsFace);

impl ImdsService {
    /// The metadata service of this instance.
    pub fn new(shared: SharedVpc, instance: InstanceId) -> Self {
        Self(ImdsFace::new(shared, instance))
    }

    /// Answers one request; `None`: the connection closes without a byte.
    pub async fn answer(&self, request: Request<Bytes>) -> Option<Response<Full<Bytes>>> {
        answered(self.0.handle(request).await)
    }
}

fn answered(reply: Reply) -> Option<Response<Full<Bytes>>> {
    match reply {
        Reply::Answer(response) => Some(response),
        Reply::Hangup => None,
    }
}
