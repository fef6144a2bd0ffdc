//! Reads: filters, pages, ids that are gone, and EC2's picture of an ENI.

use holdfast_model::cloud::{AttachmentStatus, AttachmentView, CloudAnswer, CloudCall, CloudRead, EniView};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId};
use holdfast_model::limits::InstanceLimits;
use holdfast_ports::cloud::{Cloud as _, CloudError, CloudFault};

use super::server::{Reply, Server};
use super::{by_ids, cloud};
use crate::fault;

fn page(next: Option<&str>, enis: &[&str]) -> Reply {
    let items: String = enis.iter().map(|id| eni(id, "")).collect();
    listing(next, &items)
}

fn listing(next: Option<&str>, items: &str) -> Reply {
    let next = next.map(|token| format!("<nextToken>{token}</nextToken>")).unwrap_or_default();
    Reply::ok(format!(
        "<DescribeNetworkInterfacesResponse><networkInterfaceSet>{items}</networkInterfaceSet>{next}\
         </DescribeNetworkInterfacesResponse>"
    ))
}

fn eni(id: &str, more: &str) -> String {
    format!(
        "<item><networkInterfaceId>{id}</networkInterfaceId><subnetId>subnet-1</subnetId>\
         <macAddress>02:00:00:00:00:01</macAddress>{more}</item>"
    )
}

fn of_instance() -> CloudCall {
    CloudCall::Read(CloudRead::InstanceEnis { instance: InstanceId::new("i-1") })
}

async fn read(server: &Server, call: &CloudCall) -> Result<Vec<EniView>, CloudError> {
    match cloud(server).await.perform(call).await? {
        CloudAnswer::Enis(enis) => Ok(enis),
        other => panic!("{other:?}"),
    }
}

fn ids(enis: &[EniView]) -> Vec<&str> {
    enis.iter().map(|eni| eni.id.as_str()).collect()
}

#[tokio::test]
async fn all_pages_are_read_and_each_eni_is_given_once() {
    let server = Server::script([
        page(Some("t1"), &["eni-3", "eni-1"]),
        page(Some("t2"), &["eni-1", "eni-2"]),
        page(None, &["eni-4"]),
    ])
    .await;
    let found = read(&server, &of_instance()).await.unwrap();
    assert_eq!(ids(&found), ["eni-1", "eni-2", "eni-3", "eni-4"]);
    let forms: Vec<_> = server.seen().iter().map(super::server::Request::form).collect();
    let tokens: Vec<_> = forms.iter().map(|form| form.get("NextToken").map(String::as_str)).collect();
    assert_eq!(tokens, [None, Some("t1"), Some("t2")]);
    for form in forms {
        assert_eq!(form["Action"], "DescribeNetworkInterfaces");
        assert_eq!(form["MaxResults"], "1000");
        assert_eq!(form["Filter.1.Name"], "attachment.instance-id");
        assert_eq!(form["Filter.1.Value.1"], "i-1");
        assert!(!form.contains_key("Filter.2.Name"));
    }
}

#[tokio::test]
async fn a_page_that_fails_fails_the_read() {
    let throttled = Reply::error(503, "RequestLimitExceeded", "Request limit exceeded.");
    for (last, fault) in
        [(throttled, CloudFault::Throttled { retry_after: None }), (Reply::Close, CloudFault::Unknown)]
    {
        let server = Server::script([page(Some("t1"), &["eni-1"]), last]).await;
        assert_eq!(read(&server, &of_instance()).await.unwrap_err().fault, fault);
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn pages_without_end_fail_the_read() {
    let server = Server::start(|_| page(Some("again"), &["eni-1"])).await;
    assert_eq!(read(&server, &of_instance()).await.unwrap_err().code, fault::BAD_ANSWER);
    assert_eq!(server.seen().len(), 2, "the same token twice is enough");

    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let next = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        page(Some(&next.to_string()), &["eni-1"])
    })
    .await;
    assert_eq!(read(&server, &of_instance()).await.unwrap_err().code, fault::BAD_ANSWER);
    assert_eq!(server.seen().len(), 50);
}

#[tokio::test]
async fn unattached_enis_are_found_by_our_tag() {
    let server = Server::script([page(None, &[])]).await;
    let call = CloudCall::Read(CloudRead::AvailableEnis { instance: InstanceId::new("i-1") });
    assert_eq!(read(&server, &call).await.unwrap(), []);
    let form = server.seen()[0].form();
    assert_eq!(form["Filter.1.Name"], "tag:node.k8s.amazonaws.com/instance_id");
    assert_eq!(form["Filter.1.Value.1"], "i-1");
    assert_eq!(form["Filter.2.Name"], "status");
    assert_eq!(form["Filter.2.Value.1"], "available");
}

#[tokio::test]
async fn ids_that_are_gone_are_taken_off_and_the_rest_is_read() {
    let gone = |words: &str| {
        Reply::error(400, "InvalidNetworkInterfaceID.NotFound", &format!("{words} does not exist"))
    };
    let server = Server::script([
        // Begins with `eni-12345678`, which is asked for too and is there.
        gone("The networkInterface ID 'eni-1234567890abcdef0'"),
        gone("The networkInterface IDs 'eni-a, eni-b'"),
        page(None, &["eni-12345678"]),
    ])
    .await;
    let call = by_ids(&["eni-a", "eni-1234567890abcdef0", "eni-b", "eni-12345678"]);
    assert_eq!(ids(&read(&server, &call).await.unwrap()), ["eni-12345678"]);
    let forms: Vec<_> = server.seen().iter().map(super::server::Request::form).collect();
    let asked: Vec<usize> = forms
        .iter()
        .map(|form| form.keys().filter(|name| name.starts_with("NetworkInterfaceId.")).count())
        .collect();
    assert_eq!(asked, [4, 3, 1]);
    assert_eq!(forms[2]["NetworkInterfaceId.1"], "eni-12345678");
    assert!(!forms[0].contains_key("MaxResults"), "EC2 refuses a page size beside ids");
}

#[tokio::test]
async fn when_all_ids_are_gone_the_answer_is_empty_and_none_is_not_all() {
    let server =
        Server::script([Reply::error(400, "InvalidNetworkInterfaceID.NotFound", "'eni-1' does not exist")])
            .await;
    assert_eq!(read(&server, &by_ids(&["eni-1"])).await.unwrap(), []);
    assert_eq!(server.seen().len(), 1);
    assert_eq!(read(&server, &by_ids(&[])).await.unwrap(), []);
    assert_eq!(server.seen().len(), 1, "a list of no ids would ask for every ENI");
}

#[tokio::test]
async fn a_not_found_that_names_none_of_ours_is_an_error() {
    let server =
        Server::start(|_| Reply::error(400, "InvalidNetworkInterfaceID.NotFound", "'eni-9' does not exist"))
            .await;
    assert_eq!(read(&server, &by_ids(&["eni-1"])).await.unwrap_err().fault, CloudFault::NotFound);
    assert_eq!(server.seen().len(), 1);
}

/// EC2 shows what it is asked for by id, or refuses: an answer of success that lacks one is not whole.
#[tokio::test]
async fn a_list_by_id_that_lacks_one_is_an_error() {
    let server = Server::start(|_| page(None, &["eni-1"])).await;
    assert_eq!(ids(&read(&server, &by_ids(&["eni-1"])).await.unwrap()), ["eni-1"]);
    let lacking = read(&server, &by_ids(&["eni-1", "eni-2"])).await.unwrap_err();
    assert!(lacking.message.contains("eni-2"), "{lacking:?}");
}

#[tokio::test]
async fn an_eni_is_read_whole() {
    let full = eni(
        "eni-1",
        "<interfaceType>interface</interfaceType><privateIpAddress>10.0.0.10</privateIpAddress>\
         <privateIpAddressesSet>\
         <item><privateIpAddress>10.0.0.11</privateIpAddress><primary>false</primary></item>\
         <item><privateIpAddress>10.0.0.10</privateIpAddress><primary>true</primary></item>\
         <item><privateIpAddress>10.0.0.12</privateIpAddress></item></privateIpAddressesSet>\
         <ipv4PrefixSet><item><ipv4Prefix>10.0.1.16/28</ipv4Prefix></item></ipv4PrefixSet>\
         <tagSet><item><key>k</key><value>v</value></item><item><key>empty</key><value></value></item></tagSet>\
         <groupSet><item><groupId>sg-2</groupId></item><item><groupId>sg-1</groupId></item></groupSet>\
         <attachment><attachmentId>eni-attach-1</attachmentId><instanceId>i-1</instanceId>\
         <deviceIndex>2</deviceIndex><networkCardIndex>1</networkCardIndex><status>attached</status>\
         <deleteOnTermination>true</deleteOnTermination></attachment>",
    );
    let server = Server::script([listing(None, &full)]).await;
    assert_eq!(
        read(&server, &of_instance()).await.unwrap(),
        [EniView {
            id: EniId::new("eni-1"),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            kind: EniKind::Standard,
            subnet: SubnetId::new("subnet-1"),
            security_groups: [SecurityGroupId::new("sg-1"), SecurityGroupId::new("sg-2")].into(),
            primary_ipv4: Some([10, 0, 0, 10].into()),
            secondary: vec![[10, 0, 0, 11].into(), [10, 0, 0, 12].into()],
            prefixes: vec!["10.0.1.16/28".parse().unwrap()],
            tags: [("k", "v"), ("empty", "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            attachment: Some(AttachmentView {
                id: AttachmentId::new("eni-attach-1"),
                instance: InstanceId::new("i-1"),
                slot: EniSlot { card: 1, device: 2 },
                delete_on_termination: true,
                status: AttachmentStatus::Attached,
            }),
        }]
    );
}

#[tokio::test]
async fn the_first_address_is_known_by_its_mark_or_by_the_enis_own_field() {
    let own = "<privateIpAddress>10.0.0.10</privateIpAddress>";
    let list = |mark: &str| {
        format!(
            "<privateIpAddressesSet><item><privateIpAddress>10.0.0.11</privateIpAddress></item>\
             <item><privateIpAddress>10.0.0.10</privateIpAddress>{mark}</item></privateIpAddressesSet>"
        )
    };
    for shown in [format!("{own}{}", list("")), list("<primary>true</primary>")] {
        let server = Server::script([listing(None, &eni("eni-1", &shown))]).await;
        let found = read(&server, &of_instance()).await.unwrap();
        assert_eq!(found[0].primary_ipv4, Some([10, 0, 0, 10].into()), "{shown}");
        assert_eq!(found[0].secondary, [std::net::IpAddr::from([10, 0, 0, 11])], "{shown}");
    }
}

#[tokio::test]
async fn kinds_and_states_are_told_apart_and_odd_ones_are_tolerated() {
    let kinds = [
        ("interface", EniKind::Standard),
        ("trunk", EniKind::Trunk),
        ("efa", EniKind::Efa),
        ("efa-only", EniKind::EfaOnly),
        ("not_invented_yet", EniKind::EfaOnly),
    ];
    let items: String = kinds
        .iter()
        .enumerate()
        .map(|(at, (kind, _))| eni(&format!("eni-{at}"), &format!("<interfaceType>{kind}</interfaceType>")))
        .collect();
    let server = Server::script([listing(None, &items)]).await;
    let found = read(&server, &of_instance()).await.unwrap();
    assert_eq!(found.iter().map(|eni| eni.kind).collect::<Vec<_>>(), kinds.map(|(_, kind)| kind));

    let states = [
        ("attaching", AttachmentStatus::Attaching),
        ("attached", AttachmentStatus::Attached),
        ("detaching", AttachmentStatus::Detaching),
        ("detached", AttachmentStatus::Detached),
        ("busy", AttachmentStatus::Attaching),
    ];
    let items: String = states
        .iter()
        .enumerate()
        .map(|(at, (state, _))| {
            let binding = format!(
                "<attachment><attachmentId>a-{at}</attachmentId><instanceOwnerId>amazon-elb</instanceOwnerId>\
                 <deviceIndex>1</deviceIndex><status>{state}</status></attachment>"
            );
            eni(&format!("eni-{at}"), &binding)
        })
        .collect();
    let server = Server::script([listing(None, &items)]).await;
    let found = read(&server, &of_instance()).await.unwrap();
    let bindings: Vec<_> = found.iter().map(|eni| eni.attachment.as_ref().unwrap()).collect();
    assert_eq!(bindings.iter().map(|b| b.status).collect::<Vec<_>>(), states.map(|(_, status)| status));
    assert!(bindings.iter().all(|b| b.instance.as_str() == "amazon-elb" && b.slot.card == 0));
}

#[tokio::test]
async fn an_eni_without_what_the_pool_rests_on_is_no_answer() {
    let bare = "<item><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId></item>";
    let wild = eni(
        "eni-1",
        "<attachment><attachmentId>a-1</attachmentId><instanceId>i-1</instanceId><deviceIndex>-1</deviceIndex></attachment>",
    );
    let address = eni("eni-1", "<privateIpAddress>10.0.0.256</privateIpAddress>");
    for (item, why) in [(bare, "eni-1 without a MAC"), (&wild, "device index -1"), (&address, "10.0.0.256")] {
        let server = Server::script([listing(None, item)]).await;
        let error = read(&server, &of_instance()).await.unwrap_err();
        assert_eq!((error.fault, &*error.code), (CloudFault::Unknown, fault::BAD_ANSWER), "{error}");
        assert!(error.message.contains(why), "{error}");
    }
}

fn instance_type(name: &str, network: &str) -> Reply {
    Reply::ok(format!(
        "<DescribeInstanceTypesResponse><instanceTypeSet><item><instanceType>{name}</instanceType>\
         <networkInfo>{network}</networkInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>"
    ))
}

#[tokio::test]
async fn an_instance_types_limits_are_those_of_each_card() {
    let card = |index, enis| {
        format!(
            "<item><networkCardIndex>{index}</networkCardIndex>\
             <maximumNetworkInterfaces>{enis}</maximumNetworkInterfaces></item>"
        )
    };
    let cards = format!("<networkCards>{}{}</networkCards>", card(0, 8), card(1, 7));
    let figures = "<maximumNetworkInterfaces>15</maximumNetworkInterfaces>\
                   <maximumNetworkCards>2</maximumNetworkCards>\
                   <defaultNetworkCardIndex>1</defaultNetworkCardIndex>\
                   <ipv4AddressesPerInterface>50</ipv4AddressesPerInterface>";
    for (network, wanted) in [
        (
            format!("{figures}{cards}"),
            InstanceLimits { enis: vec![8, 7], ipv4_per_eni: 50, supports_prefixes: None },
        ),
        (figures.to_owned(), InstanceLimits { enis: vec![15], ipv4_per_eni: 50, supports_prefixes: None }),
    ] {
        let server = Server::script([instance_type("z9.large", &network)]).await;
        assert_eq!(cloud(&server).await.limits_of("z9.large").await, Ok(wanted));
        let form = server.seen()[0].form();
        assert_eq!(form["Action"], "DescribeInstanceTypes");
        assert_eq!(form["InstanceType.1"], "z9.large");
    }
}

#[tokio::test]
async fn an_instance_type_of_which_too_little_is_told_stays_unknown() {
    for reply in [
        instance_type("z9.large", ""),
        instance_type("z9.large", "<maximumNetworkInterfaces>3</maximumNetworkInterfaces>"),
        instance_type(
            "z9.large",
            "<maximumNetworkInterfaces>-1</maximumNetworkInterfaces>\
             <ipv4AddressesPerInterface>10</ipv4AddressesPerInterface>",
        ),
        instance_type(
            "another.large",
            "<maximumNetworkInterfaces>3</maximumNetworkInterfaces>\
             <ipv4AddressesPerInterface>10</ipv4AddressesPerInterface>",
        ),
    ] {
        let server = Server::script([reply]).await;
        let error = cloud(&server).await.limits_of("z9.large").await.unwrap_err();
        assert_eq!(error.code, fault::BAD_ANSWER, "{error}");
    }
    let server = Server::script([Reply::error(400, "InvalidInstanceType", "no such type")]).await;
    let error = cloud(&server).await.limits_of("z9.large").await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::Rejected, "InvalidInstanceType"));
}
