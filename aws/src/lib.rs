//! EC2, the instance metadata service (IMDS) and CloudWatch through the AWS SDK. The only crate that sees the SDK; none of
//! its types appear in what this crate exports.
//!
//! What it owns: the wire form of each call, what became of calls that got no answer of EC2's ([`fault`]), complete reads
//! over pages, deadlines, and an HTTP client that costs nothing until it is used.
//!
//! What it never does: retry, remember, decide. One [`holdfast_ports::cloud::Cloud::perform`] is one attempt of one
//! EC2 action (a read may take several requests, for its pages); the planner knows when to try again, and with
//! which token.
//!
//! # What the SDK reads by itself
//!
//! Everything that Holdfast chooses comes in as arguments ([`Ec2Settings`], [`ImdsSettings`], [`CloudWatchSettings`]). Where they leave a
//! choice open, the SDK looks at its usual places, so that a node set up for the Amazon VPC CNI works unchanged:
//!
//! | what | where |
//! |---|---|
//! | EC2 endpoint | `AWS_ENDPOINT_URL_EC2`, `AWS_ENDPOINT_URL`, `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT`, profile |
//! | CloudWatch endpoint | `AWS_ENDPOINT_URL_CLOUDWATCH`, and as above |
//! | IMDS endpoint | `AWS_EC2_METADATA_SERVICE_ENDPOINT`, `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE`, profile |
//! | credentials, in this order | `AWS_ACCESS_KEY_ID` and companions; profile (`AWS_PROFILE`, `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE`; no SSO, no credential process); web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`, STS at `AWS_ENDPOINT_URL_STS`); container and pod identity (`AWS_CONTAINER_CREDENTIALS_FULL_URI`, …); the instance's role from IMDS (unless `AWS_EC2_METADATA_DISABLED`) |
//! | proxy | `HTTPS_PROXY`, `NO_PROXY` and lower-case forms, for https endpoints only: IMDS must never go through one |
//! | trusted roots | the system's store, or `SSL_CERT_FILE`, `SSL_CERT_DIR`; read at the first https request |
//!
//! Start reading at [`Ec2Cloud`], then [`fault`].

mod cloudwatch;
mod ec2;
pub mod fault;
mod http;
mod imds;
mod sdk;
mod surroundings;

#[cfg(test)]
mod tests;

pub use cloudwatch::{CloudWatch, CloudWatchSettings};
pub use ec2::{Ec2Cloud, Ec2Settings};
pub use imds::{Imds, ImdsSettings};
pub use surroundings::{Exchange, Surroundings, Transport, TransportError};
