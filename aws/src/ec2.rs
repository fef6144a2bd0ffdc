//! EC2: [`Ec2Cloud`] carries out [`CloudCall`]s, one attempt each, each with a deadline.

mod change;
mod instance_type;
mod read;
mod view;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{IdentityCache, StalledStreamProtectionConfig};
use holdfast_model::cloud::{Api, CloudAnswer, CloudCall, CloudChange, CloudRead};
use holdfast_model::limits::InstanceLimits;
use holdfast_model::refusal::CredentialsFault;
use holdfast_ports::cloud::{Cloud, CloudError, CloudFault};
use tracing::Instrument as _;

use crate::fault;
use crate::http::LazyHttp;
use crate::surroundings::Surroundings;

/// How EC2 is to be called.
#[derive(Clone, Debug)]
pub struct Ec2Settings {
    /// The node's region, from its identity: EC2 is never asked in another one.
    pub region: String,
    /// Holdfast's version, shown in the user agent as `app/holdfast-<version>` so that CloudTrail tells versions
    /// apart. Characters that a user agent may not carry are replaced.
    pub version: String,
    /// How long a whole call may take, from credentials to the last page. After that the outcome is unknown.
    pub deadline: Duration,
    /// How long one connection may take to stand, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// Where EC2 answers, as in `http://192.0.2.1:4566`. `None`: what the environment says, else the region's own.
    pub endpoint: Option<String>,
    /// The world that the calls are made in, when it is not this machine's.
    pub surroundings: Option<Surroundings>,
}

impl Ec2Settings {
    /// The usual limits: ten seconds for a call, three for a connection.
    pub fn new(region: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            version: version.into(),
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            endpoint: None,
            surroundings: None,
        }
    }
}

/// EC2 through the AWS SDK.
///
/// A call is tried once. A read that spans pages, or that names ENIs which no longer exist, takes several requests;
/// they share the call's deadline, and one that fails fails the read: a partial list is never an answer.
///
/// Credentials are kept by the SDK until it thinks that they are over. What EC2 refuses to take it would go on sending, so
/// after such a refusal a new client is made, and with it new credentials are asked for.
#[derive(Clone, Debug)]
pub struct Ec2Cloud {
    sdk: SdkConfig,
    client: Arc<RwLock<Client>>,
    deadline: Duration,
}

impl Ec2Cloud {
    /// Prepares the client. Reads the environment and the SDK's files as the crate's documentation lists, and makes
    /// no network call: credentials are fetched by the first call, and kept.
    pub async fn new(settings: Ec2Settings) -> Self {
        Self::with_parts(settings, LazyHttp::default(), None).await
    }

    pub(crate) async fn with_parts(
        settings: Ec2Settings,
        http: LazyHttp,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Self {
        let mut loader = loader(&settings);
        loader = match &settings.surroundings {
            None => loader.http_client(http),
            Some(other) => {
                loader.empty_test_environment().http_client(other.clone()).time_source(other.clone())
            }
        };
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        let sdk = loader.load().await;
        let client = Arc::new(RwLock::new(Client::new(&sdk)));
        Self { sdk, client, deadline: settings.deadline }
    }

    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the credentials.
    fn forget_credentials(&self) {
        let config =
            aws_sdk_ec2::config::Builder::from(&self.sdk).identity_cache(IdentityCache::lazy().build());
        let fresh = Client::from_conf(config.build());
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Work within the deadline of a whole call.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, CloudError>>) -> Result<T, CloudError> {
        let result = match tokio::time::timeout(self.deadline, work).await {
            Ok(result) => result,
            Err(_elapsed) => Err(fault::deadline(self.deadline)),
        };
        if let Err(CloudError { fault: CloudFault::Credentials(refused), .. }) = &result
            && matches!(refused, CredentialsFault::Expired | CredentialsFault::NotValid)
        {
            self.forget_credentials();
        }
        match &result {
            Ok(_) => tracing::debug!("answered"),
            Err(error) => {
                tracing::debug!(code = %error.code, fault = ?error.fault, message = %error.message, "failed");
            }
        }
        result
    }

    async fn carry_out(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        match call {
            CloudCall::Change { change, token } => change::perform(&self.client(), change, token).await,
            CloudCall::Read(read) => read::perform(&self.client(), read).await,
        }
    }
}

impl Cloud for Ec2Cloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let span = tracing::debug_span!("ec2", api = ?call.api(), subject = %subject(call));
        self.in_time(self.carry_out(call)).instrument(span).await
    }

    async fn limits_of(&self, instance_type: &str) -> Result<InstanceLimits, CloudError> {
        let span = tracing::debug_span!("ec2", api = ?Api::DescribeInstanceTypes, subject = instance_type);
        self.in_time(instance_type::limits_of(&self.client(), instance_type)).instrument(span).await
    }
}

/// What a call is about, for the log: the ENI, or whose ENIs.
fn subject(call: &CloudCall) -> String {
    match call {
        CloudCall::Change { change: CloudChange::CreateEni { subnet, .. }, .. } => subnet.to_string(),
        CloudCall::Change { change, .. } => change.eni().map(ToString::to_string).unwrap_or_default(),
        CloudCall::Read(CloudRead::InstanceEnis { instance } | CloudRead::AvailableEnis { instance }) => {
            instance.to_string()
        }
        CloudCall::Read(CloudRead::Subnets { subnets }) => {
            subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        CloudCall::Read(CloudRead::Enis { enis }) => {
            enis.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    }
}

/// All that does not depend on where the node lives.
fn loader(settings: &Ec2Settings) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .app_name(app_name(&settings.version))
        // The planner decides retries: a hidden one here would spend the account's budget behind its back.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(settings.connect_timeout).build())
        // Answers are small and every call has a deadline: nothing here could stall for longer.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    match &settings.endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint),
        None => loader,
    }
}

/// The SDK takes letters, digits and `!#$%&'*+-.^_`|~` here, no slash.
fn app_name(version: &str) -> AppName {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "+-._".contains(c) { c } else { '-' };
    let version: String = version.chars().take(40).map(plain).collect();
    AppName::new(format!("holdfast-{version}")).expect("only characters that an app name may have are left")
}
