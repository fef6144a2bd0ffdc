//! IMDSv2 over real loopback HTTP.

mod loopback;

use std::time::{Duration, Instant};

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::server::{ClockMode, ImdsService, access_key_id};
use holdfast_sim::vpc::Caller;
use holdfast_sim::vpc::request::{AttachNetworkInterface, CreateNetworkInterface};
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Bytes;
use loopback::{Answer, Loopback, send};

const META: &str = "/latest/meta-data";

fn token(sim: &Loopback, ttl: &str) -> String {
    let header = format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}");
    let answer = send(sim.imds, "PUT", "/latest/api/token", &[&header], "").expect("an answer").ok();
    assert_eq!(answer.headers["x-aws-ec2-metadata-token-ttl-seconds"], ttl);
    answer.body
}

fn get(sim: &Loopback, token: &str, path: &str) -> Answer {
    send(sim.imds, "GET", path, &[&format!("X-aws-ec2-metadata-token: {token}")], "").expect("an answer")
}

#[test]
fn tokens_are_required_bounded_and_end() {
    let sim = Loopback::start(ClockMode::Manual);
    let put = |headers: &[&str]| send(sim.imds, "PUT", "/latest/api/token", headers, "").unwrap().status;
    assert_eq!(put(&[]), 400);
    for ttl in ["0", "21601", "-1", "soon", ""] {
        assert_eq!(put(&[&format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}")]), 400, "{ttl}");
    }
    assert_eq!(put(&["X-aws-ec2-metadata-token-ttl-seconds: 60", "X-Forwarded-For: 10.0.0.9"]), 403);
    let path = "/latest/meta-data/instance-id";
    assert_eq!(send(sim.imds, "GET", path, &[], "").unwrap().status, 401);
    assert_eq!(get(&sim, "made-up", path).status, 401);
    let token = token(&sim, "60");
    assert_eq!(get(&sim, &token, path).ok().body, sim.node_a.as_str());
    sim.admin("POST", "/clock", "{\"by_ms\": 59500}");
    let late = get(&sim, &token, path).ok();
    assert_eq!(late.headers["x-aws-ec2-metadata-token-ttl-seconds"], "1");
    sim.admin("POST", "/clock", "{\"by_ms\": 500}");
    assert_eq!(get(&sim, &token, path).status, 401);
    assert_eq!(send(sim.imds, "GET", "/latest/api/token", &[], "").unwrap().status, 405);
    assert_eq!(send(sim.imds, "POST", path, &[], "").unwrap().status, 405);
}

#[test]
fn the_tree_has_what_nodes_read() {
    let sim = Loopback::start(ClockMode::Running);
    let token = token(&sim, "21600");
    let read = |path: &str| get(&sim, &token, &format!("{META}/{path}")).ok().body;
    let mac = read("mac");
    assert_eq!(read("network/interfaces/macs"), format!("{mac}/"));
    assert_eq!(read("network/interfaces/macs/"), format!("{mac}/"));
    assert_eq!(read("placement/availability-zone"), "us-west-2a");
    assert_eq!(read("placement/region"), "us-west-2");
    assert!(read("placement/availability-zone-id").starts_with("usw2-az"));
    assert_eq!(read("instance-type"), "m5.large");
    assert_eq!(read("services/domain"), "amazonaws.com");
    assert_eq!(read("services/partition"), "aws");
    assert_eq!(read("hostname"), read("local-hostname"));
    assert_eq!(read("tags/instance/"), "Name");
    assert_eq!(read("tags/instance/Name"), "node-a");
    let interface = |leaf: &str| read(&format!("network/interfaces/macs/{mac}/{leaf}"));
    assert_eq!(interface("device-number"), "0");
    assert_eq!(interface("subnet-id"), sim.subnet_a.as_str());
    assert_eq!(interface("vpc-id"), sim.vpc.as_str());
    assert_eq!(interface("security-group-ids"), sim.group.as_str());
    assert_eq!(interface("local-ipv4s"), read("local-ipv4"));
    assert_eq!(interface("subnet-ipv4-cidr-block"), "10.0.0.0/24");
    assert_eq!(interface("subnet-ipv6-cidr-blocks"), "2600:1f13:a::/64");
    assert_eq!(interface("vpc-ipv4-cidr-blocks"), "10.0.0.0/16\n100.64.0.0/16");
    assert_eq!(interface("vpc-ipv6-cidr-blocks"), "2600:1f13:a::/56");
    let eni = interface("interface-id");
    assert!(eni.starts_with("eni-"), "{eni}");
    let fields = interface("");
    for field in ["local-ipv4s", "interface-id", "device-number"] {
        assert!(fields.lines().any(|line| line == field), "{fields}");
    }
    // Absent, not empty: clients tell "no prefixes" by the 404.
    for absent in ["ipv4-prefix", "ipv6-prefix", "ipv6s", "network-card"] {
        let answer = get(&sim, &token, &format!("{META}/network/interfaces/macs/{mac}/{absent}"));
        assert_eq!(answer.status, 404, "{absent}");
        assert_eq!(answer.headers["content-type"], "text/html");
        assert!(answer.body.contains("<h1>404 - Not Found</h1>"), "{}", answer.body);
    }
    let top = read("");
    assert!(top.lines().any(|line| line == "network/") && top.lines().any(|line| line == "mac"), "{top}");
    assert_eq!(get(&sim, &token, "/latest/").ok().body, "dynamic/\nmeta-data/");
    assert!(get(&sim, &token, "/").ok().body.lines().any(|line| line == "latest/"));
    assert_eq!(get(&sim, &token, "/2021-03-23/meta-data/mac").ok().body, mac);
    assert_eq!(get(&sim, &token, "/latest/user-data").status, 404);
}

#[test]
fn the_identity_document_and_the_role_credentials_are_json() {
    let sim = Loopback::start(ClockMode::Running);
    let token = token(&sim, "21600");
    let document = get(&sim, &token, "/latest/dynamic/instance-identity/document").ok().body;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["region"], "us-west-2");
    assert_eq!(document["instanceId"], sim.node_a.as_str());
    assert_eq!(document["accountId"], "123456789012");
    let role = get(&sim, &token, &format!("{META}/iam/security-credentials/")).ok().body;
    let credentials = get(&sim, &token, &format!("{META}/iam/security-credentials/{role}")).ok().body;
    let credentials: serde_json::Value = serde_json::from_str(&credentials).unwrap();
    assert_eq!(credentials["Code"], "Success");
    assert_eq!(credentials["AccessKeyId"], access_key_id(&sim.node_a));
    // A client trusts what is left of their life by its own clock.
    assert!(credentials["Expiration"].as_str().unwrap() > credentials["LastUpdated"].as_str().unwrap());
    let session = format!("X-Amz-Security-Token: {}", credentials["Token"].as_str().unwrap());
    let key = credentials["AccessKeyId"].as_str().unwrap();
    sim.ec2_signed(key, &[&session], 0, "Action=DescribeVpcs").ok();
    let caller = sim.shared.with(|vpc| vpc.log().records().next().unwrap().caller.clone());
    assert_eq!(caller, Caller::instance(&sim.node_a));
}

#[test]
fn a_secondary_eni_appears_and_a_fault_hides_it() {
    let sim = Loopback::start(ClockMode::Running);
    let operator = Caller::named("test");
    let mac = sim.shared.with(|vpc| {
        let create = CreateNetworkInterface {
            subnet_id: sim.subnet_a,
            ipv4_prefix_count: Some(2),
            ..Default::default()
        };
        let eni = vpc.call(&operator, create).unwrap().network_interface;
        let attach = AttachNetworkInterface {
            network_interface_id: eni.network_interface_id,
            instance_id: sim.node_a,
            device_index: 1,
            network_card_index: None,
        };
        vpc.call(&operator, attach).unwrap();
        eni.mac_address.to_string()
    });
    let token = token(&sim, "60");
    let macs = || get(&sim, &token, &format!("{META}/network/interfaces/macs")).ok().body;
    assert_eq!(macs().lines().count(), 2);
    let prefixes = get(&sim, &token, &format!("{META}/network/interfaces/macs/{mac}/ipv4-prefix")).ok().body;
    assert_eq!(prefixes.lines().filter(|prefix| prefix.ends_with("/28")).count(), 2, "{prefixes}");
    sim.shared.with(|vpc| vpc.set_fault(Fault::new(FaultKind::ImdsOmitsEni { eni: None }))).unwrap();
    assert_eq!(macs().lines().count(), 1);
    let hidden = get(&sim, &token, &format!("{META}/network/interfaces/macs/{mac}/"));
    assert_eq!(hidden.status, 404);
    let (_, view) = sim.admin("GET", &format!("/instances/{}/imds", sim.node_a), "");
    assert_eq!(view["interfaces"].as_array().unwrap().len(), 1);
}

#[test]
fn reads_are_counted_and_an_ended_instance_answers_nothing() {
    let sim = Loopback::start(ClockMode::Running);
    let token = token(&sim, "60");
    get(&sim, &token, "/latest/meta-data/mac").ok();
    get(&sim, &token, "/latest/meta-data/mac").ok();
    let (_, reads) = sim.admin("GET", "/log/imds", "");
    let reads = &reads[sim.node_a.as_str()];
    assert_eq!(reads["/latest/meta-data/mac"], 2);
    assert_eq!(reads["PUT /latest/api/token"], 1);
    let (_, counts) = sim.admin("GET", "/log/counts", "");
    assert_eq!(counts["imds"][sim.node_a.as_str()], 3);
    sim.shared.with(|vpc| vpc.terminate_instance(&sim.node_a)).unwrap();
    let header = format!("X-aws-ec2-metadata-token: {token}");
    assert!(send(sim.imds, "GET", "/latest/meta-data/mac", &[&header], "").is_none());
}

#[test]
fn the_service_goes_away_answers_late_refuses_tokens_and_shows_credentials_that_are_over() {
    let sim = Loopback::start(ClockMode::Running);
    let set = |kind| sim.shared.with(|vpc| vpc.set_fault(Fault::new(kind))).unwrap();
    let clear = |id| assert!(sim.shared.with(|vpc| vpc.clear_fault(id)));
    let token = token(&sim, "21600");
    let path = |leaf: &str| format!("{META}/{leaf}");
    let away = set(FaultKind::ImdsAway);
    assert!(send(sim.imds, "GET", &path("mac"), &[], "").is_none(), "not a byte");
    clear(away);
    let missing = set(FaultKind::ImdsStatus { status: 404, path: Some("meta-data/mac".to_owned()) });
    assert_eq!(get(&sim, &token, &path("mac")).status, 404);
    get(&sim, &token, &path("instance-id")).ok();
    clear(missing);
    let late = set(FaultKind::ImdsLate { by: Duration::from_millis(300), path: None });
    let start = Instant::now();
    get(&sim, &token, &path("mac")).ok();
    assert!(start.elapsed() >= Duration::from_millis(300));
    clear(late);
    let refused = set(FaultKind::ImdsTokenRefused);
    let ask = ["X-aws-ec2-metadata-token-ttl-seconds: 60"];
    assert_eq!(send(sim.imds, "PUT", "/latest/api/token", &ask, "").unwrap().status, 403);
    clear(refused);
    let expired = set(FaultKind::ImdsExpiredCredentials);
    let role = get(&sim, &token, &path("iam/security-credentials/")).ok().body;
    let shown = get(&sim, &token, &path(&format!("iam/security-credentials/{role}"))).ok().body;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let session = format!("X-Amz-Security-Token: {}", shown["Token"].as_str().unwrap());
    let answer =
        sim.ec2_signed(shown["AccessKeyId"].as_str().unwrap(), &[&session], 0, "Action=DescribeVpcs");
    assert_eq!(answer.error(), (400, "RequestExpired"));
    assert_eq!(sim.shared.with(|vpc| vpc.fault_hits()[&expired]), 1, "the role's name is as ever");
}

#[test]
fn a_scheduled_retirement_is_told_as_in_life_and_the_service_ends_with_the_instance() {
    let sim = Loopback::start(ClockMode::Manual);
    let token = token(&sim, "21600");
    let scheduled = || get(&sim, &token, &format!("{META}/events/maintenance/scheduled")).ok().body;
    assert_eq!(scheduled(), "[]");
    let fault = serde_json::json!({"kind": {"type": "instance-retires", "after_ms": 60_000},
        "scope": {"instance": sim.node_a.as_str()}});
    let (status, set) = sim.admin("POST", "/faults", &fault.to_string());
    assert_eq!(status, 200, "{set}");
    let events: serde_json::Value = serde_json::from_str(&scheduled()).unwrap();
    let event = &events[0];
    assert_eq!((&event["Code"], &event["State"]), (&"instance-retirement".into(), &"active".into()));
    assert!(event["EventId"].as_str().unwrap().starts_with("instance-event-0"), "{event}");
    let at = sim.shared.epoch() + Duration::from_mins(1);
    let at = at.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let said = std::process::Command::new("date")
        .args(["-u", "-d", event["NotBefore"].as_str().unwrap(), "+%s"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), at.to_string(), "{event}");
    assert_eq!(sim.admin("POST", "/faults", &fault.to_string()).0, 400, "announced already");
    let status = || {
        sim.ec2("Action=DescribeInstanceStatus&IncludeAllInstances=true&Filter.1.Name=event.code&Filter.1.Value.1=*")
    };
    let shown = status().ok();
    assert_eq!(shown.text("instanceEventId"), event["EventId"].as_str().unwrap());
    assert_eq!((shown.text("instanceId"), shown.text("code")), (sim.node_a.as_str(), "instance-retirement"));
    assert_eq!(shown.text("description"), event["Description"].as_str().unwrap());
    let not_before = std::process::Command::new("date").args(["-d", shown.text("notBefore"), "+%s"]).output();
    assert_eq!(String::from_utf8(not_before.unwrap().stdout).unwrap().trim(), at.to_string());
    let check =
        "<details><item><name>reachability</name><status>passed</status></item></details><status>ok</status>";
    assert_eq!((shown.text("systemStatus"), shown.text("instanceStatus")), (check, check));
    let history = || get(&sim, &token, &format!("{META}/events/maintenance/history")).ok().body;
    assert_eq!(history(), "[]");
    sim.admin("POST", "/clock", "{\"by_ms\": 60000}");
    let shown = sim.ec2(&format!("Action=DescribeInstances&InstanceId.1={}", sim.node_a)).ok();
    assert_eq!(shown.text("instanceState"), "<code>80</code><name>stopped</name>");
    let header = format!("X-aws-ec2-metadata-token: {token}");
    assert!(send(sim.imds, "GET", "/latest/meta-data/mac", &[&header], "").is_none(), "off");
    assert_eq!(sim.admin("GET", "/faults/hits", "").1[set["id"].to_string()], 1);
    let shown = status().ok();
    assert_eq!(shown.text("instanceState"), "<code>80</code><name>stopped</name>");
    assert_eq!(shown.text("systemStatus"), "<status>not-applicable</status>");
    assert!(shown.text("description").starts_with("[Completed] "), "{}", shown.body);
    // On other hardware it is history.
    assert_eq!(sim.admin("POST", &format!("/instances/{}/start", sim.node_a), "").0, 200);
    assert_eq!(scheduled(), "[]");
    let past: serde_json::Value = serde_json::from_str(&history()).unwrap();
    assert_eq!(past[0]["EventId"], event["EventId"]);
    assert_eq!((&past[0]["State"], &past[0]["NotBefore"]), (&"completed".into(), &event["NotBefore"]));
    let described = format!("[Completed] {}", event["Description"].as_str().unwrap());
    assert_eq!((past[0]["Description"].as_str(), past[1].is_null()), (Some(described.as_str()), true));
    // And one that is called off.
    let (_, set) = sim.admin("POST", "/faults", &fault.to_string());
    assert_eq!(sim.admin("DELETE", &format!("/faults/{}", set["id"]), "").0, 200);
    let past: serde_json::Value = serde_json::from_str(&history()).unwrap();
    assert_eq!((&past[0]["State"], &past[1]["State"]), (&"canceled".into(), &"completed".into()));
    assert!(past[0]["Description"].as_str().unwrap().starts_with("[Canceled] "), "{past}");
}

#[test]
fn a_client_in_the_same_process_is_answered_as_one_on_the_wire() {
    let sim = Loopback::start(ClockMode::Running);
    let service = ImdsService::new(sim.shared.clone(), sim.node_a);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ask = |method: &str, path: &str, (name, value): (&str, &str)| -> Option<(u16, Bytes)> {
        let request = Request::builder().method(method).uri(path).header(name, value);
        runtime.block_on(async {
            let answer = service.answer(request.body(Bytes::new()).unwrap()).await?;
            let status = answer.status().as_u16();
            Some((status, answer.into_body().collect().await.unwrap().to_bytes()))
        })
    };
    let (status, own) =
        ask("PUT", "/latest/api/token", ("x-aws-ec2-metadata-token-ttl-seconds", "60")).unwrap();
    assert_eq!(status, 200);
    let own = std::str::from_utf8(&own).unwrap();
    let wire = token(&sim, "60");
    for leaf in ["mac", "local-ipv4", "no-such-leaf"] {
        let path = format!("{META}/{leaf}");
        let (status, body) = ask("GET", &path, ("x-aws-ec2-metadata-token", own)).unwrap();
        let answer = get(&sim, &wire, &path);
        assert_eq!((status, &body[..]), (answer.status, answer.body.as_bytes()));
    }
    sim.shared.with(|vpc| vpc.set_fault(Fault::new(FaultKind::ImdsAway))).unwrap();
    assert_eq!(ask("GET", &format!("{META}/mac"), ("x-aws-ec2-metadata-token", own)), None);
}
