//! The service that figures are published to (CloudWatch), and what names them there.

use std::collections::BTreeMap;
use std::future::Future;

use holdfast_model::time::WallTime;

use crate::cloud::CloudError;

/// A figure of one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// The metric's name.
    pub name: &'static str,
    /// Counted without a unit of its own.
    pub value: f64,
}

/// Figures of one instant that share what they are about.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The namespace that they are kept in, as `Kubernetes`.
    pub namespace: &'static str,
    /// What they are about: the dimension's name, and its value.
    pub dimension: (&'static str, String),
    /// Of when they are.
    pub at: WallTime,
    /// The figures, each of another name.
    pub figures: Vec<Datum>,
}

/// Publishes figures.
pub trait Monitoring: Send + Sync + 'static {
    /// Publishes these in one request, tried once, with a deadline of its own. It is the one door here that is not idempotent:
    /// what was carried out although no answer came is counted again when it is repeated.
    fn publish(&self, data: &Data) -> impl Future<Output = Result<(), CloudError>> + Send;
}

/// Tells how the instance that this process is on is tagged.
pub trait InstanceTags: Send + Sync + 'static {
    /// Those of its tags that have one of these keys, within a deadline of its own.
    fn tags(
        &self,
        keys: &[&str],
    ) -> impl Future<Output = Result<BTreeMap<String, String>, CloudError>> + Send;
}
