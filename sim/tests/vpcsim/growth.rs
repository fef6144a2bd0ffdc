//! The VPC gets blocks and subnets while the box runs.

use serde_json::Value;

use crate::up::{Up, alone, traces, vpcsim, well};

#[test]
fn the_vpc_gets_blocks_and_subnets_while_it_runs() {
    let run_dir = alone();
    let before = traces(run_dir.path());
    let mut up = Up::start(run_dir.path(), "growing");
    let ask = |arguments: &[&str]| vpcsim(run_dir.path(), "growing", arguments);
    let refused = |arguments: &[&str], why: &str| {
        let answer = ask(&[&["vpc"], arguments].concat());
        assert!(!answer.status.success());
        assert!(String::from_utf8_lossy(&answer.stderr).contains(why), "{answer:?} should say {why:?}");
    };
    let add_c = ["add-subnet", "c", "--zone", "us-west-2a", "--cidr", "10.9.0.0/20"];
    refused(&add_c, "subnet \"c\": InvalidParameterValue: The CIDR '10.9.0.0/20' is not within the VPC");
    assert_eq!(well(ask(&["vpc", "add-cidr", "10.9.0.0/16"])), "");
    let id = well(ask(&[&["vpc"], &add_c[..]].concat()));
    let state: Value = serde_json::from_str(&well(ask(&["admin", "state"]))).unwrap();
    let subnets = state["subnets"].as_array().unwrap();
    let made = subnets.iter().find(|subnet| subnet["subnet_id"] == id.trim()).unwrap();
    assert_eq!(
        (&made["cidr_block"], &made["availability_zone"]),
        (&"10.9.0.0/20".into(), &"us-west-2a".into())
    );
    assert_eq!(state["vpcs"][0]["cidr_blocks"][2], "10.9.0.0/16");

    // Nodes are added to it by its name.
    well(ask(&[
        "node",
        "add",
        "late",
        "--subnet",
        "c",
        "--address",
        "10.9.0.77",
        "--sysctls",
        r#"{"rp_filter": 1}"#,
    ]));
    let tell = "import socket
a = socket.create_connection(('198.51.100.10', 7777), 5)
print(a.recv(64).decode().split()[0])";
    assert_eq!(well(ask(&["exec", "late", "python3", "-c", tell])).trim(), "10.9.0.77");
    let rp_filter = ask(&["exec", "late", "cat", "/proc/sys/net/ipv4/conf/ens5/rp_filter"]);
    assert_eq!(well(rp_filter).trim(), "1");

    refused(&add_c, &format!("there is a subnet \"c\" already: {}", id.trim()));
    let add = |zone: &'static str, cidr: &'static str| ["add-subnet", "d", "--zone", zone, "--cidr", cidr];
    refused(&add("eu-west-1a", "10.9.16.0/20"), "parameter availabilityZone is invalid");
    refused(&add("us-west-2a", "10.9.0.0/24"), "conflicts with another subnet");
    refused(&add("us-west-2a", "10.9.16.0"), "invalid value '10.9.16.0' for '--cidr <CIDR>'");
    refused(&["add-subnet", "d", "--zone", "us-west-2a"], "--cidr <CIDR>");
    refused(&["add-subnet", "d", "--zone", "us-west-2a", "--ipv6", "2600:1f13:a::/64"], "The IPv6 CIDR");
    refused(&["add-cidr", "10.0.128.0/20"], "add 10.0.128.0/20: InvalidParameterValue: The CIDR");
    refused(&["add-cidr", "10.0.0.0/8"], "The CIDR '10.0.0.0/8' is invalid");
    refused(&["add-cidr", "198.51.100.0/24"], "the internet host 198.51.100.10 lies inside the VPC's");
    well(ask(&["down"]));
    assert!(up.end().success());
    assert_eq!(traces(run_dir.path()), before);
}
