//! Which subnets a zone has: all of them or an error, since one that lacks would be taken for one that nobody has tagged.

use std::collections::BTreeMap;

use holdfast_model::cloud::{CloudAnswer, CloudCall, CloudRead};
use holdfast_model::ids::{SubnetId, VpcId};
use holdfast_model::subnet::SubnetView;
use holdfast_ports::cloud::{Cloud as _, CloudError, CloudFault};

use super::cloud;
use super::server::{Reply, Request, Server};
use crate::fault;

fn page(next: Option<&str>, items: &str) -> Reply {
    let next = next.map(|token| format!("<nextToken>{token}</nextToken>")).unwrap_or_default();
    Reply::ok(format!(
        "<DescribeSubnetsResponse><subnetSet>{items}</subnetSet>{next}</DescribeSubnetsResponse>"
    ))
}

fn subnet(id: &str, more: &str) -> String {
    format!("<item><subnetId>{id}</subnetId>{more}</item>")
}

async fn read(server: &Server) -> Result<Vec<SubnetView>, CloudError> {
    let read = CloudRead::ZoneSubnets { vpc: VpcId::new("vpc-1"), zone: "us-west-2a".to_owned() };
    match cloud(server).await.perform(&CloudCall::Read(read)).await? {
        CloudAnswer::ZoneSubnets(subnets) => Ok(subnets),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn all_pages_are_read_with_tags_ranges_and_what_is_free() {
    let tags = "<tagSet><item><key>kubernetes.io/role/cni</key><value>1</value></item>\
                <item><key>cni.networking.k8s.aws/cluster/ours</key><value/></item></tagSet>";
    let first = subnet(
        "subnet-2",
        &format!(
            "<cidrBlock>10.0.0.0/20</cidrBlock><availableIpAddressCount>7</availableIpAddressCount>{tags}"
        ),
    );
    let server = Server::script([
        page(Some("t1"), &first),
        page(None, &subnet("subnet-1", "<availableIpAddressCount>-1</availableIpAddressCount>")),
    ])
    .await;
    let tags = [("kubernetes.io/role/cni", "1"), ("cni.networking.k8s.aws/cluster/ours", "")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let bare = SubnetView { id: SubnetId::new("subnet-1"), ipv4: None, free: 0, tags: BTreeMap::new() };
    let range = Some("10.0.0.0/20".parse().unwrap());
    let tagged = SubnetView { id: SubnetId::new("subnet-2"), ipv4: range, free: 7, tags };
    assert_eq!(read(&server).await.unwrap(), [bare, tagged]);
    let forms: Vec<_> = server.seen().iter().map(Request::form).collect();
    assert_eq!(forms[1]["NextToken"], "t1");
    for form in forms {
        assert_eq!(form["Action"], "DescribeSubnets");
        assert_eq!((form["Filter.1.Name"].as_str(), form["Filter.1.Value.1"].as_str()), ("vpc-id", "vpc-1"));
        assert_eq!(form["Filter.2.Name"], "availability-zone");
        assert_eq!(form["Filter.2.Value.1"], "us-west-2a");
    }
}

#[tokio::test]
async fn a_page_that_fails_or_never_ends_fails_the_read() {
    let throttled = Reply::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    let server = Server::script([page(Some("t1"), &subnet("subnet-1", "")), throttled]).await;
    let throttled = CloudFault::Throttled { retry_after: None };
    assert_eq!(read(&server).await.unwrap_err().fault, throttled);
    let server = Server::start(|_| page(Some("again"), "")).await;
    assert_eq!(read(&server).await.unwrap_err().code, fault::BAD_ANSWER);
    let server = Server::script([page(None, "<item><cidrBlock>10.0.0.0/20</cidrBlock></item>")]).await;
    assert_eq!(read(&server).await.unwrap_err().code, fault::BAD_ANSWER);
}
