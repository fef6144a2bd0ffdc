//! What the real daemon tells those who watch it: scraped from inside the node, held against EC2's truth and the ledger.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
#![allow(clippy::float_cmp, reason = "whole numbers, which are told as they are")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use holdfast_chaos_tests::rig::{NodeUnderTest, Rig, RunningPod, scenario, wait_for};
use holdfast_datapath::netlink::{Change, Rule};
use holdfast_datapath::netns;
use holdfast_model::host::{PROTOCOL, priority};
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::Action;
use ipnet::IpNet;
use serde_json::Value;

const METRICS: u16 = 61678;
const INTROSPECTION: u16 = 61679;
const PATIENCE: Duration = Duration::from_secs(30);

/// Samples by name and labels, as they stand in the text.
type Samples = BTreeMap<String, f64>;

fn exchange(mut stream: impl Read + Write, path: &str) -> std::io::Result<(String, String)> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other(answer.clone()))?;
    Ok((head.to_owned(), body.to_owned()))
}

/// From inside the node.
fn get(node: &NodeUnderTest, address: &str, port: u16, path: &str) -> std::io::Result<(String, String)> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
    let stream = netns::run_in(&node.netns().unwrap(), connect).map_err(std::io::Error::other)??;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    exchange(stream, path)
}

fn scrape(node: &NodeUnderTest) -> Samples {
    let (head, body) = get(node, "127.0.0.1", METRICS, "/metrics").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("version=0.0.4"), "{head}");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    body.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

/// Waits until the metrics say so; they are a second old at most.
fn scraped_until(node: &NodeUnderTest, what: &str, is_so: impl Fn(&Samples) -> bool) -> Samples {
    let settled = wait_for(what, PATIENCE, || is_so(&scrape(node)));
    let samples = scrape(node);
    settled.unwrap_or_else(|error| panic!("{error}: {samples:#?}\n{}", node.log()));
    samples
}

fn json(node: &NodeUnderTest, path: &str) -> Value {
    let (head, body) = get(node, "127.0.0.1", INTROSPECTION, path).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn metrics_and_introspection_tell_what_ec2_and_the_ledger_say() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    node.set("WARM_IP_TARGET", "3").set("IP_COOLDOWN_PERIOD", "300").start_ready().unwrap();
    let runner = node.runner();
    let pods: Vec<RunningPod> =
        ["one", "two", "three"].iter().map(|name| rig.run_pod(&runner, name).unwrap()).collect();
    runner.del(&pods[2].pod).unwrap().ok().unwrap();

    let samples = scraped_until(&node, "settled", |samples| {
        samples[r#"holdfast_pool_addresses{state="cooling"}"#] == 1.0
            && samples[r#"awscni_ipamd_action_inprogress{fn="increaseDatastorePool"}"#] == 0.0
    });
    // What EC2 has, seen past the daemon.
    let enis = rig.admin().enis_of(node.instance()).unwrap();
    let secondary = enis.iter().map(|eni| eni.secondary_ips().count()).sum::<usize>();
    assert_eq!(samples["awscni_eni_allocated"], f64::from(u32::try_from(enis.len()).unwrap()));
    assert_eq!(samples["awscni_total_ip_addresses"], f64::from(u32::try_from(secondary).unwrap()));
    assert_eq!(samples["awscni_assigned_ip_addresses"], 2.0);
    // An m5.large has three ENIs of ten addresses.
    assert_eq!((samples["awscni_eni_max"], samples["awscni_ip_max"]), (3.0, 27.0));
    let per_eni = |begin: &str| -> f64 {
        samples.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, value)| value).sum()
    };
    assert_eq!((per_eni("awscni_assigned_ip_per_eni"), per_eni("awscni_assigned_ip_per_cidr")), (2.0, 2.0));
    // POOL-ACCOUNT.
    let capacity = 10.0 * samples["awscni_eni_allocated"];
    assert_eq!(per_eni("holdfast_pool_addresses") + samples["holdfast_pool_room_addresses"], capacity);
    assert_eq!(samples["awscni_add_ip_req_count"], 3.0);
    assert_eq!(samples[r#"awscni_del_ip_req_count{reason="PodDeleted"}"#], 1.0);
    assert_eq!(samples[r#"holdfast_add_duration_seconds_count{outcome="added"}"#], 3.0);
    assert_eq!(samples["pod_network_setup_latency_count"], 3.0);
    for phase in ["wait", "commit", "wire"] {
        let of = |part: &str| {
            samples[&format!(r#"holdfast_add_phase_duration_seconds_{part}{{phase="{phase}"}}"#)]
        };
        assert_eq!(of("count"), 3.0, "{phase}");
        assert!(of("sum") > 0.0, "{phase} took no time at all");
    }
    assert_eq!(
        samples["awscni_ipamd_startup_duration_seconds_count{success=\"true\",with_api_server=\"false\",failure_reason=\"\"}"],
        1.0
    );
    assert_eq!(samples[r#"awscni_ipamd_node_initialization_duration_seconds_count{success="true"}"#], 1.0);
    assert_eq!(samples["holdfast_invariant_violations"], 0.0);
    assert!(samples["holdfast_ledger_size_bytes"] > 4096.0 && samples["holdfast_ledger_commits_total"] > 0.0);
    assert!(!samples.contains_key("holdfast_api_server_reachable"), "this node is in no cluster");
    // Each call that the box has heard was counted.
    let calls = rig.admin().calls().unwrap();
    let heard = calls.iter().filter(|call| call.action == Action::AssignPrivateIpAddresses).count();
    let told =
        samples.get(r#"awscni_ec2api_req_count{fn="AssignPrivateIpAddresses"}"#).copied().unwrap_or(0.0);
    assert_eq!(told, f64::from(u32::try_from(heard).unwrap()));

    // By all of its addresses, and of introspection only from here.
    let own = node.address().unwrap().to_string();
    assert!(get(&node, &own, METRICS, "/metrics").is_ok());
    assert!(get(&node, &own, INTROSPECTION, "/").is_err(), "introspection is the node's own");
    let shown = json(&node, "/v1/enis");
    assert_eq!(shown["0"]["AssignedIPs"], 2);
    assert_eq!(shown["0"]["TotalIPs"], secondary);
    for eni in &enis {
        let eni_shown = &shown["0"]["ENIs"][eni.network_interface_id.to_string()];
        assert_eq!(eni_shown["DeviceNumber"], eni.attachment.as_ref().unwrap().device_index);
        for ip in eni.secondary_ips() {
            assert_eq!(eni_shown["AvailableIPv4Cidrs"][format!("{ip}/32")]["Cidr"]["IP"], ip.to_string());
        }
    }
    let leased = pods[0].address.to_string();
    let text = shown.to_string();
    assert!(
        text.contains(&format!(r#""Address":"{leased}""#)) && text.contains(r#""k8sPodName":"one""#),
        "{text}"
    );
    assert!(json(&node, "/v1/pods")["AvailableCommands"].is_array());
    assert_eq!(json(&node, "/v1/ipamd-env-settings")["WARM_IP_TARGET"], 3);

    failures_and_repairs_are_counted(&rig, &node, &pods[0]);
}

fn failures_and_repairs_are_counted(rig: &Rig, node: &NodeUnderTest, pod: &RunningPod) {
    let before = scrape(node);
    let own = IpNet::from(std::net::IpAddr::V4(pod.address));
    let rule = Rule { to: Some(own), protocol: PROTOCOL, ..Rule::new(priority::TO_POD, 0) };
    netns::socket_in(&node.netns().unwrap()).unwrap().apply(&Change::DeleteRule(rule)).unwrap();
    let repaired = |samples: &Samples| samples[r#"holdfast_drift_repaired_total{kind="pod"}"#];
    scraped_until(node, "repaired", |samples| repaired(samples) == repaired(&before) + 1.0);

    let deny = Fault::new(FaultKind::Deny).on(Action::AssignPrivateIpAddresses);
    rig.admin().set_fault(&deny).unwrap();
    let runner = node.runner();
    // The warm ones, and one that there is none for.
    let mut more = Vec::new();
    while let Ok(result) = runner.add(&rig.pod(&format!("more-{}", more.len())).unwrap()).unwrap().result {
        more.push(result);
        assert!(more.len() < 30, "there is no end to the addresses");
    }
    let samples =
        scraped_until(node, "short", |samples| samples[r#"holdfast_status{status="short"}"#] == 1.0);
    let denied =
        r#"awscni_aws_api_error_count{api="AssignPrivateIpAddresses",error="UnauthorizedOperation"}"#;
    assert!(samples[denied] >= 1.0, "{samples:#?}");
    assert!(samples[r#"awscni_ipamd_error_count{fn="increaseIPPoolAllocIPAddressesFailed"}"#] >= 1.0);
    assert_eq!(samples["awscni_no_available_ip_addresses"], 1.0);
    assert_eq!(samples[r#"holdfast_refusal{reason="MissingIAMPermissions"}"#], 1.0);
}

/// A port that somebody has, ports that nobody wants, and a socket.
#[test]
fn a_daemon_serves_pods_whatever_becomes_of_its_ports() {
    let rig = Rig::up(&scenario(&[("node-a", "m5.large")])).unwrap();
    let mut node = rig.node("node-a").unwrap();
    let bind = || TcpListener::bind(("0.0.0.0", METRICS));
    let taken = netns::run_in(&node.netns().unwrap(), bind).unwrap().unwrap();
    let socket = rig.dir().join("introspection.sock");
    node.set("INTROSPECTION_BIND_ADDRESS", &format!("unix:{}", socket.display())).start_ready().unwrap();
    let pod = rig.run_pod(&node.runner(), "one").unwrap();
    assert!(node.log().contains("metrics cannot be served"), "{}", node.log());
    let (_, body) = exchange(UnixStream::connect(&socket).unwrap(), "/v1/enis").unwrap();
    assert!(body.contains(&pod.address.to_string()), "{body}");
    drop(taken);
    let served = || get(&node, "127.0.0.1", METRICS, "/metrics").is_ok();
    wait_for("served once the port is free", PATIENCE, served).unwrap();
    assert_eq!(scrape(&node)["awscni_assigned_ip_addresses"], 1.0);

    node.terminate().unwrap();
    assert!(!socket.exists(), "its file goes with the daemon");
    node.set("DISABLE_METRICS", "true").set("DISABLE_INTROSPECTION", "true").start_ready().unwrap();
    assert!(get(&node, "127.0.0.1", METRICS, "/metrics").is_err());
    assert!(UnixStream::connect(&socket).is_err());
}
