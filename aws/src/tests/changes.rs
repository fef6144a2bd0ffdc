//! Each change: what is sent, word for word, and what is made of the answer.

use std::collections::BTreeMap;
use std::net::IpAddr;

use holdfast_model::block::Ask;
use holdfast_model::cloud::{CloudAnswer, CloudChange};
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId};
use holdfast_ports::cloud::{Cloud as _, CloudFault};
use ipnet::IpNet;

use super::server::{Reply, Server};
use super::{change, cloud, delete};

const DONE: &str = "<R><requestId>r-1</requestId><return>true</return></R>";

/// Carries out one change against one reply; gives the answer and the parameters that were sent.
async fn exchange(what: CloudChange, reply: &str) -> (CloudAnswer, BTreeMap<String, String>) {
    let server = Server::script([Reply::ok(reply)]).await;
    let answer = cloud(&server).await.perform(&change(what)).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "one change is one request");
    assert_eq!((&*seen[0].method, &*seen[0].path), ("POST", "/"));
    (answer, seen[0].form())
}

fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn nets<const N: usize>(nets: [&str; N]) -> Vec<IpNet> {
    nets.map(|net| net.parse().unwrap()).into()
}

fn eni() -> EniId {
    EniId::new("eni-1")
}

fn creation(ask: Ask, tags: &[(&str, &str)]) -> CloudChange {
    CloudChange::CreateEni {
        subnet: SubnetId::new("subnet-1"),
        security_groups: vec![SecurityGroupId::new("sg-1"), SecurityGroupId::new("sg-2")],
        ask,
        slot: EniSlot { card: 0, device: 1 },
        description: "aws-K8S-i-1".to_owned(),
        tags: form(tags),
    }
}

const CREATED: &str = "<CreateNetworkInterfaceResponse><networkInterface>\
    <networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId><status>pending</status>\
    <macAddress>02:00:00:00:00:01</macAddress><interfaceType>interface</interfaceType>\
    <privateIpAddress>10.0.0.10</privateIpAddress><privateIpAddressesSet>\
    <item><privateIpAddress>10.0.0.10</privateIpAddress><primary>true</primary></item>\
    <item><privateIpAddress>10.0.0.11</privateIpAddress><primary>false</primary></item>\
    </privateIpAddressesSet></networkInterface></CreateNetworkInterfaceResponse>";

#[tokio::test]
async fn a_creation_carries_its_token_its_groups_and_its_tags() {
    let (answer, sent) = exchange(creation(Ask::addresses(1), &[("a", "1"), ("b", "2 &=")]), CREATED).await;
    assert_eq!(
        sent,
        form(&[
            ("Action", "CreateNetworkInterface"),
            ("ClientToken", "holdfast-token-1"),
            ("SubnetId", "subnet-1"),
            ("Description", "aws-K8S-i-1"),
            ("SecurityGroupId.1", "sg-1"),
            ("SecurityGroupId.2", "sg-2"),
            ("SecondaryPrivateIpAddressCount", "1"),
            ("TagSpecification.1.ResourceType", "network-interface"),
            ("TagSpecification.1.Tag.1.Key", "a"),
            ("TagSpecification.1.Tag.1.Value", "1"),
            ("TagSpecification.1.Tag.2.Key", "b"),
            ("TagSpecification.1.Tag.2.Value", "2 &="),
        ])
    );
    let CloudAnswer::Created(view) = answer else { panic!("{answer:?}") };
    assert_eq!(view.id, eni());
    assert_eq!(view.mac.to_string(), "02:00:00:00:00:01");
    assert_eq!(view.primary_ipv4, Some([10, 0, 0, 10].into()));
    assert_eq!(view.secondary, [IpAddr::from([10, 0, 0, 11])]);
    assert_eq!(view.attachment, None);
}

#[tokio::test]
async fn nothing_is_sent_for_no_addresses_and_no_tags() {
    let (_, sent) = exchange(creation(Ask::addresses(0), &[]), CREATED).await;
    let odd: Vec<_> = sent.keys().filter(|name| name.contains("Count") || name.contains("Tag")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[tokio::test]
async fn an_attachment_names_card_and_device() {
    let what = CloudChange::AttachEni {
        eni: eni(),
        instance: InstanceId::new("i-1"),
        slot: EniSlot { card: 1, device: 7 },
    };
    let (answer, sent) = exchange(what, "<AttachNetworkInterfaceResponse><attachmentId>eni-attach-1</attachmentId></AttachNetworkInterfaceResponse>").await;
    assert_eq!(answer, CloudAnswer::Attached(AttachmentId::new("eni-attach-1")));
    assert_eq!(
        sent,
        form(&[
            ("Action", "AttachNetworkInterface"),
            ("NetworkInterfaceId", "eni-1"),
            ("InstanceId", "i-1"),
            ("DeviceIndex", "7"),
            ("NetworkCardIndex", "1"),
        ])
    );
}

#[tokio::test]
async fn the_small_changes_are_sent_as_ec2_wants_them() {
    let attachment = || AttachmentId::new("eni-attach-1");
    let cases = [
        (
            CloudChange::SetDeleteOnTermination { eni: eni(), attachment: attachment() },
            form(&[
                ("Action", "ModifyNetworkInterfaceAttribute"),
                ("NetworkInterfaceId", "eni-1"),
                ("Attachment.AttachmentId", "eni-attach-1"),
                ("Attachment.DeleteOnTermination", "true"),
            ]),
        ),
        (
            CloudChange::SetSecurityGroups {
                eni: eni(),
                groups: ["sg-1", "sg-2"].map(SecurityGroupId::new).into(),
            },
            form(&[
                ("Action", "ModifyNetworkInterfaceAttribute"),
                ("NetworkInterfaceId", "eni-1"),
                ("SecurityGroupId.1", "sg-1"),
                ("SecurityGroupId.2", "sg-2"),
            ]),
        ),
        (
            CloudChange::Unassign { eni: eni(), nets: nets(["10.0.0.1/32", "10.0.0.2/32"]) },
            form(&[
                ("Action", "UnassignPrivateIpAddresses"),
                ("NetworkInterfaceId", "eni-1"),
                ("PrivateIpAddress.1", "10.0.0.1"),
                ("PrivateIpAddress.2", "10.0.0.2"),
            ]),
        ),
        (
            CloudChange::Unassign { eni: eni(), nets: nets(["10.0.0.16/28", "10.0.0.32/28"]) },
            form(&[
                ("Action", "UnassignPrivateIpAddresses"),
                ("NetworkInterfaceId", "eni-1"),
                ("Ipv4Prefix.1", "10.0.0.16/28"),
                ("Ipv4Prefix.2", "10.0.0.32/28"),
            ]),
        ),
        (
            // No Force: a forced detach loses what the instance still has in flight.
            CloudChange::DetachEni { eni: eni(), attachment: attachment() },
            form(&[("Action", "DetachNetworkInterface"), ("AttachmentId", "eni-attach-1")]),
        ),
        (
            CloudChange::DeleteEni { eni: eni() },
            form(&[("Action", "DeleteNetworkInterface"), ("NetworkInterfaceId", "eni-1")]),
        ),
    ];
    for (what, want) in cases {
        let (answer, sent) = exchange(what, DONE).await;
        assert_eq!(sent, want);
        assert_eq!(answer, CloudAnswer::Done);
    }
}

#[tokio::test]
async fn an_assignment_answers_with_the_addresses_it_added() {
    let what = || CloudChange::Assign { eni: eni(), ask: Ask::addresses(2) };
    let (answer, sent) = exchange(
        what(),
        "<AssignPrivateIpAddressesResponse><networkInterfaceId>eni-1</networkInterfaceId><assignedPrivateIpAddressesSet>\
         <item><privateIpAddress>10.0.0.12</privateIpAddress></item>\
         <item><privateIpAddress>10.0.0.13</privateIpAddress></item></assignedPrivateIpAddressesSet>\
         </AssignPrivateIpAddressesResponse>",
    )
    .await;
    assert_eq!(answer, CloudAnswer::Assigned(nets(["10.0.0.12/32", "10.0.0.13/32"])));
    assert_eq!(
        sent,
        form(&[
            ("Action", "AssignPrivateIpAddresses"),
            ("NetworkInterfaceId", "eni-1"),
            ("SecondaryPrivateIpAddressCount", "2"),
        ])
    );

    let empty =
        "<AssignPrivateIpAddressesResponse><requestId>r-1</requestId></AssignPrivateIpAddressesResponse>";
    let server = Server::script([Reply::ok(empty)]).await;
    let nothing_named = cloud(&server).await.perform(&change(what())).await.unwrap_err();
    assert!(nothing_named.fault.outcome_unknown(), "{nothing_named}");
    assert_eq!(nothing_named.message, "an assignment without addresses");
}

#[tokio::test]
async fn prefixes_are_asked_for_and_answered_as_such() {
    let what = CloudChange::Assign { eni: eni(), ask: Ask::prefixes(2) };
    let given = |first: &str| {
        format!(
            "<AssignPrivateIpAddressesResponse><networkInterfaceId>eni-1</networkInterfaceId><assignedIpv4PrefixSet>\
             <item><ipv4Prefix>{first}</ipv4Prefix></item><item><ipv4Prefix>10.0.0.32/28</ipv4Prefix></item>\
             </assignedIpv4PrefixSet></AssignPrivateIpAddressesResponse>"
        )
    };
    let (answer, sent) = exchange(what.clone(), &given("10.0.0.16/28")).await;
    assert_eq!(answer, CloudAnswer::Assigned(nets(["10.0.0.16/28", "10.0.0.32/28"])));
    let action = [("Action", "AssignPrivateIpAddresses"), ("NetworkInterfaceId", "eni-1")];
    assert_eq!(sent, form(&[action[0], action[1], ("Ipv4PrefixCount", "2")]));
    // Whatever is no /28 would have more or other addresses leased than EC2 has given.
    for nonsense in ["10.0.0.16/27", "10.0.0.17/28", "10.0.0.16", "fd00::/80"] {
        let server = Server::script([Reply::ok(given(nonsense))]).await;
        let error = cloud(&server).await.perform(&change(what.clone())).await.unwrap_err();
        assert!(error.fault.outcome_unknown(), "{nonsense}: {error}");
    }

    let (_, sent) = exchange(creation(Ask::prefixes(3), &[]), CREATED).await;
    assert_eq!(sent["Ipv4PrefixCount"], "3");
    assert!(!sent.contains_key("SecondaryPrivateIpAddressCount"));
}

/// By an action of its own.
#[tokio::test]
async fn an_ipv6_prefix_is_asked_for_and_answered_as_such() {
    let what = CloudChange::Assign { eni: eni(), ask: Ask::ipv6_prefixes(1) };
    let given = |prefixes: &str| {
        format!(
            "<AssignIpv6AddressesResponse><networkInterfaceId>eni-1</networkInterfaceId>\
             <assignedIpv6PrefixSet>{prefixes}</assignedIpv6PrefixSet></AssignIpv6AddressesResponse>"
        )
    };
    let (answer, sent) = exchange(what.clone(), &given("<item>2001:db8:0:1:5::/80</item>")).await;
    assert_eq!(answer, CloudAnswer::Assigned(nets(["2001:db8:0:1:5::/80"])));
    let action = [("Action", "AssignIpv6Addresses"), ("NetworkInterfaceId", "eni-1")];
    assert_eq!(sent, form(&[action[0], action[1], ("Ipv6PrefixCount", "1")]));
    for nonsense in ["2001:db8::/64", "2001:db8::1/80", "10.0.0.16/28", "2001:db8::"] {
        let server = Server::script([Reply::ok(given(&format!("<item>{nonsense}</item>")))]).await;
        let error = cloud(&server).await.perform(&change(what.clone())).await.unwrap_err();
        assert!(error.fault.outcome_unknown(), "{nonsense}: {error}");
    }
    let server = Server::script([Reply::ok(given(""))]).await;
    let nothing_named = cloud(&server).await.perform(&change(what)).await.unwrap_err();
    assert!(nothing_named.fault.outcome_unknown(), "{nothing_named}");
}

#[tokio::test]
async fn an_ipv6_address_is_refused_before_anything_is_sent() {
    let server = Server::script([Reply::ok(DONE)]).await;
    let what = CloudChange::Unassign { eni: eni(), nets: nets(["10.0.0.1/32", "fd00::1/128"]) };
    let error = cloud(&server).await.perform(&change(what)).await.unwrap_err();
    assert_eq!(error.fault, CloudFault::Rejected);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn requests_are_signed_for_the_region_and_name_us() {
    let server = Server::script([Reply::ok(DONE)]).await;
    cloud(&server).await.perform(&delete("eni-1")).await.unwrap();
    let request = &server.seen()[0];
    let signature = request.header("authorization");
    assert!(
        signature.contains("Credential=AKIDTEST/") && signature.contains("/eu-test-1/ec2/"),
        "{signature}"
    );
    let agent = request.header("x-amz-user-agent");
    assert!(agent.contains("app/holdfast-1.2-x"), "{agent}");
}
