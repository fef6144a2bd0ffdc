use holdfast_wire::cni::conf::NetConf;

use super::*;

pub(crate) fn wanted() -> Wanted {
    Wanted {
        version: CniVersion::V040,
        veth_prefix: "eni".into(),
        mtu: 9001,
        log_file: "/var/log/aws-routed-eni/plugin.log".into(),
        log_level: "DEBUG".into(),
        enforcing_mode: "strict".into(),
        socket: DEFAULT_SOCKET.into(),
        spool: DEFAULT_SPOOL.into(),
        bandwidth: false,
        without_ipv6: false,
        template: None,
    }
}

fn types(list: &Value) -> Vec<&str> {
    list["plugins"].as_array().unwrap().iter().map(|plugin| plugin["type"].as_str().unwrap()).collect()
}

/// What a runtime hands the plugin: its part, with the list's name and version.
fn handed(list: &Value) -> NetConf {
    let mut own = list["plugins"][0].clone();
    own["name"] = list["name"].clone();
    own["cniVersion"] = list["cniVersion"].clone();
    NetConf::parse(own.to_string().as_bytes()).unwrap()
}

#[test]
fn ours_is_what_our_plugin_reads() {
    let wanted = Wanted { mtu: 1500, veth_prefix: "pod".into(), ..wanted() };
    let list: Value = serde_json::from_str(&wanted.text(|_| true).unwrap()).unwrap();
    assert_eq!((&list["name"], &list["cniVersion"]), (&json!("aws-cni"), &json!("0.4.0")));
    assert_eq!(types(&list), ["aws-cni", "portmap"]);
    let handed = handed(&list);
    let link = handed.pod_link().unwrap();
    assert_eq!((link.mtu, link.veth_prefix.to_string()), (1500, "pod".to_owned()));
    assert_eq!(handed.socket().unwrap(), Path::new(DEFAULT_SOCKET));
    assert_eq!(list["plugins"][0].get("socket"), None, "the usual place needs no words");
}

#[test]
fn where_the_daemon_is_elsewhere_the_plugin_is_told() {
    let wanted = Wanted { socket: "/run/other/cni.sock".into(), spool: "/var/other".into(), ..wanted() };
    let list: Value = serde_json::from_str(&wanted.text(|_| true).unwrap()).unwrap();
    assert_eq!(handed(&list).socket().unwrap(), Path::new("/run/other/cni.sock"));
    assert_eq!(handed(&list).spool().unwrap(), Path::new("/var/other"));
}

#[test]
fn other_plugins_are_chained_when_they_are_asked_for() {
    let wanted = Wanted { bandwidth: true, without_ipv6: true, version: CniVersion::V110, ..wanted() };
    let list: Value = serde_json::from_str(&wanted.text(|_| true).unwrap()).unwrap();
    assert_eq!(types(&list), ["aws-cni", "portmap", "bandwidth", "tuning"]);
    assert_eq!(list["cniVersion"], "1.1.0");
    assert_eq!(list["plugins"][3]["sysctl"].as_object().unwrap().len(), 3);
}

#[test]
fn a_users_own_is_taken_with_its_gaps_filled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("10-aws.conflist");
    let of = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Wanted { template: Some(path.clone()), socket: "/run/x.sock".into(), ..wanted() }.text(|_| true)
    };
    let text = r#"{"cniVersion":"1.0.0","name":"mine","plugins":[
        {"type":"aws-cni","vethPrefix":"__VETHPREFIX__","mtu":"__MTU__","pluginLogFile":"__PLUGINLOGFILE__"},
        {"type":"egress-cni","enabled":"__EGRESSPLUGINENABLED__","ipam":{"ranges":[[{"subnet":"__EGRESSPLUGINIPAMSUBNET__"}]]}},
        {"type":"mine"}]}"#;
    let list: Value = serde_json::from_str(&of(text).unwrap()).unwrap();
    assert_eq!((types(&list), &list["name"]), (vec!["aws-cni", "mine"], &json!("mine")));
    assert_eq!(list["plugins"][0]["mtu"], "9001");
    assert_eq!(list["plugins"][0]["socket"], "/run/x.sock");
    for (text, words) in [
        ("{", "is no JSON"),
        (r#"{"plugins":[]}"#, "names no plugin of type aws-cni"),
        (r#"{"name":"x"}"#, "has no list of plugins"),
    ] {
        let refused = format!("{:#}", of(text).unwrap_err());
        assert!(refused.contains(words) && refused.contains("10-aws.conflist"), "{refused}");
    }
    std::fs::remove_file(&path).unwrap();
    let absent = Wanted { template: Some(path), ..wanted() }.text(|_| true);
    assert!(format!("{:#}", absent.unwrap_err()).contains("reading"));
}

#[test]
fn what_is_not_among_the_runtimes_plugins_is_not_named() {
    let wanted = Wanted { bandwidth: true, without_ipv6: true, ..wanted() };
    for (there, named) in [
        ("", vec!["aws-cni"]),
        ("portmap", vec!["aws-cni", "portmap"]),
        ("tuning", vec!["aws-cni", "tuning"]),
    ] {
        let list: Value = serde_json::from_str(&wanted.text(|name| name == there).unwrap()).unwrap();
        assert_eq!(types(&list), named);
    }
}
