//! Configurations, variables and settings that say nothing, or something wrong: a clear error, with the key.

use std::fs::File;

use holdfast_chaos_tests::cni::Runner;
use serde_json::{Value, json};

use crate::{code, new_node, one_node, refused, still_serves};

#[test]
fn wrong_configurations_and_variables_are_refused_with_words() {
    let (rig, mut node) = one_node();
    let pod = rig.pod("pod").unwrap();
    let netns = pod.path().to_str().unwrap().to_owned();
    let variables = Runner::variables(&pod);
    let mut good: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    good.push(("CNI_NETNS", &netns));
    let runner = node.runner();
    let conf = |change: fn(&mut Value)| {
        let mut conf = runner.conf().clone();
        change(&mut conf);
        conf.to_string().into_bytes()
    };
    let add = |stdin: &[u8]| refused(runner.raw("ADD", &good, stdin).unwrap());
    for (stdin, wanted) in [
        (b"{\"name\": ".to_vec(), code::DECODING_FAILURE),
        (Vec::new(), code::DECODING_FAILURE),
        (b"[]".to_vec(), code::INVALID_CONFIG),
        (conf(|conf| conf["name"] = json!("../etc")), code::INVALID_CONFIG),
        (conf(|conf| conf["socket"] = json!("relative")), code::INVALID_CONFIG),
        (conf(|conf| conf["cniVersion"] = json!("9.9.9")), code::INCOMPATIBLE_VERSION),
    ] {
        let failure = add(&stdin);
        assert_eq!(failure.code, wanted, "{}: {failure:?}", String::from_utf8_lossy(&stdin));
        assert!(!failure.msg.is_empty());
    }
    // A namespace that is missing, is none, or is the node's own.
    let stdin = conf(|_| {});
    let plain = rig.dir().join("plain");
    File::create(&plain).unwrap();
    let own = node.pid().map(|pid| format!("/proc/{pid}/ns/net")).unwrap();
    let mounts = format!("/proc/{}/ns/mnt", std::process::id());
    for path in ["/nonexistent/netns", plain.to_str().unwrap(), "", own.as_str(), mounts.as_str()] {
        let variables: Vec<_> = good
            .iter()
            .map(|(name, value)| (*name, if *name == "CNI_NETNS" { path } else { value }))
            .collect();
        let failure = refused(runner.raw("ADD", &variables, &stdin).unwrap());
        assert_eq!(failure.code, code::INVALID_ENVIRONMENT, "{path:?}: {failure:?}");
        if path == own {
            assert!(failure.details.contains("the host's own"), "{failure:?}");
        }
    }
    // Nobody knows this container: DEL has nothing to do, CHECK says so.
    let unknown = rig.pod("unknown").unwrap();
    runner.del(&unknown).unwrap().ok().unwrap();
    runner.del_again(&unknown).unwrap().ok().unwrap();
    assert_eq!(refused(runner.check(&unknown).unwrap()).code, code::CHECK_FAILED);
    // A pod that is not as it was set up fails its CHECK.
    runner.add(&pod).unwrap().ok().unwrap();
    runner.check(&pod).unwrap().ok().unwrap();
    let mut foreign = runner.conf().clone();
    foreign["prevResult"] = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "192.0.2.1/32" }] });
    let failure = refused(runner.raw("CHECK", &good, foreign.to_string().as_bytes()).unwrap());
    assert_eq!(failure.code, 102, "{failure:?}");
    assert!(failure.details.contains("192.0.2.1"), "{failure:?}");
    runner.del(&pod).unwrap().ok().unwrap();
    still_serves(&rig, &mut node);
    assert!(node.wait_state("empty", |ledger| ledger.leases.is_empty()).is_ok(), "nothing is left over");
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let (_rig, mut node) = new_node();
    node.set("IP_COOLDOWN_PERIOD", "soon").set("AWS_VPC_ENI_MTU", "1").set("ENABLE_IPv6", "true");
    node.set("WARM_IP_TARGET", "some");
    let output = node.verb(&["run"]).unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for name in ["IP_COOLDOWN_PERIOD", "AWS_VPC_ENI_MTU", "ENABLE_IPv6", "WARM_IP_TARGET"] {
        assert!(said.contains(name), "{name} is not in {said}");
    }
}
