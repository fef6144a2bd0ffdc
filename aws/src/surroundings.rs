//! Another world under the SDK: requests that go over no socket, and a clock that is not the machine's.
//!
//! The shipping daemon has none of this ([`Surroundings`] is left out of its settings). It is for a node that lives in a
//! simulated VPC, in virtual time: all else of this crate is then the same as in life.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use holdfast_ports::Clock;

/// Carries HTTP requests, and brings answers back.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Carries one request to the host that its address names. Dropping the future abandons the answer.
    fn exchange(&self, request: http::Request<Bytes>) -> Exchange;
}

/// A request on its way, and its answer.
pub type Exchange = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, TransportError>> + Send>>;

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection could be made: nothing was sent.
    #[error("connection refused")]
    NotConnected,
    /// The connection stood, and closed before an answer.
    #[error("connection closed before an answer")]
    Closed,
}

/// Where a node lives.
///
/// In here the process's environment and the SDK's files are not looked at: EC2 and the metadata service are at their
/// usual addresses, which the transport gives a meaning, and credentials are the instance's role's.
#[derive(Clone)]
pub struct Surroundings {
    /// What carries requests to EC2 and to the metadata service.
    pub transport: Arc<dyn Transport>,
    /// What time it is: for signatures, and for what expires.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl TimeSource for Surroundings {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.clock.now().wall.0)
    }
}

impl HttpClient for Surroundings {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let transport = Arc::clone(&self.transport);
        SharedHttpConnector::new(Carrier { transport, patience: settings.read_timeout() })
    }
}

/// The transport, as one client of the SDK's sees it.
#[derive(Debug)]
struct Carrier {
    transport: Arc<dyn Transport>,
    patience: Option<Duration>,
}

impl HttpConnector for Carrier {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (transport, patience) = (Arc::clone(&self.transport), self.patience);
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request = request.map(|body| {
                body.bytes().map(Bytes::copy_from_slice).expect("what this crate sends is whole")
            });
            let exchange = transport.exchange(request);
            let answer = match patience {
                None => exchange.await,
                Some(patience) => tokio::time::timeout(patience, exchange)
                    .await
                    .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?,
            };
            let answer = answer.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(answer.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
