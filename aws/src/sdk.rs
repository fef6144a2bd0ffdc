//! What the clients of all services have in common: where they are, who they say that they are, and that they try once.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region, SdkConfig};
use holdfast_model::refusal::CredentialsFault;
use holdfast_ports::cloud::{CloudError, CloudFault};

use crate::fault;

/// A service's client, kept for as long as the process lives.
///
/// Credentials are kept by the SDK until it thinks that they are over. What a service refuses to take it would go on sending, so
/// after such a refusal a new client is made, and with it new credentials are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Kept<C> {
    sdk: SdkConfig,
    make: fn(&SdkConfig) -> C,
    client: Arc<RwLock<C>>,
    deadline: Duration,
}

impl<C: Clone> Kept<C> {
    /// Makes the first one. A whole call may take until the deadline.
    pub(crate) fn new(sdk: SdkConfig, make: fn(&SdkConfig) -> C, deadline: Duration) -> Self {
        let client = Arc::new(RwLock::new(make(&sdk)));
        Self { sdk, make, client, deadline }
    }

    /// The one to call with.
    pub(crate) fn client(&self) -> C {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget_credentials(&self) {
        let fresh = self.sdk.to_builder().identity_cache(IdentityCache::lazy().build()).build();
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = (self.make)(&fresh);
    }

    /// Work within the deadline of a whole call.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
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
}

/// All that does not depend on where the process lives. `version`: Holdfast's, shown in the user agent. `endpoint`: where the service
/// answers; `None`: what the environment says, else the region's own.
pub(crate) fn loader(
    region: &str,
    version: &str,
    connect_timeout: Duration,
    endpoint: Option<&str>,
) -> ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .app_name(app_name(version))
        // Who calls decides retries: a hidden one here would spend the account's budget behind its back.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(connect_timeout).build())
        // Answers are small and every call has a deadline: nothing here could stall for longer.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    match endpoint {
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
