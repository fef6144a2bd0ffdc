//! From a typed answer to EC2's XML. Element names and nesting are those of EC2's API reference, and the conformance
//! test holds every answer to botocore's model of them.

mod eni;
mod instance;
mod instance_type;
mod network;

use std::time::SystemTime;

use super::refusal::Refusal;
use super::xml::Xml;
use crate::server::timestamp;
use crate::vpc::response::Page;
use crate::vpc::{Action, ApiError, Micros, Response, Tags};

/// Namespace of every good answer. Error answers have none.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// What the writers need to know beside the answer itself.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Region, for names that contain it.
    pub(crate) region: String,
    /// Wall-clock instant of the virtual clock's zero.
    pub(crate) epoch: SystemTime,
}

impl Setting {
    fn instant(&self, at: Micros) -> String {
        timestamp::millis(self.epoch + std::time::Duration::from_micros(at.0))
    }

    /// Name of an address in the VPC's resolver.
    fn private_dns_name(&self, address: std::net::Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        let zone = match self.region.as_str() {
            "us-east-1" => "ec2.internal".to_owned(),
            region => format!("{region}.compute.internal"),
        };
        format!("ip-{a}-{b}-{c}-{d}.{zone}")
    }
}

/// The answer to `action` as XML.
pub(crate) fn response(action: Action, request_id: &str, response: &Response, setting: &Setting) -> String {
    let mut xml = Xml::document();
    xml.root(&format!("{action}Response"), NAMESPACE, |x| {
        x.text("requestId", request_id);
        body(x, response, setting);
    });
    xml.finish()
}

/// An error of the simulated service as XML.
pub(crate) fn error(request_id: &str, error: &ApiError) -> String {
    envelope(request_id, error.code.as_str(), &error.message)
}

/// An error of this face as XML.
pub(crate) fn refusal(request_id: &str, refusal: &Refusal) -> String {
    envelope(request_id, refusal.code, &refusal.message)
}

fn envelope(request_id: &str, code: &str, message: &str) -> String {
    let mut xml = Xml::document();
    xml.element("Response", |x| {
        x.element("Errors", |x| {
            x.element("Error", |x| {
                x.text("Code", code);
                x.text("Message", message);
            });
        });
        x.text("RequestID", request_id);
    });
    xml.finish()
}

fn body(x: &mut Xml, response: &Response, setting: &Setting) {
    match response {
        Response::DescribeNetworkInterfaces(page) => {
            list(x, "networkInterfaceSet", page, |x, eni| eni::network_interface(x, eni, setting));
        }
        Response::DescribeInstances(page) => {
            list(x, "reservationSet", page, |x, reservation| instance::reservation(x, reservation, setting));
        }
        Response::DescribeSubnets(page) => {
            list(x, "subnetSet", page, |x, subnet| network::subnet(x, subnet, setting));
        }
        Response::DescribeInstanceTypes(page) => {
            list(x, "instanceTypeSet", page, instance_type::instance_type);
        }
        Response::DescribeSecurityGroups(page) => {
            list(x, "securityGroupInfo", page, |x, group| network::security_group(x, group, setting));
        }
        Response::DescribeVpcs(page) => list(x, "vpcSet", page, network::vpc),
        Response::DescribeTags(page) => list(x, "tagSet", page, |x, tag| {
            x.text("resourceId", &tag.resource_id);
            x.text("resourceType", &tag.resource_type);
            x.text("key", &tag.key);
            x.text("value", &tag.value);
        }),
        Response::CreateNetworkInterface(created) => {
            x.element("networkInterface", |x| eni::network_interface(x, &created.network_interface, setting));
            x.optional("clientToken", created.client_token.as_ref());
        }
        Response::AttachNetworkInterface(attached) => {
            x.text("attachmentId", &attached.attachment_id);
            x.text("networkCardIndex", attached.network_card_index);
        }
        Response::AssignPrivateIpAddresses(assigned) => {
            x.text("networkInterfaceId", &assigned.network_interface_id);
            x.items("assignedPrivateIpAddressesSet", &assigned.addresses, |x, address| {
                x.text("privateIpAddress", address);
            });
            x.items("assignedIpv4PrefixSet", &assigned.prefixes, |x, prefix| x.text("ipv4Prefix", prefix));
        }
        Response::AssignIpv6Addresses(assigned) => {
            x.text("networkInterfaceId", &assigned.network_interface_id);
            x.texts("assignedIpv6Addresses", &assigned.addresses);
            x.texts("assignedIpv6PrefixSet", &assigned.prefixes);
        }
        Response::UnassignIpv6Addresses(unassigned) => {
            x.text("networkInterfaceId", &unassigned.network_interface_id);
            x.texts("unassignedIpv6Addresses", &unassigned.addresses);
            x.texts("unassignedIpv6PrefixSet", &unassigned.prefixes);
        }
        Response::DetachNetworkInterface(_)
        | Response::DeleteNetworkInterface(_)
        | Response::ModifyNetworkInterfaceAttribute(_)
        | Response::UnassignPrivateIpAddresses(_)
        | Response::CreateTags(_)
        | Response::DeleteTags(_) => x.text("return", true),
    }
}

fn list<T>(x: &mut Xml, wrapper: &str, page: &Page<T>, mut each: impl FnMut(&mut Xml, &T)) {
    x.items(wrapper, &page.items, |x, item| each(x, item));
    x.optional("nextToken", page.next_token.as_ref());
}

/// `<tagSet>`, as every tagged resource has it.
fn tag_set(x: &mut Xml, tags: &Tags) {
    x.items("tagSet", tags, |x, (key, value)| {
        x.text("key", key);
        x.text("value", value);
    });
}
