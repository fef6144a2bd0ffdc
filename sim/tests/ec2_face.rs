//! The EC2 Query API and the admin interface over real loopback HTTP.

mod loopback;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::server::{ClockMode, access_key_id};
use holdfast_sim::vpc::hook::{CallPoint, Stage, Verdict};
use holdfast_sim::vpc::{Action, Timing};
use loopback::{Loopback, OPERATOR, send, signature};
use serde_json::json;

#[test]
fn an_eni_lives_over_the_wire() {
    let sim = Loopback::start(ClockMode::Running);
    let created = sim
        .ec2(&format!(
            "Action=CreateNetworkInterface&SubnetId={}&SecurityGroupId.1={}&SecondaryPrivateIpAddressCount=2&ClientToken=t1\
             &Description=a%20%3Cb%3E&TagSpecification.1.ResourceType=network-interface\
             &TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=v%26w",
            sim.subnet_a, sim.group
        ))
        .ok();
    assert!(created.body.contains(
        "<CreateNetworkInterfaceResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>"
    ));
    assert_eq!(created.headers["content-type"], "text/xml;charset=UTF-8");
    assert_eq!(created.headers["x-amzn-requestid"], created.text("requestId"));
    assert_eq!(created.text("description"), "a &lt;b&gt;");
    assert_eq!(created.text("clientToken"), "t1");
    assert_eq!(created.text("tagSet"), "<item><key>k</key><value>v&amp;w</value></item>");
    assert_eq!(created.text("privateIpAddressesSet").matches("<item>").count(), 3);
    let eni = created.text("networkInterfaceId").to_owned();

    let attach = format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&DeviceIndex=1&NetworkCardIndex=0",
        sim.node_a
    );
    let attached = sim.ec2(&attach).ok();
    let attachment = attached.text("attachmentId").to_owned();
    assert_eq!(attached.text("networkCardIndex"), "0");
    assert_eq!(sim.ec2(&attach).error(), (400, "InvalidNetworkInterface.InUse"));

    let modify = format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={eni}&Attachment.AttachmentId={attachment}\
         &Attachment.DeleteOnTermination=true"
    );
    assert_eq!(sim.ec2(&modify).ok().text("return"), "true");
    let shown = sim.ec2(&format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={eni}")).ok();
    assert_eq!(shown.text("attachmentId"), attachment);
    assert_eq!(shown.text("deleteOnTermination"), "true");
    assert_eq!(shown.text("deviceIndex"), "1");
    assert_eq!(shown.text("interfaceType"), "interface");

    let assigned = sim
        .ec2(&format!(
            "Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=1"
        ))
        .ok();
    let address = assigned.text("privateIpAddress").to_owned();
    assert_eq!(
        assigned.text("assignedPrivateIpAddressesSet"),
        format!("<item><privateIpAddress>{address}</privateIpAddress></item>")
    );
    let unassign =
        format!("Action=UnassignPrivateIpAddresses&NetworkInterfaceId={eni}&PrivateIpAddress.1={address}");
    assert_eq!(sim.ec2(&unassign).ok().text("return"), "true");
    assert_eq!(sim.ec2(&unassign).error(), (400, "InvalidParameterValue"));

    let delete = format!("Action=DeleteNetworkInterface&NetworkInterfaceId={eni}");
    let refused = sim.ec2(&delete);
    assert_eq!(refused.error(), (400, "InvalidParameterValue"));
    assert!(refused.text("Message").contains("is currently in use"), "{}", refused.body);
    sim.ec2(&format!("Action=DetachNetworkInterface&AttachmentId={attachment}")).ok();
    sim.ec2(&delete).ok();
    assert_eq!(sim.ec2(&delete).error(), (400, "InvalidNetworkInterfaceID.NotFound"));
}

#[test]
fn filters_and_pages_are_read() {
    let sim = Loopback::start(ClockMode::Running);
    let count = |parameters: &str| {
        let answer = sim.ec2(parameters).ok();
        answer.body.matches("<subnetId>").count()
    };
    let vpc = &sim.vpc;
    assert_eq!(count(&format!("Action=DescribeSubnets&Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}")), 3);
    assert_eq!(
        count(&format!(
            "Action=DescribeSubnets&Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}\
             &Filter.2.Name=tag%3AName&Filter.2.Value.1=b&Filter.2.Value.2=t%2A"
        )),
        2
    );
    assert_eq!(
        sim.ec2("Action=DescribeSubnets&Filter.1.Name=colour&Filter.1.Value.1=red").error().1,
        "InvalidParameterValue"
    );
    for _ in 0..7 {
        sim.ec2(&format!("Action=CreateNetworkInterface&SubnetId={}", sim.subnet_b)).ok();
    }
    let filter = format!("Filter.1.Name=subnet-id&Filter.1.Value.1={}", sim.subnet_b);
    let first = sim.ec2(&format!("Action=DescribeNetworkInterfaces&MaxResults=5&{filter}")).ok();
    assert_eq!(first.body.matches("<macAddress>").count(), 5);
    let token: String = form_urlencoded::byte_serialize(first.text("nextToken").as_bytes()).collect();
    let rest =
        sim.ec2(&format!("Action=DescribeNetworkInterfaces&MaxResults=5&{filter}&NextToken={token}")).ok();
    // Seven made here, and the primary ones of two nodes.
    assert_eq!(rest.body.matches("<macAddress>").count(), 4);
    assert!(!rest.body.contains("nextToken"));
}

#[test]
fn what_is_no_ec2_request_is_refused_in_ec2s_words() {
    let sim = Loopback::start(ClockMode::Running);
    for (parameters, status, code) in [
        ("Action=LaunchRocket", 400, "InvalidAction"),
        ("NetworkInterfaceId.1=eni-1", 400, "MissingAction"),
        ("Action=AttachNetworkInterface&NetworkInterfaceId=eni-1", 400, "MissingParameter"),
        ("Action=DescribeVpcs&Colour=red", 400, "UnknownParameter"),
        ("Action=DescribeVpcs&Filter.1.Name=vpc-id&Filter.1.Colour=red", 400, "UnknownParameter"),
        ("Action=DescribeVpcs&MaxResults=many", 400, "InvalidParameterValue"),
        ("Action=DescribeVpcs&Version=1999-01-01", 400, "MalformedQueryString"),
        ("Action=DescribeVpcs&DryRun=true", 412, "DryRunOperation"),
        (
            "Action=DescribeNetworkInterfaces&NetworkInterfaceId.1=eni-nonsense",
            400,
            "InvalidNetworkInterfaceId.Malformed",
        ),
    ] {
        assert_eq!(sim.ec2(parameters).error(), (status, code), "{parameters}");
    }
    let old = "Action=DescribeVpcs&Version=1999-01-01";
    let date = format!("X-Amz-Date: {}", sim.date(0));
    let authorization = format!("Authorization: {}", signature(OPERATOR, "us-west-2", "ec2"));
    let undated = send(sim.ec2, "POST", "/", &[&authorization], old).unwrap();
    assert_eq!(undated.error(), (401, "AuthFailure"));
    let answer = send(sim.ec2, "POST", "/", &[&authorization, &date], old).unwrap();
    assert_eq!(answer.error(), (400, "NoSuchVersion"));
    for (region, service) in [("eu-west-1", "ec2"), ("us-west-2", "s3")] {
        let authorization = format!("Authorization: {}", signature(OPERATOR, region, service));
        let answer = send(sim.ec2, "POST", "/", &[&authorization], "Action=DescribeVpcs").unwrap();
        assert_eq!(answer.error(), (401, "AuthFailure"), "{region} {service}");
    }
    let unsigned = send(sim.ec2, "POST", "/", &[], "Action=DescribeVpcs").unwrap();
    assert_eq!(unsigned.error(), (400, "MissingParameter"));
    assert!(unsigned.text("Message").contains("AWSAccessKeyId"));
    assert_eq!(send(sim.ec2, "PUT", "/", &[], "").unwrap().status, 405);
    let (_, refusals) = sim.admin("GET", "/log/refusals", "");
    assert_eq!(refusals.as_array().unwrap().len(), 12, "{refusals}");
}

#[test]
fn a_presigned_get_is_answered() {
    let sim = Loopback::start(ClockMode::Running);
    let path = |date: &str| {
        format!(
            "/?Action=DescribeVpcs&Version=2016-11-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential={OPERATOR}%2F20260101%2Fus-west-2%2Fec2%2Faws4_request&X-Amz-Date={date}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        )
    };
    let answer = send(sim.ec2, "GET", &path(&sim.date(0)), &[], "").unwrap().ok();
    assert_eq!(answer.text("vpcId"), sim.vpc.as_str());
    assert_eq!(sim.shared.with(|vpc| vpc.log().records().next().unwrap().caller.name.clone()), OPERATOR);
    let old = send(sim.ec2, "GET", &path("20200101T000000Z"), &[], "").unwrap();
    assert_eq!(old.error(), (400, "RequestExpired"));
}

#[test]
fn a_large_body_is_refused_and_a_connection_serves_several_requests() {
    let sim = Loopback::start(ClockMode::Running);
    // Refused by its told length, before any of it is sent.
    let mut stream = TcpStream::connect(sim.ec2).unwrap();
    let head = "POST / HTTP/1.1
Host: box
Content-Length: 2000000

";
    stream.write_all(head.as_bytes()).unwrap();
    let mut status = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    BufReader::new(&stream).read_line(&mut status).unwrap();
    assert_eq!(status.trim(), "HTTP/1.1 413 Payload Too Large");

    let stream = TcpStream::connect(sim.ec2).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(&stream);
    for _ in 0..3 {
        let body = "Action=DescribeVpcs";
        let (authorization, date) = (signature(OPERATOR, "us-west-2", "ec2"), sim.date(0));
        write!(
            &stream,
            "POST / HTTP/1.1\r\nHost: box\r\nAuthorization: {authorization}\r\nX-Amz-Date: {date}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        assert!(String::from_utf8(body).unwrap().contains("DescribeVpcsResponse"));
    }
}

#[test]
fn a_lost_answer_closes_the_connection_and_the_effect_stays() {
    let sim = Loopback::start(ClockMode::Running);
    let create = format!("Action=CreateNetworkInterface&SubnetId={}&ClientToken=once", sim.subnet_a);
    let body = format!("Version=2016-11-15&{create}");
    let authorization = format!("Authorization: {}", signature(OPERATOR, "us-west-2", "ec2"));
    let date = format!("X-Amz-Date: {}", sim.date(0));
    let enis = || sim.ec2("Action=DescribeNetworkInterfaces").ok().body.matches("<macAddress>").count();
    let before = enis();

    let lost = |kind: &str| json!({"kind": {"type": kind}, "scope": {"actions": ["CreateNetworkInterface"]}, "count": 1});
    let (status, _) = sim.admin("POST", "/faults", &lost("request-lost").to_string());
    assert_eq!(status, 200);
    assert!(send(sim.ec2, "POST", "/", &[&authorization, &date], &body).is_none());
    assert_eq!(enis(), before);

    sim.admin("POST", "/faults", &lost("answer-lost").to_string());
    assert!(send(sim.ec2, "POST", "/", &[&authorization, &date], &body).is_none());
    assert_eq!(enis(), before + 1);
    // The same token finds the ENI of the lost answer.
    sim.ec2(&create).ok();
    assert_eq!(enis(), before + 1);
}

#[test]
fn faults_throttle_and_deny_until_they_are_cleared() {
    let sim = Loopback::start(ClockMode::Running);
    let (_, set) = sim.admin("POST", "/faults", &json!({"kind": {"type": "throttle"}}).to_string());
    assert_eq!(sim.ec2("Action=DescribeVpcs").error(), (503, "RequestLimitExceeded"));
    let (_, faults) = sim.admin("GET", "/faults", "");
    assert_eq!(faults[0]["id"], set["id"]);
    let path = format!("/faults/{}", set["id"]);
    assert_eq!(sim.admin("DELETE", &path, "").0, 200);
    assert_eq!(sim.admin("DELETE", &path, "").0, 404);
    sim.ec2("Action=DescribeVpcs").ok();
    sim.admin(
        "POST",
        "/faults",
        &json!({"kind": {"type": "deny"}, "scope": {"actions": ["DescribeTags"]}}).to_string(),
    );
    assert_eq!(sim.ec2("Action=DescribeTags").error(), (403, "UnauthorizedOperation"));
    sim.ec2("Action=DescribeVpcs").ok();
    assert_eq!(sim.admin("DELETE", "/faults", "").0, 200);
    sim.ec2("Action=DescribeTags").ok();
    assert_eq!(sim.admin("POST", "/faults", "{\"kind\": {\"type\": \"no such\"}}").0, 400);
}

#[test]
fn latency_and_late_answers_are_slept() {
    let sim = Loopback::start(ClockMode::Running);
    let took = |parameters: &str| {
        let start = Instant::now();
        sim.ec2(parameters).ok();
        start.elapsed()
    };
    let (status, timing) = sim.admin("PUT", "/timing", "{\"read_latency\": 300}");
    assert_eq!((status, &timing["read_latency"]), (200, &json!(300)));
    assert!(took("Action=DescribeVpcs") >= Duration::from_millis(300));
    sim.admin("PUT", "/timing", "{}");
    sim.admin(
        "POST",
        "/faults",
        &json!({"kind": {"type": "answer-late", "by_ms": 300}, "count": 1}).to_string(),
    );
    assert!(took("Action=DescribeVpcs") >= Duration::from_millis(300));
    assert!(took("Action=DescribeVpcs") < Duration::from_millis(300));
}

#[test]
fn calls_are_counted_by_caller_and_the_log_can_be_reset() {
    let sim = Loopback::start(ClockMode::Running);
    let role = format!("X-Amz-Security-Token: session-of-{}-0", sim.node_b);
    for action in ["Action=DescribeVpcs", "Action=DescribeSubnets"] {
        sim.ec2_signed(&access_key_id(&sim.node_b), &[&role], 0, action).ok();
    }
    sim.ec2("Action=DescribeVpcs").ok();
    sim.ec2("Action=NoSuchThing").error();
    let (_, counts) = sim.admin("GET", "/log/counts", "");
    assert_eq!(counts["ec2"], json!({"DescribeVpcs": 2, "DescribeSubnets": 1}));
    assert_eq!(
        counts["ec2_by_caller"],
        json!({"AKIAOPERATOR00000000": {"DescribeVpcs": 1}, sim.node_b.as_str(): {"DescribeVpcs": 1, "DescribeSubnets": 1}})
    );
    assert_eq!(counts["refused"], 1);
    let (_, log) = sim.admin("GET", "/log", "");
    assert_eq!(log[0]["caller"]["instance"], sim.node_b.as_str());
    assert_eq!(log[0]["outcome"], "done");
    sim.admin("POST", "/log/reset", "");
    let (_, counts) = sim.admin("GET", "/log/counts", "");
    assert_eq!(counts, json!({"ec2": {}, "ec2_by_caller": {}, "imds": {}, "refused": 0}));
}

#[test]
fn someone_else_changes_things_and_instances_end() {
    let sim = Loopback::start(ClockMode::Running);
    let create = json!({"operation": {"CreateNetworkInterface": {"subnetId": sim.subnet_b.as_str()}}});
    let (status, made) = sim.admin("POST", "/foreign", &create.to_string());
    let eni =
        made["ok"]["CreateNetworkInterface"]["networkInterface"]["networkInterfaceId"].as_str().unwrap();
    assert_eq!(status, 200);
    let attach = json!({"operation": {"AttachNetworkInterface":
        {"networkInterfaceId": eni, "instanceId": sim.node_b.as_str(), "deviceIndex": 1}}});
    let (_, attached) = sim.admin("POST", "/foreign", &attach.to_string());
    assert!(attached["ok"]["AttachNetworkInterface"]["attachmentId"].is_string(), "{attached}");
    let (_, again) = sim.admin("POST", "/foreign", &attach.to_string());
    assert_eq!(again["error"]["code"], "InvalidNetworkInterface.InUse");
    assert!(sim.shared.with(|vpc| vpc.log().records().len() == 0), "someone else's calls are not ours");
    assert_eq!(sim.admin("POST", "/foreign", "{\"operation\": \"Nothing\"}").0, 400);
    let (_, state) = sim.admin("GET", "/state", "");
    let enis = state["network_interfaces"].as_array().unwrap();
    assert!(enis.iter().any(|shown| shown["network_interface_id"] == eni), "{state}");
    let (_, state) = sim.admin("GET", "/state/ec2", "");
    let enis = state["network_interfaces"].as_array().unwrap();
    assert!(enis.iter().any(|shown| shown["networkInterfaceId"] == eni), "{state}");
    assert_eq!(sim.admin("GET", "/check", "").1, json!([]));

    let path = format!("/instances/{}/terminate", sim.node_b);
    assert_eq!(sim.admin("POST", &path, "").0, 200);
    let shown = sim.ec2(&format!("Action=DescribeInstances&InstanceId.1={}", sim.node_b)).ok();
    assert_eq!(shown.text("instanceState"), "<code>48</code><name>terminated</name>");
    assert_eq!(sim.admin("POST", "/instances/i-00000000000000000/terminate", "").0, 404);
    // Attached by someone who did not set delete-on-termination: left behind.
    let left = sim.ec2(&format!("Action=DescribeNetworkInterfaces&NetworkInterfaceId.1={eni}")).ok();
    assert_eq!(left.text("status"), "available");
}

#[test]
fn subnets_fill_and_fragment_and_request_limits_bite() {
    let sim = Loopback::start(ClockMode::Manual);
    let create = format!("Action=CreateNetworkInterface&SubnetId={}", sim.subnet_b);
    let path = |what: &str| format!("/subnets/{}/{what}", sim.subnet_b);
    assert_eq!(sim.admin("POST", &path("occupy"), "{\"leave\": 1}").0, 200);
    sim.ec2(&create).ok();
    assert_eq!(sim.ec2(&create).error(), (400, "InsufficientFreeAddressesInSubnet"));
    assert_eq!(sim.admin("POST", &path("vacate"), "").0, 200);
    assert_eq!(sim.admin("POST", &path("fragment"), "").0, 200);
    assert_eq!(sim.ec2(&format!("{create}&Ipv4PrefixCount=1")).error(), (400, "InsufficientCidrBlocks"));
    sim.ec2(&create).ok();
    assert_eq!(sim.admin("POST", "/subnets/subnet-00000000000000000/vacate", "").0, 404);

    let limits = json!({"actions": {"DescribeVpcs": {"capacity": 2, "refill_per_second": 1}}});
    assert_eq!(sim.admin("PUT", "/request-limits", &limits.to_string()).0, 200);
    for _ in 0..2 {
        sim.ec2("Action=DescribeVpcs").ok();
    }
    assert_eq!(sim.ec2("Action=DescribeVpcs").error(), (503, "RequestLimitExceeded"));
    sim.admin("POST", "/clock", "{\"by_ms\": 1000}");
    sim.ec2("Action=DescribeVpcs").ok();
}

#[test]
fn a_manual_clock_moves_only_when_told() {
    let sim = Loopback::start(ClockMode::Manual);
    assert_eq!(sim.admin("GET", "/clock", "").1, json!({"now_us": 0, "running": false}));
    assert_eq!(sim.admin("POST", "/clock", "{\"by_ms\": 1500}").1["now_us"], 1_500_000);
    assert_eq!(sim.admin("GET", "/clock", "").1["now_us"], 1_500_000);
    let running = Loopback::start(ClockMode::Running);
    assert_eq!(running.admin("POST", "/clock", "{\"by_ms\": 1500}").0, 409);
    let (_, health) = running.admin("GET", "/health", "");
    assert_eq!(health["region"], "us-west-2");
    assert_eq!(running.admin("GET", "/nowhere", "").0, 404);
    assert_eq!(running.admin("PATCH", "/health", "").0, 405);
}

#[test]
fn every_action_of_the_core_has_a_face() {
    let sim = Loopback::start(ClockMode::Running);
    for action in Action::ALL {
        let (_, code) = match sim.ec2(&format!("Action={action}&DryRun=false")) {
            answer if answer.status == 200 => (200, String::new()),
            answer => {
                let (status, code) = answer.error();
                (status, code.to_owned())
            }
        };
        assert_ne!(code, "InvalidAction", "{action}");
    }
}

#[test]
fn credentials_are_checked_expire_and_are_refused_and_so_is_a_clock_that_is_off() {
    let sim = Loopback::start(ClockMode::Manual);
    let call = "Action=DescribeVpcs";
    let key = access_key_id(&sim.node_a);
    let role = |at: u64| format!("X-Amz-Security-Token: session-of-{}-{at}", sim.node_a);
    sim.ec2_signed(&key, &[&role(0)], 0, call).ok();
    assert_eq!(sim.ec2_signed(&key, &[], 0, call).error(), (401, "AuthFailure"), "without its session");
    let other = format!("X-Amz-Security-Token: session-of-{}-0", sim.node_b);
    assert_eq!(sim.ec2_signed(&key, &[&other], 0, call).error(), (401, "AuthFailure"), "with another's");
    assert_eq!(sim.ec2_as("AKIANOBODY", call).error(), (401, "AuthFailure"));
    sim.ec2_signed(OPERATOR, &[], 290, call).ok();
    for off in [310, -310, -6 * 365 * 86_400] {
        assert_eq!(sim.ec2_signed(OPERATOR, &[], off, call).error(), (400, "RequestExpired"), "{off} s");
    }
    sim.shared.advance(Duration::from_hours(6)).unwrap();
    assert_eq!(sim.ec2_signed(&key, &[&role(0)], 0, call).error(), (400, "RequestExpired"), "six hours on");
    sim.ec2_signed(&key, &[&role(6 * 3600)], 0, call).ok();
    let ahead = Fault::new(FaultKind::ClockAhead { by: Duration::from_mins(10) }).of_instance(&sim.node_a);
    sim.shared.with(|vpc| vpc.set_fault(ahead)).unwrap();
    assert_eq!(sim.ec2_signed(&key, &[&role(6 * 3600)], 0, call).error(), (400, "RequestExpired"));
    sim.ec2(call).ok();
}

#[test]
fn an_answer_is_cut_short_or_replaced_on_its_way() {
    let sim = Loopback::start(ClockMode::Running);
    let set = |kind| sim.shared.with(|vpc| vpc.set_fault(Fault::new(kind).times(1))).unwrap();
    set(FaultKind::AnswerTruncated { keep: 40 });
    let answer = sim.ec2("Action=DescribeVpcs");
    assert_eq!((answer.status, answer.body.len()), (200, 40));
    set(FaultKind::AnswerTruncated { keep: u32::MAX });
    assert!(!sim.ec2("Action=DescribeVpcs").body.trim_end().ends_with('>'), "never whole");
    set(FaultKind::AnswerReplaced { status: 429, body: "busy".to_owned() });
    let answer = sim.ec2("Action=DescribeVpcs");
    assert_eq!((answer.status, answer.body.as_str()), (429, "busy"));
    sim.ec2("Action=DescribeVpcs").ok();
}

/// A request for an ENI as it is written.
fn request_for_an_eni(sim: &Loopback) -> String {
    let body = format!("Version=2016-11-15&Action=CreateNetworkInterface&SubnetId={}", sim.subnet_a);
    format!(
        "POST / HTTP/1.1\r\nHost: box\r\nAuthorization: {}\r\nX-Amz-Date: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        signature(OPERATOR, "us-west-2", "ec2"),
        sim.date(0),
        body.len()
    )
}

#[test]
fn a_call_is_carried_out_although_its_caller_hung_up() {
    let sim = Loopback::start(ClockMode::Running);
    let slow = Timing { write_latency: Duration::from_millis(700), ..Timing::default() };
    sim.shared.with(|vpc| vpc.set_timing(slow)).unwrap();
    let before = sim.shared.with(|vpc| vpc.authoritative().network_interfaces().len());
    let request = request_for_an_eni(&sim);
    let mut caller = TcpStream::connect(sim.ec2).unwrap();
    caller.write_all(request.as_bytes()).unwrap();
    until(|| sim.shared.with(|vpc| vpc.under_way() == 1));
    // The caller is killed, and its connection with it.
    drop(caller);
    until(|| sim.shared.with(|vpc| vpc.under_way() == 0));
    assert_eq!(sim.shared.with(|vpc| vpc.log().count(Action::CreateNetworkInterface)), 1);
    assert_eq!(sim.shared.with(|vpc| vpc.authoritative().network_interfaces().len()), before + 1);
}

#[test]
fn a_call_is_carried_out_although_its_caller_was_gone_before_it_was_read() {
    let sim = Loopback::start(ClockMode::Running);
    let request = request_for_an_eni(&sim);
    // The first call holds up the thread that would read the others.
    let (say, held_up) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    sim.shared.with(|vpc| {
        vpc.set_hook(Some(Box::new(move |point: CallPoint<'_>| {
            if (point.number, point.stage) == (1, Stage::BeforeEffect) {
                say.send(()).unwrap();
                told.recv_timeout(Duration::from_secs(10)).unwrap();
            }
            Verdict::Continue
        })));
    });
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap());
    let began = |part: &str| {
        let mut caller = TcpStream::connect(sim.ec2).unwrap();
        caller.write_all(part.as_bytes()).unwrap();
        caller
    };
    let callers: Vec<TcpStream> = (0..20).map(|_| began(head)).collect();
    let first = began(&request);
    held_up.recv_timeout(Duration::from_secs(10)).unwrap();
    for mut caller in callers {
        caller.write_all(body.as_bytes()).unwrap();
    }
    go_on.send(()).unwrap();
    until(|| sim.shared.with(|vpc| vpc.log().count(Action::CreateNetworkInterface) == 21));
    drop(first);
}

/// Waits for something that comes within seconds.
fn until(mut there: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came");
}
