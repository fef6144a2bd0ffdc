//! From a typed answer to EC2's XML. The core's structures have EC2's element names; what EC2 tells beside them is in
//! [`beside`]. The conformance test holds every answer to botocore's model.

mod beside;

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::xml;
use crate::vpc::response::{Done, Page};
use crate::vpc::{Action, ApiError, Response};

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

/// The answer to `action` as XML.
pub(crate) fn response(action: Action, request_id: &str, response: &Response, setting: &Setting) -> String {
    let content = [json!({ "requestId": request_id }), content(response, setting)];
    xml::document(&format!("{action}Response"), Some(NAMESPACE), &content)
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
    let errors = json!({ "Error": { "Code": code, "Message": message } });
    xml::document("Response", None, &[json!({ "Errors": errors, "RequestID": request_id })])
}

fn content(response: &Response, setting: &Setting) -> Value {
    match response {
        Response::DescribeNetworkInterfaces(page) => list("networkInterfaceSet", page, |eni, value| {
            beside::network_interface(eni, value, setting);
        }),
        Response::DescribeInstanceStatus(page) => list("instanceStatusSet", page, |status, value| {
            beside::instance_status(status, value, setting);
        }),
        Response::DescribeInstances(page) => list("reservationSet", page, |reservation, value| {
            beside::reservation(reservation, value, setting);
        }),
        Response::DescribeSubnets(page) => {
            list("subnetSet", page, |subnet, value| beside::subnet(subnet, value, setting))
        }
        Response::DescribeInstanceTypes(page) => {
            list("instanceTypeSet", page, |it, value| *value = beside::instance_type(it))
        }
        Response::DescribeSecurityGroups(page) => {
            list("securityGroupInfo", page, |group, value| beside::security_group(group, value, setting))
        }
        Response::DescribeVpcs(page) => list("vpcSet", page, beside::vpc),
        Response::DescribeTags(page) => list("tagSet", page, |_, _| ()),
        Response::CreateNetworkInterface(created) => {
            let mut value = plain(created);
            beside::network_interface(&created.network_interface, &mut value["networkInterface"], setting);
            value
        }
        Response::AttachNetworkInterface(attached) => plain(attached),
        Response::AssignPrivateIpAddresses(assigned) => plain(assigned),
        Response::AssignIpv6Addresses(assigned) => plain(assigned),
        Response::UnassignIpv6Addresses(unassigned) => plain(unassigned),
        Response::DetachNetworkInterface(Done)
        | Response::DeleteNetworkInterface(Done)
        | Response::ModifyNetworkInterfaceAttribute(Done)
        | Response::UnassignPrivateIpAddresses(Done)
        | Response::CreateTags(Done)
        | Response::DeleteTags(Done) => json!({ "return": true }),
    }
}

/// A page whose items are in an element of this name, each with `more` than serde makes of it.
fn list<T: Serialize>(set: &str, page: &Page<T>, more: impl Fn(&T, &mut Value)) -> Value {
    let item = |item: &T| {
        let mut value = plain(item);
        more(item, &mut value);
        value
    };
    let mut answer = json!({ "nextToken": page.next_token });
    // Not by the macro: it would make all of it once more.
    answer[set] = page.items.iter().map(item).collect();
    answer
}

fn plain(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("an answer has names for keys")
}
