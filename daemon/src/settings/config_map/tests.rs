use super::*;

fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn said(layer: &SettingsLayer) -> Vec<(&str, &str, &str)> {
    layer
        .values
        .iter()
        .map(|(name, given)| (name.as_str(), given.key.as_str(), given.text.as_str()))
        .collect()
}

/// For nodes with Windows: no node agent of the Amazon VPC CNI's reads it.
#[test]
fn what_the_incumbents_chart_writes_into_every_cluster_says_nothing() {
    let mut wrong = Wrong::default();
    let layer = amazon_vpc_cni(
        &data(&[
            ("branch-eni-cooldown", "60"),
            ("enable-network-policy-controller", "false"),
            ("enable-windows-ipam", "false"),
            ("enable-windows-prefix-delegation", "false"),
            ("minimum-ip-target", "3"),
            ("warm-ip-target", "1"),
            ("warm-prefix-target", "0"),
        ]),
        &mut wrong,
    );
    assert_eq!((said(&layer), wrong.told()), (Vec::new(), Vec::new()));
}

/// Where there are nodes with Windows the same keys are theirs; a variable's own name is nobody else's.
#[test]
fn targets_of_nodes_with_windows_are_not_ours() {
    for key in ["enable-windows-ipam", "enable-windows-prefix-delegation"] {
        let mut wrong = Wrong::default();
        let given = data(&[
            (key, "true"),
            ("warm-ip-target", "7"),
            ("minimum-ip-target", "9"),
            ("WARM_IP_TARGET", "2"),
        ]);
        let layer = amazon_vpc_cni(&given, &mut wrong);
        assert_eq!(said(&layer), [("WARM_IP_TARGET", "WARM_IP_TARGET", "2")]);
        assert_eq!(wrong.told(), []);
    }
}

#[test]
fn keys_stand_for_variables_and_variables_for_themselves() {
    let mut wrong = Wrong::default();
    let given = data(&[
        ("enable-node-port-services", "false"),
        ("warm-ip-target", " 4 "),
        ("minimum-ip-target", "3"),
        ("MINIMUM_IP_TARGET", "12"),
        ("branch-eni-cooldown", "30"),
    ]);
    let layer = amazon_vpc_cni(&given, &mut wrong);
    assert_eq!(
        said(&layer),
        [
            ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "enable-node-port-services", "false"),
            ("MINIMUM_IP_TARGET", "MINIMUM_IP_TARGET", "12"),
            ("WARM_IP_TARGET", "warm-ip-target", "4"),
        ]
    );
    assert_eq!(wrong.told(), []);
}

#[test]
fn what_cannot_be_taken_is_told_and_the_rest_counts() {
    let mut wrong = Wrong::default();
    let given = data(&[
        ("WARM_IP_TARGET", "5"),
        ("warm-ip-target", "6"),
        ("HOLDFAST_LEDGER", "/elsewhere"),
        ("warm-ip-targets", "7"),
    ]);
    let layer = aws_node(&given, &mut wrong);
    assert_eq!(said(&layer), [("WARM_IP_TARGET", "WARM_IP_TARGET", "5")]);
    let wrong: Vec<String> = wrong.told().iter().map(ToString::to_string).collect();
    for words in [
        "HOLDFAST_LEDGER=\"/elsewhere\" in ConfigMap aws-node: a setting of the environment only",
        "warm-ip-targets=\"7\" in ConfigMap aws-node: no setting",
        "warm-ip-target=\"6\" in ConfigMap aws-node: WARM_IP_TARGET says the same, and counts",
    ] {
        assert!(wrong.iter().any(|told| told.contains(words)), "{words}: {wrong:?}");
    }
    assert!(wrong.len() == 3 && wrong.iter().all(|told| told.len() < 400), "{wrong:?}");
}
