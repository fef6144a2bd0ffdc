//! CloudWatch: [`CloudWatch`] publishes figures, one `PutMetricData` a request, tried once.

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use holdfast_ports::cloud::CloudError;
use holdfast_ports::monitoring::{Data, Monitoring};
use tracing::Instrument as _;

use crate::fault;
use crate::http::LazyHttp;
use crate::sdk::{Kept, loader};

/// How CloudWatch is to be called.
#[derive(Clone, Debug)]
pub struct CloudWatchSettings {
    /// The region whose CloudWatch keeps the figures.
    pub region: String,
    /// Holdfast's version, shown in the user agent.
    pub version: String,
    /// How long a whole call may take, credentials included. After that the outcome is unknown.
    pub deadline: Duration,
    /// How long one connection may take to stand, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// Where it answers. `None`: what the environment says (`AWS_ENDPOINT_URL_CLOUDWATCH`, `AWS_ENDPOINT_URL`), else the region's own.
    pub endpoint: Option<String>,
}

impl CloudWatchSettings {
    /// The usual limits: ten seconds for a call, three for a connection.
    pub fn new(region: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            version: version.into(),
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            endpoint: None,
        }
    }
}

/// CloudWatch through the AWS SDK.
#[derive(Clone, Debug)]
pub struct CloudWatch(Kept<Client>);

impl CloudWatch {
    /// Prepares the client; no network call is made.
    pub async fn new(settings: CloudWatchSettings) -> Self {
        Self::with_credentials(settings, None).await
    }

    pub(crate) async fn with_credentials(
        settings: CloudWatchSettings,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Self {
        let CloudWatchSettings { region, version, deadline, connect_timeout, endpoint } = settings;
        let mut loader =
            loader(&region, &version, connect_timeout, endpoint.as_deref()).http_client(LazyHttp::default());
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        Self(Kept::new(loader.load().await, Client::new, deadline))
    }
}

impl Monitoring for CloudWatch {
    async fn publish(&self, data: &Data) -> Result<(), CloudError> {
        let span = tracing::debug_span!("cloudwatch", figures = data.figures.len());
        let put = async {
            let at = DateTime::from_millis(i64::try_from(data.at.0).unwrap_or(i64::MAX));
            let (name, value) = &data.dimension;
            let dimension = Dimension::builder().name(*name).value(value).build();
            let figures = data.figures.iter().map(|figure| {
                MetricDatum::builder()
                    .metric_name(figure.name)
                    .dimensions(dimension.clone())
                    .timestamp(at)
                    .unit(StandardUnit::Count)
                    .value(figure.value)
                    .build()
            });
            let call = self.0.client().put_metric_data().namespace(data.namespace);
            call.set_metric_data(Some(figures.collect())).send().await.map_err(fault::of_sdk)?;
            Ok(())
        };
        self.0.in_time(put).instrument(span).await
    }
}
