//! How an instance is tagged.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;
use holdfast_model::ids::InstanceId;
use holdfast_ports::cloud::CloudError;

use crate::fault;

/// One `DescribeTags`. An instance has at most 50 tags, and a page 1000.
pub(super) async fn tags_of(
    client: &Client,
    instance: &InstanceId,
    keys: &[&str],
) -> Result<BTreeMap<String, String>, CloudError> {
    let filter =
        |name: &str, values: Vec<String>| Filter::builder().name(name).set_values(Some(values)).build();
    let answer = client
        .describe_tags()
        .filters(filter("resource-id", vec![instance.to_string()]))
        .filters(filter("key", keys.iter().map(ToString::to_string).collect()))
        .send()
        .await
        .map_err(fault::of_sdk)?;
    let told = answer.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
    Ok(told.filter(|(key, _)| keys.contains(&key.as_str())).collect())
}
