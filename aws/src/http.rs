//! The HTTP client under the SDK: rustls with ring, and nothing made before it is needed.
//!
//! The SDK's own client loads the system's root certificates when a client is *constructed*, although IMDS, and
//! often EC2's endpoint (a private proxy, a simulator), speak plain http. Kept in memory for the life of a daemon
//! that is to stay small, that is a price for nothing. Here the choice falls per request, by the scheme.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Connections kept open to one host between calls. The engine makes few calls at once.
const IDLE_CONNECTIONS: usize = 2;
/// How long an idle connection is kept: long enough for the steps of one pool change, short enough that a node at
/// rest holds none.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// An HTTP client that makes its connectors at the first request that needs them. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct LazyHttp {
    connectors: Arc<Mutex<HashMap<Kind, SharedHttpConnector>>>,
}

/// What tells one connector from another: the SDK asks for different limits for EC2, STS and IMDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    tls: bool,
    connect_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
}

impl LazyHttp {
    fn connector(&self, tls: bool, settings: &HttpConnectorSettings) -> SharedHttpConnector {
        let kind =
            Kind { tls, connect_timeout: settings.connect_timeout(), read_timeout: settings.read_timeout() };
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        connectors.entry(kind).or_insert_with(|| SharedHttpConnector::new(build(tls, settings))).clone()
    }

    /// Whether a request has needed TLS so far.
    #[cfg(test)]
    pub(crate) fn has_loaded_tls(&self) -> bool {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner).keys().any(|kind| kind.tls)
    }
}

fn build(tls: bool, settings: &HttpConnectorSettings) -> Connector {
    let builder = Connector::builder()
        .connector_settings(settings.clone())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_TIME);
    if tls {
        builder.proxy_config(ProxyConfig::from_env()).tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    } else {
        builder.build_http()
    }
}

impl HttpClient for LazyHttp {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(ByScheme { client: self.clone(), settings: settings.clone() })
    }
    // `validate_base_client_config` stays the empty default: overriding it is where the SDK's client loads TLS.
}

/// One request's view of the client: picks the connector once the request's address is known.
#[derive(Debug)]
struct ByScheme {
    client: LazyHttp,
    settings: HttpConnectorSettings,
}

impl HttpConnector for ByScheme {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let tls = !request.uri().starts_with("http://");
        self.client.connector(tls, &self.settings).call(request)
    }
}
