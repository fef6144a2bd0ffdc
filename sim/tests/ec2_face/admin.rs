//! The admin interface: faults, counts, foreign changes, full subnets, the clock.

use holdfast_sim::server::{ClockMode, access_key_id};
use serde_json::json;

use crate::loopback::Loopback;

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
    let forgotten = json!({"client_tokens": 0, "callers": 0, "faults": 0});
    assert_eq!(
        counts,
        json!({"ec2": {}, "ec2_by_caller": {}, "imds": {}, "refused": 0, "forgotten": forgotten})
    );
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

    let none = json!({"unfiltered": {"capacity": 0, "refill_per_second": 1}});
    let (status, said) = sim.admin("PUT", "/request-limits", &none.to_string());
    assert!(status == 400 && said["problem"].as_str().unwrap().contains("capacity = 0 would let"), "{said}");
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
