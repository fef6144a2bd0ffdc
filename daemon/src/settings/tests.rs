use std::time::Duration;

use holdfast_model::config::Origin;
use holdfast_model::eni_config::AppliedEniConfig;
use holdfast_model::pool::Family;
use holdfast_model::warm::WarmMode;
use serde_json::json;

use super::*;

fn from(pairs: &[(&str, &str)]) -> Read {
    with(pairs, &ClusterSettings::default())
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    let read = from(&[]);
    assert_eq!(*read.config, Config::default());
    assert!(read.warnings().is_empty() && read.refused.is_empty());
    assert_eq!(read.log_level, LevelFilter::INFO);
}

/// EC2 would refuse a creation with any of them, and the ledger a record that is as large as one can make it.
#[test]
fn tags_that_ec2_does_not_take_are_left_out_and_told() {
    let (key, value) = ("k".repeat(129), "v".repeat(70_000));
    let text = format!(r#"{{"{key}":"a","":"b","aws:x":"c","note":"{value}","team":"web"}}"#);
    let (kept, wrong) = tags(&text).unwrap();
    assert_eq!(kept.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "web".to_owned())]);
    let wrong = wrong.join("; ");
    for words in ["129 characters", "0 characters", "\"aws:x\" is reserved", "\"note\" has 70000"] {
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
    let most = ("k".repeat(128), "ä".repeat(256));
    let text = format!(r#"{{"{}":"{}"}}"#, most.0, most.1);
    assert_eq!(tags(&text), Ok(([most].into(), Vec::new())));
    let many: BTreeMap<String, String> = (0..60).map(|n| (format!("k{n:02}"), String::new())).collect();
    let (kept, wrong) = tags(&serde_json::to_string(&many).unwrap()).unwrap();
    assert_eq!((kept.len(), wrong.len()), (45, 15));
}

#[test]
fn a_part_that_cannot_be_used_leaves_the_others() {
    let read = from(&[
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.168.1.1/16,fd00::/8, 10.0.0.0/8, ten"),
        ("ADDITIONAL_ENI_TAGS", r#"{"node.k8s.amazonaws.com/x":"y","team":"web"}"#),
        ("AWS_VPC_ENI_MTU", "1500"),
        ("POD_MTU", "9001"),
    ]);
    let ranges = ["192.168.0.0/16", "10.0.0.0/8"].map(|range| range.parse().unwrap());
    assert_eq!(read.config.snat_exclusions, Setting::from_environment(ranges.to_vec()));
    assert_eq!(read.config.extra_tags.value.keys().collect::<Vec<_>>(), ["team"]);
    assert_eq!(read.config.pod_mtu, Setting::from_environment(1500));
    assert!(read.refused.is_empty() && read.ignored.is_empty(), "{read:?}");
    let told = read.warnings();
    for (told, words) in
        told.iter().zip(["than the ENI's 1500", "fd00::/8", "\"ten\"", "node.k8s.amazonaws.com/x"])
    {
        assert!(told.contains(words) && told.ends_with("what is left is used"), "{words}: {told}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn a_level_that_is_none_is_told() {
    let read = from(&[("AWS_VPC_K8S_CNI_LOGLEVEL", "loud")]);
    assert_eq!(read.log_level, LevelFilter::INFO);
    assert!(read.warnings()[0].starts_with("AWS_VPC_K8S_CNI_LOGLEVEL=\"loud\": want trace"), "{read:?}");
    assert_eq!(from(&[("AWS_VPC_K8S_CNI_LOGLEVEL", "Fatal")]).log_level, LevelFilter::ERROR);
}

#[test]
fn settings_are_shown_under_the_names_by_which_they_are_set() {
    let shown = from(&[("WARM_IP_TARGET", "5"), ("IP_COOLDOWN_PERIOD", "7")]).by_name;
    assert_eq!(shown["WARM_IP_TARGET"], json!({ "value": 5, "origin": "Environment" }));
    assert_eq!(shown["WARM_ENI_TARGET"], json!({ "value": 1, "origin": "Default" }));
    assert_eq!(shown["IP_COOLDOWN_PERIOD"], json!({ "value": 7, "origin": "Environment" }));
    // Upstream's names, but for the families'.
    let variables = shown.keys().filter(|name| !name.starts_with("ENABLE_IPv"));
    assert!(variables.into_iter().all(|name| !name.contains(|c: char| c.is_lowercase())), "{shown:?}");
}

/// Or no interface could be made with it.
#[test]
fn a_cluster_is_called_as_a_tag_can_be() {
    let name = |text: &str| {
        let read = from(&[("CLUSTER_NAME", text)]);
        (read.config.cluster.value.clone(), read.ignored.len())
    };
    let longest = "é".repeat(256);
    for good in ["prod", "my cluster/1", &longest] {
        assert_eq!(name(good), (Some(good.to_owned()), 0));
    }
    for bad in ["a\0b", "a\nb", &format!("{longest}x")] {
        assert_eq!(name(bad), (None, 1), "{bad:?}");
    }
    let (kept, wrong) = tags(r#"{"a": "b", "c": "d\u0000", "e\n": "f"}"#).unwrap();
    assert_eq!((kept.len(), wrong.len()), (1, 2), "{wrong:?}");
}

/// From a minute to a day.
#[test]
fn ec2_is_read_neither_all_the_time_nor_never() {
    let name = "HOLDFAST_EC2_READ_INTERVAL";
    for (value, seconds) in [("60", 60), ("120", 120), ("86400", 86_400)] {
        let read = from(&[(name, value)]);
        assert!(read.refused.is_empty(), "{read:?}");
        let asked = Setting::from_environment(Duration::from_secs(seconds));
        assert_eq!(read.config.ec2_read_interval, asked);
        assert_eq!(read.by_name[name], json!({ "value": seconds, "origin": "Environment" }));
    }
    for value in ["0", "59", "86401", "2m", "-60"] {
        let read = from(&[(name, value)]);
        assert_eq!(read.refused.len(), 1, "{value}");
        assert_eq!(read.config.ec2_read_interval, Config::default().ec2_read_interval);
    }
    assert!(from(&[(name, "59")]).refused[0].to_string().ends_with("want 60 to 86400 seconds"));
}

#[test]
fn prefixes_of_other_interfaces_and_patterns_are_refused() {
    for prefix in ["eth", "ens", "vlan", "lo", "e%d"] {
        let read = from(&[("AWS_VPC_K8S_CNI_VETHPREFIX", prefix)]);
        assert_eq!(read.refused.len(), 1, "{prefix}");
    }
}

#[test]
fn what_upstreams_chart_sets_is_no_reason_to_complain_beyond_network_policy() {
    let read = from(&[
        ("ENABLE_IPv4", "true"),
        ("ENABLE_IPv6", "false"),
        ("ENABLE_PREFIX_DELEGATION", "false"),
        ("ENABLE_POD_ENI", "false"),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
        ("WARM_ENI_TARGET", "1"),
        ("WARM_PREFIX_TARGET", "1"),
        ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
    ]);
    assert!(read.ignored.is_empty() && read.refused.is_empty(), "{read:?}");
    assert_eq!(read.unsupported.len(), 1);
}

#[test]
fn upstreams_names_are_read() {
    let read = from(&[
        ("WARM_IP_TARGET", "5"),
        ("MINIMUM_IP_TARGET", "10"),
        ("WARM_PREFIX_TARGET", "2"),
        ("ENABLE_PREFIX_DELEGATION", "1"),
        ("MAX_ENI", "-1"),
        ("IP_COOLDOWN_PERIOD", "7"),
        ("AWS_VPC_ENI_MTU", "1500"),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "T"),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "False"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.168.1.1/16, 10.0.0.0/8"),
        ("ADDITIONAL_ENI_TAGS", r#"{"team":"web"}"#),
    ]);
    assert!(read.ignored.is_empty() && read.refused.is_empty(), "{read:?}");
    let config = read.config;
    assert_eq!(
        config.warm.value,
        WarmTargets { warm_enis: 1, warm_ips: 5, minimum_ips: 10, warm_prefixes: 2 }
    );
    assert_eq!(config.warm.origin, Origin::Environment);
    assert_eq!((config.mode.value, config.mode.origin), (AddressMode::Prefix, Origin::Environment));
    assert_eq!(config.max_enis.value, None);
    assert_eq!(config.cooldown.value, Duration::from_secs(7));
    assert_eq!((config.eni_mtu.value, config.pod_mtu.value), (1500, 1500), "the pod's follows the ENI's");
    assert!(config.external_snat.value && !config.node_ports.value);
    assert_eq!(config.snat_exclusions.value.len(), 2);
    assert_eq!(config.extra_tags.value["team"], "web");
}

const IPV6: [(&str, &str); 3] =
    [("ENABLE_IPv4", "false"), ("ENABLE_IPv6", "true"), ("ENABLE_PREFIX_DELEGATION", "true")];

#[test]
fn ipv6_is_asked_for_with_prefixes_and_without_ipv4() {
    let read = from(&IPV6);
    assert!(read.refused.is_empty() && read.warnings().is_empty(), "{read:?}");
    assert_eq!(read.config.family, Setting::from_environment(Family::V6));
    assert_eq!(from(&IPV6[1..]).config.family.value, Family::V6, "who asks for one has decided on the other");
    assert_eq!(from(&[]).config.family, Setting::default_of(Family::V4));
    assert_eq!(from(&[("ENABLE_IPv4", "true")]).config.family.value, Family::V4);
}

/// Each is refused with what is wrong and what to do: the daemon does not start with a network that nobody asked for.
#[test]
fn what_does_not_go_together_with_ipv6_is_refused_with_a_way_out() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let both = [("ENABLE_IPv4", "true"), IPV6[1], IPV6[2]];
    let with = |name, value| [IPV6[0], IPV6[1], IPV6[2], (name, value)];
    let (custom, off) = (with("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true"), with("DISABLE_POD_V6", "true"));
    let (eni, pod) = (with("AWS_VPC_ENI_MTU", "1000"), with("POD_MTU", "1279"));
    let cards = with("ENABLE_MULTI_NIC", "true");
    let cases: [Case<'_>; 8] = [
        (&both, "ENABLE_IPv6", "set ENABLE_IPv4 to false"),
        (&IPV6[..1], "ENABLE_IPv4", "set this to true, or ENABLE_IPv6 and ENABLE_PREFIX_DELEGATION"),
        (&IPV6[..2], "ENABLE_IPv6", "set ENABLE_PREFIX_DELEGATION to true"),
        (&custom, "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "custom networking is for IPv4"),
        (&cards, "ENABLE_MULTI_NIC", "of the first network card only"),
        (&off, "DISABLE_POD_V6", "turns IPv6 off in pods"),
        (&eni, "AWS_VPC_ENI_MTU", "1280 to 9001"),
        (&pod, "POD_MTU", "1280 to 9001"),
    ];
    for (given, name, words) in cases {
        let read = from(given);
        let told = |problem: &&Problem| problem.name == name && problem.to_string().contains(words);
        assert!(read.refused.iter().any(|problem| told(&problem)), "{given:?}: {read:?}");
        assert_eq!(read.config.family.value, Family::V4);
    }
    assert_eq!(from(&with("POD_MTU", "1280")).config.family.value, Family::V6);
}

#[test]
fn a_cluster_that_asks_for_both_families_stops_no_daemon() {
    let maps = ConfigMaps {
        amazon_vpc_cni: Some(data(&[("enable-ipv4", "true"), ("enable-ipv6", "true")])),
        ..ConfigMaps::default()
    };
    let (said, wrong) = of_cluster(&maps, &BTreeMap::new());
    let read = super::tests::with(&[("ENABLE_PREFIX_DELEGATION", "true")], &said);
    assert!(wrong.is_empty() && read.refused.is_empty(), "{wrong:?} {read:?}");
    assert_eq!((read.ignored.len(), read.config.family.value), (1, Family::V4), "{read:?}");
}

#[test]
fn how_many_are_free_is_learned_where_that_is_asked_for() {
    let read = from(&[("HOLDFAST_WARM_MODE", "Adaptive"), ("HOLDFAST_WARM_QUANTILE", "99.5%")]);
    assert!(read.warnings().is_empty() && read.refused.is_empty(), "{read:?}");
    assert_eq!(read.config.warm_mode.value, WarmMode::Adaptive);
    assert_eq!(read.by_name["HOLDFAST_WARM_MODE"]["value"], "adaptive");
    assert_eq!(read.by_name["HOLDFAST_WARM_QUANTILE"]["value"], "99.5 %");
    let wrong = from(&[("HOLDFAST_WARM_MODE", "learned"), ("HOLDFAST_WARM_QUANTILE", "0.999")]);
    assert_eq!(wrong.ignored.len(), 2, "{wrong:?}");
    assert_eq!(wrong.config.warm_mode, Config::default().warm_mode);
    assert_eq!(wrong.config.warm_quantile, Config::default().warm_quantile);
    // A group of nodes may have it alone.
    let maps = ConfigMaps {
        node_groups: Some(data(&[("spot", "selector=spot=yes\nHOLDFAST_WARM_MODE=adaptive")])),
        ..ConfigMaps::default()
    };
    let (said, wrong) = of_cluster(&maps, &data(&[("spot", "yes")]));
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(with(&[], &said).config.warm_mode.value, WarmMode::Adaptive);
}

#[test]
fn all_bad_values_are_reported_at_once() {
    let read = from(&[
        ("WARM_ENI_TARGET", "many"),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "yes"),
        ("ADDITIONAL_ENI_TAGS", r#"{"team":7}"#),
        ("IP_COOLDOWN_PERIOD", "-3"),
        ("AWS_VPC_ENI_MTU", "90000"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "eth"),
        ("HOLDFAST_LEDGER", "ledger.redb"),
        ("ENABLE_POD_ENI", "true"),
        ("NETWORK_POLICY_ENFORCING_MODE", "Strict"),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0x100"),
    ]);
    let names =
        |problems: &[Problem]| problems.iter().map(|problem| problem.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&read.ignored),
        ["WARM_ENI_TARGET", "AWS_VPC_K8S_CNI_EXTERNALSNAT", "ADDITIONAL_ENI_TAGS"]
    );
    assert_eq!(names(&read.unsupported), ["AWS_VPC_K8S_CNI_CONNMARK"]);
    assert_eq!(
        names(&read.refused),
        [
            "ENABLE_POD_ENI",
            "NETWORK_POLICY_ENFORCING_MODE",
            "AWS_VPC_ENI_MTU",
            "IP_COOLDOWN_PERIOD",
            "AWS_VPC_K8S_CNI_VETHPREFIX",
            "HOLDFAST_LEDGER"
        ]
    );
    assert_eq!(read.config.warm, Config::default().warm, "what is ignored leaves the default");
}

fn with(pairs: &[(&str, &str)], cluster: &ClusterSettings) -> Read {
    let value_of = |name: &str| pairs.iter().find(|(known, _)| *known == name);
    read(&Layers::new(|name: &str| value_of(name).map(|(_, value)| (*value).to_owned()), cluster))
}

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What is given beside the environment is written as people write it.
fn of_a_cluster() -> ClusterSettings {
    let maps = ConfigMaps {
        amazon_vpc_cni: Some(data(&[
            ("warm-ip-target", "2"),
            ("IP_COOLDOWN_PERIOD", "20"),
            ("MAX_ENI", "2"),
        ])),
        aws_node: Some(data(&[("WARM_IP_TARGET", "3"), ("MAX_ENI", "three")])),
        node_groups: Some(data(&[
            ("big", "selector=size=big\nWARM_IP_TARGET=10\nAWS_VPC_ENI_MTU=1500"),
            ("small", "selector=size=small\nWARM_IP_TARGET=1"),
        ])),
    };
    let (cluster, wrong) = of_cluster(&maps, &data(&[("size", "big")]));
    assert_eq!(wrong, []);
    cluster
}

#[test]
fn the_narrowest_word_counts_and_each_setting_says_whose_it_is() {
    let read = with(&[("IP_COOLDOWN_PERIOD", "7")], &of_a_cluster());
    let config = &read.config;
    assert_eq!((config.warm.value.warm_ips, config.warm.origin), (10, Origin::NodeGroup));
    assert_eq!((config.cooldown.value.as_secs(), config.cooldown.origin), (7, Origin::Environment));
    assert_eq!((config.eni_mtu.value, config.pod_mtu.value), (1500, 1500));
    assert_eq!((config.max_enis.value, config.max_enis.origin), (Some(2), Origin::ConfigMap));
    let told: Vec<String> = read.warnings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("MAX_ENI=\"three\" in ConfigMap aws-node: want a whole number"), "{told:?}");
    assert_eq!(
        read.by_name["WARM_IP_TARGET"],
        json!({ "value": 10, "origin": "NodeGroup", "given": "WARM_IP_TARGET in node group big", "amazon_vpc_cni_would_use": 0 })
    );
    assert_eq!(read.by_name["MAX_ENI"]["given"], "MAX_ENI in ConfigMap amazon-vpc-cni");
    assert_eq!(read.by_name["IP_COOLDOWN_PERIOD"], json!({ "value": 7, "origin": "Environment" }));
}

/// Its manifest sets seventeen variables in every cluster; nobody has asked for any of them.
#[test]
fn what_the_incumbents_manifest_sets_unasked_counts_less_than_the_cluster_and_more_than_nothing() {
    let unasked =
        [("AWS_VPC_ENI_MTU", "9001"), ("WARM_ENI_TARGET", "1"), ("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG")];
    let read = with(&unasked, &of_a_cluster());
    assert_eq!((read.config.eni_mtu.value, read.config.eni_mtu.origin), (1500, Origin::NodeGroup));
    assert_eq!(read.log_level, LevelFilter::DEBUG);
    assert_eq!(read.by_name["WARM_ENI_TARGET"], json!({ "value": 1, "origin": "Environment" }));
    let asked = with(&[("AWS_VPC_ENI_MTU", "9000")], &of_a_cluster());
    assert_eq!((asked.config.eni_mtu.value, asked.config.eni_mtu.origin), (9000, Origin::Environment));
}

/// Whoever pulls it is in a hurry.
#[test]
fn the_brake_is_pulled_by_any_word_that_is_not_none() {
    for (text, pulled, told) in [
        ("none", Brake::None, false),
        ("release", Brake::Release, false),
        (" ALL", Brake::All, false),
        ("relase", Brake::Release, true),
        ("true", Brake::Release, true),
    ] {
        let read = from(&[("HOLDFAST_BRAKE", text)]);
        assert_eq!((read.config.brake.value, !read.warnings().is_empty()), (pulled, told), "{text}");
        assert_eq!(read.by_name["HOLDFAST_BRAKE"]["value"], json!(pulled.to_string()));
        assert!(read.refused.is_empty(), "{text}");
    }
    assert_eq!(from(&[]).config.brake.value, Brake::None);
}

/// A slip in a ConfigMap would stop the daemons of all nodes.
#[test]
fn nothing_in_the_cluster_keeps_a_daemon_from_starting() {
    let maps = ConfigMaps {
        amazon_vpc_cni: Some(data(&[
            ("AWS_VPC_ENI_MTU", "9"),
            ("ENABLE_POD_ENI", "true"),
            ("enable-ipv6", "true"),
        ])),
        ..ConfigMaps::default()
    };
    let (cluster, wrong) = of_cluster(&maps, &BTreeMap::new());
    let read = with(&[], &cluster);
    assert_eq!((wrong, read.refused.len()), (Vec::new(), 0));
    assert_eq!(read.config.eni_mtu, Config::default().eni_mtu);
    let told = read.warnings().join("\n");
    for words in [
        "AWS_VPC_ENI_MTU=\"9\" in ConfigMap amazon-vpc-cni: want an MTU from 576 to 9001; what would hold without it holds",
        "enable-ipv6=\"true\" in ConfigMap amazon-vpc-cni",
        "ENABLE_POD_ENI=\"true\" in ConfigMap amazon-vpc-cni: this version knows no security groups for pods",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// Each variable is read; each is either a process's or a cluster's to set.
#[test]
fn of_each_variable_it_is_known_who_may_set_it() {
    let read: Vec<String> = from(&[]).by_name.keys().cloned().collect();
    let mut known: Vec<&str> = OF_THE_CLUSTER
        .iter()
        .chain(OF_THE_PROCESS)
        .chain(node::VARIABLES)
        .chain(cluster::VARIABLES)
        .chain(ports::VARIABLES)
        .copied()
        .collect();
    known.sort_unstable();
    assert_eq!(read, known);
    let of_the_pod = cluster::VARIABLES.iter().chain(ports::VARIABLES);
    let mut own = OF_THE_PROCESS.iter().chain(node::VARIABLES).chain(of_the_pod);
    assert!(!own.any(|name| is_for_clusters(name)));
}

/// The ledger keeps what the cluster said last.
#[test]
fn what_a_cluster_says_is_kept_and_read_back_whole() {
    let cluster = of_a_cluster();
    let kept = serde_json::to_string(&cluster).unwrap();
    assert_eq!(serde_json::from_str::<ClusterSettings>(&kept).unwrap(), cluster);
}

/// ConfigMaps may be a mebibyte each.
#[test]
fn a_layer_that_the_ledger_has_no_room_for_is_left_out_and_told() {
    let long = "x".repeat(ClusterSettings::MOST);
    let maps = ConfigMaps {
        amazon_vpc_cni: Some(data(&[("CLUSTER_NAME", &long), ("MAX_ENI", "2")])),
        aws_node: Some(data(&[("WARM_IP_TARGET", "3")])),
        node_groups: None,
    };
    let (cluster, wrong) = of_cluster(&maps, &BTreeMap::new());
    assert_eq!(cluster.layers.len(), 1);
    assert_eq!(with(&[], &cluster).config.warm.value.warm_ips, 3);
    let told = wrong[0].to_string();
    assert!(wrong.len() == 1 && told.contains("in ConfigMap amazon-vpc-cni: all that is said"), "{told}");
    assert!(told.len() < 500, "{told}");
}

/// Whoever mounts the wrong thing makes a mistake, not thirty thousand.
#[test]
fn what_is_told_of_mistakes_is_bounded_however_many_there_are() {
    let many: BTreeMap<String, String> =
        (0..3_000).map(|n| (format!("WARM_{n:05}"), "x".to_owned())).collect();
    let lines = |from: &str| (0..3_000).map(|n| format!("{from}{n}=1")).collect::<Vec<_>>().join("\n");
    let long = format!("selector=a\n{}", "y".repeat(100_000));
    let groups = [("a", format!("selector=a\n{}", lines("B_"))), ("b", long)];
    let without: Vec<(String, String)> =
        (0..3_000).map(|n| (format!("g{n}"), "MAX_ENI=1".to_owned())).collect();
    let maps = ConfigMaps {
        amazon_vpc_cni: Some(many.clone()),
        aws_node: Some(many),
        node_groups: Some(
            groups.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).chain(without).collect(),
        ),
    };
    let (cluster, wrong) = of_cluster(&maps, &data(&[("a", "")]));
    assert_eq!(cluster, ClusterSettings::default());
    let told: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert!((45..60).contains(&told.len()), "{}", told.len());
    assert!(told.iter().all(|told| told.len() < 600), "{told:?}");
    assert!(
        told.iter().any(|told| told.contains("in ConfigMap aws-node: this and 2983 more cannot be used")),
        "{told:?}"
    );

    let ranges = "10.0.0.0/8,".to_owned() + &"x,".repeat(5_000);
    let read = from(&[("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", &ranges)]);
    assert_eq!(read.config.snat_exclusions.value.len(), 1);
    assert!((2..20).contains(&read.left_out.len()), "{}", read.left_out.len());
    assert!(read.warnings().last().unwrap().contains("this and 4983 more"), "{:?}", read.warnings().last());
}

#[test]
fn the_api_server_is_found_as_kubelet_tells_or_as_the_incumbents_manifest_does() {
    let server = |pairs: &[(&str, &str)]| {
        let node = [("MY_NODE_NAME", "ip-10-0-0-4")];
        from(&[pairs, &node].concat()).api_server.map(|found| found.server)
    };
    assert_eq!(server(&[]), None);
    let usual = [("KUBERNETES_SERVICE_HOST", "172.20.0.1"), ("KUBERNETES_SERVICE_PORT", "6443")];
    assert_eq!(server(&usual).as_deref(), Some("https://172.20.0.1:6443"));
    assert_eq!(server(&[("KUBERNETES_SERVICE_HOST", "fd00::1")]).as_deref(), Some("https://[fd00::1]:443"));
    let with = |endpoint| server(&[&usual[..], &[("CLUSTER_ENDPOINT", endpoint)]].concat());
    assert_eq!(with("https://abc.eks.amazonaws.com/").as_deref(), Some("https://abc.eks.amazonaws.com"));
    assert_eq!(with("abc.eks.amazonaws.com").as_deref(), Some("https://abc.eks.amazonaws.com"));
    assert_eq!(with("http://abc").as_deref(), Some("https://172.20.0.1:6443"), "told, and left out");
    assert_eq!(from(&usual).api_server, None, "which node is this?");
}

#[test]
fn metrics_and_introspection_are_where_the_incumbents_are_and_can_be_switched_off() {
    let told = |pairs: &[(&str, &str)]| {
        let read = from(pairs);
        let at =
            |place: Option<holdfast_metrics::Place>| place.map(|place| place.to_string()).unwrap_or_default();
        (at(read.ports.metrics), at(read.ports.introspection))
    };
    let places = |metrics: &str, introspection: &str| (metrics.to_owned(), introspection.to_owned());
    let usual = places("[::]:61678", "127.0.0.1:61679");
    assert_eq!(told(&[]), usual);
    assert_eq!(told(&[("DISABLE_METRICS", "true")]), places("", "127.0.0.1:61679"));
    assert_eq!(told(&[("DISABLE_INTROSPECTION", "1")]), places("[::]:61678", ""));
    let at = |place| told(&[("INTROSPECTION_BIND_ADDRESS", place)]).1;
    assert_eq!(at("unix:/run/x.sock"), "unix:/run/x.sock");
    assert_eq!(at("nowhere"), usual.1, "what cannot be read is as if it were not there");
}

/// What the ENIConfig says is kept beside what else the cluster says, and counts with custom networking only.
#[test]
fn the_eni_config_is_what_the_cluster_said_of_it_last() {
    let source = |subnet: &str| {
        let security_groups = Some(vec!["sg-1".to_owned()]);
        Ok(holdfast_cluster::watch::objects::EniSource { subnet: subnet.to_owned(), security_groups })
    };
    let on = [("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "true")];
    let mut cluster = of_a_cluster();
    assert_eq!(with(&on, &cluster).config.eni_config.value, Some(AppliedEniConfig::Untold));
    for subnet in ["subnet-1", "subnet-2"] {
        with_eni_config(&mut cluster, eni_config::layer("zone-a", Some(&source(subnet))));
        let read = with(&on, &cluster);
        assert!(read.refused.is_empty() && read.eni_config_names.is_some());
        match &read.config.eni_config.value {
            Some(AppliedEniConfig::Is(config)) => assert_eq!(config.subnet.as_str(), subnet),
            other => panic!("{other:?}"),
        }
        let off = with(&[], &cluster);
        assert_eq!((&off.config.eni_config.value, off.eni_config_names), (&None, None));
        assert_eq!(off.config.warm.value.warm_ips, 10, "the rest counts as before");
    }
    assert_eq!(cluster.layers.len(), of_a_cluster().layers.len() + 1, "one at a time");
    // No ConfigMap can say it.
    let maps = ConfigMaps { aws_node: Some(data(&[("HOLDFAST_ENI_CONFIG", "{}")])), ..ConfigMaps::default() };
    assert_eq!(of_cluster(&maps, &BTreeMap::new()).1.len(), 1);
}

#[test]
fn subnets_are_discovered_unless_that_is_switched_off() {
    assert!(with(&[], &ClusterSettings::default()).config.subnet_discovery.value);
    let off = with(&[("ENABLE_SUBNET_DISCOVERY", "false")], &ClusterSettings::default());
    assert!(!off.config.subnet_discovery.value);
}
