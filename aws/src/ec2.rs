//! EC2: [`Ec2Cloud`] carries out [`CloudCall`]s, one attempt each, each with a deadline.

mod change;
mod instance_type;
mod leaks;
mod read;
mod tags;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ec2::Client;
use holdfast_model::cloud::{Api, CloudAnswer, CloudCall, CloudChange, CloudRead};
use holdfast_model::ids::InstanceId;
use holdfast_model::leak::LeakCall;
use holdfast_model::limits::InstanceLimits;
use holdfast_ports::cloud::{Cloud, CloudError};
use tracing::Instrument as _;

use crate::http::LazyHttp;
use crate::sdk::{Kept, loader};
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
#[derive(Clone, Debug)]
pub struct Ec2Cloud(Kept<Client>);

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
        let endpoint = settings.endpoint.as_deref();
        let mut loader = loader(&settings.region, &settings.version, settings.connect_timeout, endpoint);
        loader = match &settings.surroundings {
            None => loader.http_client(http),
            Some(other) => {
                loader.empty_test_environment().http_client(other.clone()).time_source(other.clone())
            }
        };
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        Self(Kept::new(loader.load().await, Client::new, settings.deadline))
    }

    /// Those of an instance's tags that have one of these keys.
    pub async fn tags_of(
        &self,
        instance: &InstanceId,
        keys: &[&str],
    ) -> Result<BTreeMap<String, String>, CloudError> {
        let span = tracing::debug_span!("ec2", api = "DescribeTags", subject = %instance);
        self.0.in_time(tags::tags_of(&self.0.client(), instance, keys)).instrument(span).await
    }

    async fn carry_out(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        match call {
            CloudCall::Change { change, token } => change::perform(&self.0.client(), change, token).await,
            CloudCall::Read(read) => read::perform(&self.0.client(), read).await,
            CloudCall::Leak(call) => leaks::perform(&self.0.client(), call).await,
            CloudCall::Tag { eni, tags } => change::tag(&self.0.client(), eni, tags).await,
        }
    }
}

impl Cloud for Ec2Cloud {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        let span = tracing::debug_span!("ec2", api = ?call.api(), subject = %subject(call));
        self.0.in_time(self.carry_out(call)).instrument(span).await
    }

    async fn limits_of(&self, instance_type: &str) -> Result<InstanceLimits, CloudError> {
        let span = tracing::debug_span!("ec2", api = ?Api::DescribeInstanceTypes, subject = instance_type);
        self.0.in_time(instance_type::limits_of(&self.0.client(), instance_type)).instrument(span).await
    }
}

/// What a call is about, for the log: the ENI, or whose ENIs.
fn subject(call: &CloudCall) -> String {
    match call {
        CloudCall::Change { change: CloudChange::CreateEni { subnet, .. }, .. } => subnet.to_string(),
        CloudCall::Leak(call) => match call {
            LeakCall::List { cluster, .. } => cluster.clone(),
            LeakCall::Instances { instances } => format!("{} instances", instances.len()),
            LeakCall::Delete { eni } => eni.to_string(),
        },
        CloudCall::Tag { eni, .. } => eni.to_string(),
        CloudCall::Change { change, .. } => change.eni().map(ToString::to_string).unwrap_or_default(),
        CloudCall::Read(CloudRead::InstanceEnis { instance } | CloudRead::AvailableEnis { instance }) => {
            instance.to_string()
        }
        CloudCall::Read(CloudRead::Subnets { subnets }) => {
            subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
        CloudCall::Read(CloudRead::ZoneSubnets { vpc, zone }) => format!("{vpc} {zone}"),
        CloudCall::Read(CloudRead::Enis { enis }) => {
            enis.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        }
    }
}
