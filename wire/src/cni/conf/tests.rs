use proptest::prelude::*;
use serde_json::json;

use super::*;

fn conf(value: Value) -> NetConf {
    NetConf::parse(value.to_string().as_bytes()).unwrap()
}

/// What the incumbent's conflist gives to its plugin, with what a runtime adds.
#[test]
fn the_incumbents_configuration_is_read_whole() {
    let conf = conf(json!({
        "cniVersion": "0.4.0", "name": "aws-cni", "type": "aws-cni", "vethPrefix": "eni", "mtu": "1500",
        "podSGEnforcingMode": "standard", "pluginLogFile": "/var/log/x.log", "pluginLogLevel": "Warn",
        "capabilities": {"io.kubernetes.cri.pod-annotations": true},
        "runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"k8s.amazonaws.com/nicConfig": "multi-nic-attachment"}},
        "prevResult": {"ips": [{"address": "10.0.5.17/32", "interface": 1}, {"address": "odd"}, 7]},
        "somebody's": {"own": ["key"]},
    }));
    assert_eq!(conf.version().unwrap(), CniVersion::V0_4_0);
    assert_eq!(conf.network().unwrap().as_str(), "aws-cni");
    let link = conf.pod_link().unwrap();
    assert_eq!((link.mtu, link.veth_prefix.as_str()), (1500, "eni"));
    assert_eq!(link.enforcing_mode, EnforcingMode::Standard);
    assert_eq!((conf.log_file(), conf.log_level()), (Some("/var/log/x.log"), Some("Warn")));
    assert_eq!(conf.pod_annotation("k8s.amazonaws.com/nicConfig"), Some("multi-nic-attachment"));
    assert!(conf.on_every_card());
    assert_eq!(conf.previous_addresses(), ["10.0.5.17".parse::<IpAddr>().unwrap()]);
    assert_eq!(conf.socket().unwrap(), PathBuf::from(DEFAULT_SOCKET));
    assert_eq!(conf.spool().unwrap(), PathBuf::from(DEFAULT_SPOOL));
    assert_eq!(conf.deadline().unwrap(), None);
}

#[test]
fn absent_keys_take_the_incumbents_defaults() {
    let link = conf(json!({})).pod_link().unwrap();
    assert_eq!(
        (link.mtu, link.veth_prefix.as_str(), link.enforcing_mode),
        (9001, "eni", EnforcingMode::Strict)
    );
}

#[test]
fn an_mtu_is_a_number_or_text_and_a_senseless_one_is_the_default() {
    for (given, want) in [
        (json!(1400), 1400),
        (json!("1400"), 1400),
        (json!(576), 576),
        (json!(9001), 9001),
        (json!(575), 9001),
        (json!("9002"), 9001),
        (json!("big"), 9001),
        (json!(-1), 9001),
        (json!(u64::MAX), 9001),
        (json!([1]), 9001),
    ] {
        assert_eq!(conf(json!({"mtu": given.clone()})).pod_link().unwrap().mtu, want, "{given}");
    }
}

#[test]
fn each_wrong_key_is_named_with_the_code_of_its_kind() {
    type Read = fn(&NetConf) -> Option<ConfError>;
    let cases: [(Value, Read, u32, &str); 11] = [
        (json!({}), |c| c.version().err(), 1, "0.1.0"),
        (json!({"cniVersion": "2.0.0"}), |c| c.version().err(), 1, "2.0.0"),
        (json!({"cniVersion": 1}), |c| c.version().err(), 7, "cniVersion"),
        (json!({}), |c| c.network().err(), 7, "name: missing"),
        (json!({"name": "../etc"}), |c| c.network().err(), 7, "name"),
        (json!({"vethPrefix": "toolong"}), |c| c.pod_link().err(), 7, "vethPrefix"),
        (json!({"podSGEnforcingMode": "lax"}), |c| c.pod_link().err(), 2, "podSGEnforcingMode \"lax\""),
        (json!({"socket": "relative"}), |c| c.socket().err(), 7, "socket"),
        (json!({"spool": 5}), |c| c.spool().err(), 7, "spool"),
        (json!({"deadlineMs": 0}), |c| c.deadline().err(), 7, "deadlineMs"),
        (json!({"deadlineMs": 600_001}), |c| c.deadline().err(), 7, "deadlineMs"),
    ];
    for (value, read, code, part) in cases {
        let error = read(&conf(value.clone())).unwrap_or_else(|| panic!("{value} was taken"));
        assert_eq!(error.code(), code, "{value}");
        assert!(error.to_string().contains(part), "{part} not in {error}");
    }
    assert_eq!(NetConf::parse(b"{").unwrap_err().code(), 6);
    assert_eq!(NetConf::parse(b"").unwrap_err().code(), 6);
    assert_eq!(NetConf::parse(b"[]").unwrap_err().code(), 7);
}

#[test]
fn no_list_is_an_empty_one_as_libcni_writes_it() {
    for none in
        [json!({}), json!({"cni.dev/valid-attachments": null}), json!({"cni.dev/valid-attachments": []})]
    {
        assert!(conf(none.clone()).valid_attachments().unwrap().is_empty(), "{none}");
    }
}

#[test]
fn a_command_is_refused_in_a_version_that_does_not_have_it() {
    let of = |version| conf(json!({ "cniVersion": version })).version_since(CniVersion::V0_4_0, "CHECK");
    let error = of("0.3.1").unwrap_err();
    assert_eq!(error.code(), 1);
    assert_eq!(error.to_string(), "cniVersion 0.3.1 does not have CHECK: it came with 0.4.0");
    assert_eq!(of("0.4.0").unwrap(), CniVersion::V0_4_0);
    assert_eq!(of("9.9.9").unwrap_err().code(), 1);
}

#[test]
fn gc_takes_no_list_that_it_cannot_read() {
    let attachment = json!({"containerID": "3f", "ifname": "eth0", "ignored": 1});
    let one = |key: &str| conf(json!({key: [attachment.clone()]})).valid_attachments().unwrap();
    assert_eq!(one("cni.dev/valid-attachments"), one("cni.dev/attachments"));
    assert_eq!(one("cni.dev/attachments").len(), 1);
    assert!(conf(json!({"cni.dev/valid-attachments": []})).valid_attachments().unwrap().is_empty());
    for bad in [
        json!({"cni.dev/valid-attachments": {}}),
        json!({"cni.dev/valid-attachments": [attachment.clone(), {"containerID": "3f"}]}),
        json!({"cni.dev/valid-attachments": [{"containerID": "/", "ifname": "eth0"}]}),
    ] {
        assert!(conf(bad.clone()).valid_attachments().is_err(), "{bad}");
    }
}

fn touch_everything(conf: &NetConf) {
    drop(conf.version());
    drop(conf.network());
    drop(conf.socket());
    drop(conf.spool());
    drop(conf.deadline());
    drop(conf.pod_link());
    drop(conf.valid_attachments());
    drop(conf.previous_addresses());
    let _unused = (conf.version_text(), conf.log_file(), conf.log_level(), conf.pod_annotation("x"));
}

/// JSON of any small shape.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|m| Value::from(Map::from_iter(m))),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(conf) = NetConf::parse(&bytes) {
            touch_everything(&conf);
        }
    }

    #[test]
    fn any_value_under_a_known_key_is_read_or_refused(
        key in prop::sample::select(vec![
            "cniVersion", "name", "mtu", "vethPrefix", "podSGEnforcingMode", "pluginLogFile", "pluginLogLevel",
            "runtimeConfig", "prevResult", "cni.dev/valid-attachments", "cni.dev/attachments", "socket", "spool", "deadlineMs",
        ]),
        value in any_json(),
    ) {
        touch_everything(&conf(json!({key: value})));
    }
}

/// As the incumbent reads it, to the letter; a runtime that passes no annotations asks for one interface.
#[test]
fn what_is_not_the_very_word_asks_for_one_interface() {
    for config in [
        json!({}),
        json!({"runtimeConfig": null}),
        json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {}}}),
        json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"k8s.amazonaws.com/nicConfig": ""}}}),
        json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"k8s.amazonaws.com/nicConfig": "Multi-Nic-Attachment"}}}),
        json!({"runtimeConfig": {"io.kubernetes.cri.pod-annotations": {"k8s.amazonaws.com/nicConfig": ["multi-nic-attachment"]}}}),
    ] {
        assert!(!NetConf::parse(config.to_string().as_bytes()).unwrap().on_every_card(), "{config}");
    }
}
