//! IMDS: the token, the paths, and what may be missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_model::ids::{MacAddr, SecurityGroupId};
use holdfast_model::pool::Family;
use holdfast_ports::metadata::{HintAsked, Metadata as _};

use super::server::{Reply, Request, Server};
use crate::imds::{Imds, ImdsSettings};

const PRIMARY: &str = "02:00:00:00:00:01";
const SECOND: &str = "02:00:00:00:00:02";

type Tree = BTreeMap<String, Reply>;

/// An instance with two ENIs.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut put = |path: &str, text: &str| {
        tree.insert(format!("/latest/meta-data/{path}"), Reply::ok(text));
    };
    put("mac", PRIMARY);
    put("instance-id", "i-1");
    put("instance-type", "m5.large");
    put("local-ipv4", "10.0.0.10");
    put("placement/region", "eu-test-1");
    put("placement/availability-zone", "eu-test-1a");
    put("network/interfaces/macs", &format!("{PRIMARY}/\n{SECOND}/"));
    for (mac, addresses) in [(PRIMARY, "10.0.0.10\n10.0.0.11"), (SECOND, "10.0.1.10")] {
        let mut put = |name: &str, text: &str| put(&format!("network/interfaces/macs/{mac}{name}"), text);
        put("", "device-number\nipv4-associations/\nlocal-ipv4s\nsubnet-ipv4-cidr-block");
        put("/local-ipv4s", addresses);
        put("/subnet-ipv4-cidr-block", "10.0.0.0/24");
        put("/subnet-id", "subnet-1");
        put("/vpc-id", "vpc-1");
        put("/vpc-ipv4-cidr-blocks", "10.0.0.0/16\n10.1.0.0/16");
        put("/security-group-ids", if mac == PRIMARY { "sg-1\nsg-2" } else { "sg-3" });
    }
    tree
}

fn of(mac: &str, name: &str) -> String {
    format!("/latest/meta-data/network/interfaces/macs/{mac}{name}")
}

/// A server of that tree that insists on the token of the day.
async fn serve(tree: Tree, token: Arc<Mutex<String>>) -> Server {
    Server::start(move |request: &Request| {
        let token = token.lock().unwrap().clone();
        if (&*request.method, &*request.path) == ("PUT", "/latest/api/token") {
            let lifetime = request.header("x-aws-ec2-metadata-token-ttl-seconds").to_owned();
            let headers = vec![("x-aws-ec2-metadata-token-ttl-seconds", lifetime)];
            return Reply::Answer { status: 200, headers, body: token };
        }
        if request.header("x-aws-ec2-metadata-token") != token {
            return Reply::with(401, "");
        }
        tree.get(&request.path).cloned().unwrap_or_else(|| Reply::with(404, "<html/>"))
    })
    .await
}

async fn started(tree: Tree) -> Server {
    serve(tree, Arc::new(Mutex::new("token-1".to_owned()))).await
}

fn imds(server: &Server) -> Imds {
    Imds::new(ImdsSettings { endpoint: Some(server.url()), ..ImdsSettings::default() }).unwrap()
}

fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_identity_is_read_with_one_token() {
    let server = started(tree()).await;
    let identity = imds(&server).identity().await.unwrap();
    assert_eq!(identity.instance.as_str(), "i-1");
    assert_eq!(identity.instance_type, "m5.large");
    assert_eq!((&*identity.region, &*identity.zone), ("eu-test-1", "eu-test-1a"));
    assert_eq!(identity.vpc.as_str(), "vpc-1");
    assert_eq!(identity.vpc_cidrs, ["10.0.0.0/16".parse().unwrap(), "10.1.0.0/16".parse().unwrap()]);
    assert_eq!(identity.primary_mac, mac(PRIMARY));
    assert_eq!(identity.primary_ipv4, std::net::Ipv4Addr::new(10, 0, 0, 10));
    assert_eq!(identity.subnet.as_str(), "subnet-1");
    assert_eq!(identity.subnet_cidr, "10.0.0.0/24".parse().unwrap());
    let groups: Vec<_> = identity.security_groups.iter().map(SecurityGroupId::as_str).collect();
    assert_eq!(groups, ["sg-1", "sg-2"]);
    assert_eq!(server.seen().iter().filter(|request| request.method == "PUT").count(), 1);
}

#[tokio::test]
async fn whatever_the_identity_lacks_is_named() {
    let root = "/latest/meta-data/";
    let mut needed: Vec<String> = [
        "mac",
        "instance-id",
        "instance-type",
        "local-ipv4",
        "placement/region",
        "placement/availability-zone",
    ]
    .map(|name| format!("{root}{name}"))
    .into();
    for name in
        ["/vpc-id", "/vpc-ipv4-cidr-blocks", "/subnet-id", "/subnet-ipv4-cidr-block", "/security-group-ids"]
    {
        needed.push(of(PRIMARY, name));
    }
    for path in needed {
        let mut tree = tree();
        tree.remove(&path).unwrap();
        let server = started(tree).await;
        let error = imds(&server).identity().await.unwrap_err();
        assert_eq!(format!("{root}{}", error.path), path, "{error}");
        assert!(error.cause.contains("404"), "{error}");
    }
}

#[tokio::test]
async fn the_hint_shows_each_eni() {
    let server = started(tree()).await;
    let hint = imds(&server).hint(HintAsked::default()).await.unwrap();
    assert_eq!(hint.enis.keys().copied().collect::<Vec<_>>(), [mac(PRIMARY), mac(SECOND)]);
    assert_eq!(hint.enis[&mac(PRIMARY)], [[10, 0, 0, 10].into(), [10, 0, 0, 11].into()].into());
    assert_eq!(hint.enis[&mac(SECOND)], [[10, 0, 1, 10].into()].into());
    assert_eq!(hint.subnet_cidrs[&mac(SECOND)], "10.0.0.0/24".parse().unwrap());
    assert_eq!(hint.vpc_cidrs.len(), 2);
    assert_eq!(hint.security_groups[&mac(PRIMARY)], ["sg-1", "sg-2"].map(SecurityGroupId::new).into());
    assert_eq!(hint.security_groups[&mac(SECOND)], ["sg-3"].map(SecurityGroupId::new).into());
}

/// An ENI without prefixes has no such path, and nobody who wants none asks.
#[tokio::test]
async fn the_hint_shows_prefixes_where_they_are_asked_for() {
    let mut tree = tree();
    tree.insert(of(PRIMARY, "/ipv4-prefix"), Reply::ok("10.0.0.16/28\n10.0.0.64/28"));
    tree.insert(of(PRIMARY, "/ipv6-prefix"), Reply::ok("2001:db8:0:1:5::/80"));
    let (v4, v6) = (Family::V4, Family::V6);
    for (prefixes, found, paths) in [
        (vec![], vec![], [0, 0]),
        (vec![v4], vec![2, 0], [2, 0]),
        (vec![v6], vec![1, 0], [0, 2]),
        (vec![v4, v6], vec![2, 1, 0, 0], [2, 2]),
    ] {
        let server = started(tree.clone()).await;
        let asked = HintAsked { prefixes: prefixes.into_iter().collect(), ..HintAsked::default() };
        let hint = imds(&server).hint(asked).await.unwrap();
        let shown: Vec<usize> = hint.prefixes.values().map(BTreeSet::len).collect();
        assert_eq!(shown, found);
        let asked = |leaf: &str| server.seen().iter().filter(|request| request.path.ends_with(leaf)).count();
        assert_eq!(["/ipv4-prefix", "/ipv6-prefix"].map(asked), paths);
    }
}

/// At rest it is asked every minute or so, by every node: what is known is not asked for.
#[tokio::test]
async fn what_is_known_is_not_asked_for() {
    let server = started(tree()).await;
    let asked = HintAsked {
        primary: Some(mac(PRIMARY)),
        ranges_known: [mac(PRIMARY), mac(SECOND)].into(),
        vpc_known: true,
        prefixes: BTreeSet::new(),
    };
    let hint = imds(&server).hint(asked).await.unwrap();
    assert_eq!((hint.vpc_cidrs.len(), hint.subnet_cidrs.len(), hint.enis.len()), (0, 0, 2));
    assert_eq!(hint.enis[&mac(PRIMARY)].len(), 2);
    let reads = server.seen().iter().filter(|request| request.method == "GET").count();
    assert_eq!(reads, 5, "the list, and the addresses and groups of each");
}

#[tokio::test]
async fn an_eni_without_ipv4_is_shown_with_no_address() {
    for listed in [true, false] {
        let mut tree = tree();
        tree.remove(&of(SECOND, "/local-ipv4s")).unwrap();
        tree.remove(&of(SECOND, "/subnet-ipv4-cidr-block")).unwrap();
        if !listed {
            tree.insert(of(SECOND, ""), Reply::ok("device-number\nipv6s"));
        }
        let server = started(tree).await;
        let hint = imds(&server).hint(HintAsked::default()).await.unwrap();
        assert!(hint.enis[&mac(SECOND)].is_empty());
        assert!(!hint.subnet_cidrs.contains_key(&mac(SECOND)));
        assert_eq!(hint.enis[&mac(PRIMARY)].len(), 2);
    }
}

#[tokio::test]
async fn a_part_that_fails_fails_the_whole_hint() {
    let failures = [
        // It went away between two requests: without its listing nothing says that it has no address.
        (of(SECOND, ""), None, "404"),
        (of(SECOND, "/local-ipv4s"), Some(Reply::with(503, "")), "503"),
        (of(SECOND, "/local-ipv4s"), Some(Reply::Close), ""),
        (of(SECOND, "/local-ipv4s"), Some(Reply::ok("10.0.1.10\ngarbage")), "garbage"),
        (of(SECOND, "/subnet-ipv4-cidr-block"), Some(Reply::ok("10.0.0.0")), "10.0.0.0"),
        (of(PRIMARY, "/vpc-ipv4-cidr-blocks"), None, "404"),
        (
            "/latest/meta-data/network/interfaces/macs".to_owned(),
            Some(Reply::ok(format!("{SECOND}/"))),
            PRIMARY,
        ),
        ("/latest/meta-data/network/interfaces/macs".to_owned(), Some(Reply::ok("")), PRIMARY),
    ];
    let mut wrong = Vec::new();
    for (path, reply, cause) in failures {
        let mut tree = tree();
        match reply {
            Some(reply) => tree.insert(path.clone(), reply),
            None => tree.remove(&path),
        };
        if path == of(SECOND, "") {
            tree.remove(&of(SECOND, "/local-ipv4s"));
        }
        let server = started(tree).await;
        match imds(&server).hint(HintAsked::default()).await {
            Err(error)
                if format!("/latest/meta-data/{}", error.path) == path && error.cause.contains(cause) => {}
            other => wrong.push((path, other)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_token_that_the_service_forgot_is_replaced() {
    let token = Arc::new(Mutex::new("token-1".to_owned()));
    let server = serve(tree(), Arc::clone(&token)).await;
    let imds = imds(&server);
    imds.hint(HintAsked::default()).await.unwrap();
    "token-2".clone_into(&mut token.lock().unwrap());
    imds.hint(HintAsked::default()).await.unwrap();
    imds.identity().await.unwrap();
    assert_eq!(server.seen().iter().filter(|request| request.method == "PUT").count(), 2);
}

#[tokio::test]
async fn a_service_that_hangs_or_is_away_is_given_up_in_time() {
    let mut silent = tree();
    silent.insert("/latest/meta-data/mac".to_owned(), Reply::Silence);
    let server = started(silent).await;
    let settings = |deadline| ImdsSettings {
        endpoint: Some(server.url()),
        deadline,
        request_timeout: Duration::from_millis(400),
        ..ImdsSettings::default()
    };
    let begun = Instant::now();
    // The one request's limit, then the whole call's.
    let error =
        Imds::new(settings(Duration::from_secs(30))).unwrap().hint(HintAsked::default()).await.unwrap_err();
    assert_eq!(error.path, "mac");
    let error = Imds::new(settings(Duration::from_millis(100))).unwrap().identity().await.unwrap_err();
    assert!(error.cause.contains("within 100ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let gone = imds(&server);
    drop(server);
    tokio::task::yield_now().await;
    let error = gone.identity().await.unwrap_err();
    assert!(error.cause.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_refused_at_once() {
    let settings = ImdsSettings { endpoint: Some("not an address".to_owned()), ..ImdsSettings::default() };
    assert_eq!(Imds::new(settings).unwrap_err().path, "not an address");
}
