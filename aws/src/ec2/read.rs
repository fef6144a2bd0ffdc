//! The reads: complete, or an error.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::describe_network_interfaces::builders::DescribeNetworkInterfacesFluentBuilder;
use aws_sdk_ec2::types::{Filter, Subnet, Tag};
use holdfast_model::cloud::{CloudAnswer, CloudRead, EniView, TAG_INSTANCE};
use holdfast_model::ids::{EniId, SubnetId, VpcId};
use holdfast_model::subnet::{SubnetRecord, SubnetView};
use holdfast_ports::cloud::{CloudError, CloudFault};
use ipnet::Ipv4Net;

use super::view;
use crate::fault::{self, bad_answer};

/// The most that EC2 gives on one page. An instance's ENIs always fit.
pub(super) const PAGE: i32 = 1000;
/// More pages than this are taken for a server that never ends.
pub(super) const MAX_PAGES: usize = 50;

/// Carries out one read.
pub(super) async fn perform(client: &Client, read: &CloudRead) -> Result<CloudAnswer, CloudError> {
    match read {
        CloudRead::Subnets { subnets } => ranges_of(client, subnets).await.map(CloudAnswer::Subnets),
        CloudRead::ZoneSubnets { vpc, zone } => {
            zone_subnets(client, vpc, zone).await.map(CloudAnswer::ZoneSubnets)
        }
        CloudRead::InstanceEnis { .. } | CloudRead::AvailableEnis { .. } | CloudRead::Enis { .. } => {
            enis(client, read).await.map(CloudAnswer::Enis)
        }
    }
}

/// In the order of the ids; each ENI once, as the last page shows it.
async fn enis(client: &Client, read: &CloudRead) -> Result<Vec<EniView>, CloudError> {
    let found = match read {
        CloudRead::InstanceEnis { instance } => {
            let attached_here = filter("attachment.instance-id", instance.as_str());
            all_pages(client.describe_network_interfaces().filters(attached_here).max_results(PAGE)).await?
        }
        CloudRead::AvailableEnis { instance } => {
            let call = client
                .describe_network_interfaces()
                .filters(filter(&format!("tag:{TAG_INSTANCE}"), instance.as_str()))
                .filters(filter("status", "available"))
                .max_results(PAGE);
            all_pages(call).await?
        }
        CloudRead::Enis { enis } => by_id(client, enis).await?,
        CloudRead::Subnets { .. } | CloudRead::ZoneSubnets { .. } => BTreeMap::new(),
    };
    Ok(found.into_values().collect())
}

/// The IPv4 ranges. Asked for by a filter, so that one that is gone does not spoil the answer for the others.
async fn ranges_of(client: &Client, subnets: &[SubnetId]) -> Result<Vec<SubnetRecord>, CloudError> {
    let ids = subnets.iter().map(ToString::to_string).collect();
    let wanted = Filter::builder().name("subnet-id").set_values(Some(ids)).build();
    let answer = client.describe_subnets().filters(wanted).send().await.map_err(fault::of_sdk)?;
    answer
        .subnets()
        .iter()
        .map(|shown| {
            let (id, ipv4) = named(shown)?;
            Ok(SubnetRecord { id, ipv4, ipv6: None })
        })
        .collect()
}

fn named(shown: &Subnet) -> Result<(SubnetId, Option<Ipv4Net>), CloudError> {
    let id = shown.subnet_id().ok_or_else(|| bad_answer("a subnet without its id"))?;
    let range = shown.cidr_block().filter(|text| !text.is_empty());
    let ipv4 = range
        .map(|text| text.parse().map_err(|bad| bad_answer(format!("{id}: {text:?}: {bad}"))))
        .transpose()?;
    Ok((SubnetId::new(id), ipv4))
}

/// Each subnet once, as the last page shows it; all pages, or an error: one that lacks would be taken for one that nobody has
/// tagged.
async fn zone_subnets(client: &Client, vpc: &VpcId, zone: &str) -> Result<Vec<SubnetView>, CloudError> {
    let call = client
        .describe_subnets()
        .filters(filter("vpc-id", vpc.as_str()))
        .filters(filter("availability-zone", zone))
        .max_results(PAGE);
    let mut found = BTreeMap::new();
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = call.clone().set_next_token(next.clone()).send().await.map_err(fault::of_sdk)?;
        for shown in page.subnets() {
            let (id, ipv4) = named(shown)?;
            let free = shown.available_ip_address_count().unwrap_or(0);
            let tag = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
            let view = SubnetView {
                id: id.clone(),
                ipv4,
                free: u32::try_from(free).unwrap_or(0),
                tags: shown.tags().iter().filter_map(tag).collect(),
            };
            found.insert(id, view);
        }
        match page.next_token().filter(|token| !token.is_empty()) {
            None => return Ok(found.into_values().collect()),
            Some(token) if next.as_deref() == Some(token) => {
                return Err(bad_answer("a page that names itself as the next"));
            }
            Some(token) => next = Some(token.to_owned()),
        }
    }
    Err(bad_answer(format!("more than {MAX_PAGES} pages")))
}

pub(super) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// EC2 refuses a list of ids whole if one of them names nothing. Those it names are taken off and the rest asked for
/// again; each round takes off at least one, so the rounds end.
async fn by_id(client: &Client, enis: &[EniId]) -> Result<BTreeMap<EniId, EniView>, CloudError> {
    let mut wanted: BTreeSet<&str> = enis.iter().map(EniId::as_str).collect();
    // An empty list would ask for every ENI of the account.
    while !wanted.is_empty() {
        let ids = wanted.iter().map(|id| (*id).to_owned()).collect();
        // No page size here: EC2 does not take it together with ids.
        match all_pages(client.describe_network_interfaces().set_network_interface_ids(Some(ids))).await {
            Ok(found) => {
                // EC2 shows what it was asked for by id, or says what it does not know.
                return match wanted.iter().find(|id| !found.contains_key(&EniId::new(**id))) {
                    None => Ok(found),
                    Some(id) => Err(bad_answer(format!("a list of ENIs by id that lacks {id}"))),
                };
            }
            Err(error) if error.fault == CloudFault::NotFound => {
                let missing: Vec<&str> = ids_in(&error.message).filter(|id| wanted.contains(id)).collect();
                if missing.is_empty() {
                    return Err(error);
                }
                for id in missing {
                    wanted.remove(id);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(BTreeMap::new())
}

/// The words of a message that could be ids: whole words, since an old short id may begin a long one.
fn ids_in(message: &str) -> impl Iterator<Item = &str> {
    message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
}

pub(super) async fn all_pages(
    call: DescribeNetworkInterfacesFluentBuilder,
) -> Result<BTreeMap<EniId, EniView>, CloudError> {
    let mut found = BTreeMap::new();
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = call.clone().set_next_token(next.clone()).send().await.map_err(fault::of_sdk)?;
        for shown in page.network_interfaces() {
            let eni = view::eni(shown)?;
            found.insert(eni.id.clone(), eni);
        }
        match page.next_token().filter(|token| !token.is_empty()) {
            None => return Ok(found),
            Some(token) if next.as_deref() == Some(token) => {
                return Err(bad_answer("a page that names itself as the next"));
            }
            Some(token) => next = Some(token.to_owned()),
        }
    }
    Err(bad_answer(format!("more than {MAX_PAGES} pages")))
}
