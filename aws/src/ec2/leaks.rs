//! What ended instances of the cluster have left behind.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::InstanceStateName;
use holdfast_model::cloud::{CloudAnswer, TAG_CLUSTER, TAG_INSTANCE};
use holdfast_model::ids::InstanceId;
use holdfast_model::leak::LeakCall;
use holdfast_ports::cloud::CloudError;

use super::read::{MAX_PAGES, PAGE, all_pages, filter};
use crate::fault::{self, bad_answer};

/// What the descriptions of ENIs begin with that are made for nodes.
const DESCRIBED: &str = "aws-K8S-*";

/// Carries out one of these calls.
pub(super) async fn perform(client: &Client, call: &LeakCall) -> Result<CloudAnswer, CloudError> {
    match call {
        LeakCall::List { vpc, cluster } => {
            let call = client
                .describe_network_interfaces()
                .filters(filter("status", "available"))
                .filters(filter("vpc-id", vpc.as_str()))
                .filters(filter("tag-key", TAG_INSTANCE))
                .filters(filter(&format!("tag:{TAG_CLUSTER}"), cluster))
                .filters(filter("description", DESCRIBED))
                .max_results(PAGE);
            Ok(CloudAnswer::Enis(all_pages(call).await?.into_values().collect()))
        }
        LeakCall::Instances { instances } => there_are(client, instances).await.map(CloudAnswer::Instances),
        LeakCall::Delete { eni } => {
            let call = client.delete_network_interface().network_interface_id(eni.as_str());
            call.send().await.map(|_| CloudAnswer::Done).map_err(fault::of_sdk)
        }
    }
}

/// Asked for by a filter, so that one that is forgotten does not spoil the answer for the others.
async fn there_are(
    client: &Client,
    instances: &BTreeSet<InstanceId>,
) -> Result<BTreeSet<InstanceId>, CloudError> {
    let mut wanted = aws_sdk_ec2::types::Filter::builder().name("instance-id");
    for instance in instances {
        wanted = wanted.values(instance.as_str());
    }
    let call = client.describe_instances().filters(wanted.build()).max_results(PAGE);
    let (mut there, mut next) = (BTreeSet::new(), None);
    for _ in 0..MAX_PAGES {
        let page = call.clone().set_next_token(next.take()).send().await.map_err(fault::of_sdk)?;
        for shown in page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances) {
            let ended = shown
                .state()
                .and_then(|state| state.name())
                .is_some_and(|name| *name == InstanceStateName::Terminated);
            if let Some(id) = shown.instance_id().filter(|_| !ended) {
                there.insert(InstanceId::new(id));
            }
        }
        match page.next_token().filter(|token| !token.is_empty()) {
            None => return Ok(there),
            Some(token) => next = Some(token.to_owned()),
        }
    }
    Err(bad_answer(format!("more than {MAX_PAGES} pages")))
}
