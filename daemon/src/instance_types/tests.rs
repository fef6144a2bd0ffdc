use super::*;

fn asked(types: &[&str]) -> Asked {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    Asked { all: types.is_empty(), types, json: false, uncapped: false }
}

#[test]
fn one_type_is_described_with_the_figures_of_each_mode() {
    let text = limits(&asked(&["m5.large"])).unwrap();
    for line in [
        "m5.large: Nitro, 2 vCPUs",
        "  network         card 0: 3 ENIs",
        "  IPv4 per ENI    10: its own address, and 9 addresses or /28 prefixes for pods",
        "  branch ENIs     9",
        "  secondary                         27        29            29",
        "  prefix                           432       434           110",
        "  custom-networking                 18        20            20",
        "  custom-networking-prefix         288       290           110",
        "  ipv6                            2^48      2^48           110",
    ] {
        assert!(text.lines().any(|other| other == line), "{line:?} is not in\n{text}");
    }
    let text = limits(&asked(&["m4.large", "p6-b300.48xlarge", "i3.16xlarge"])).unwrap();
    for part in [
        "needs the Nitro hypervisor or bare metal",
        "; no prefixes for pods",
        "card 0: 4 ENIs; cards 1 to 16: 4 ENIs each, EFA possible",
        "32nd address",
        "none: ipv6 is not to be had on m4.large, i3.16xlarge",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn expressions_have_eks_figures_in_them_unless_told_otherwise() {
    let capped = limits(&asked(&["m5.24xlarge"])).unwrap();
    let uncapped = limits(&Asked { uncapped: true, ..asked(&["m5.24xlarge"]) }).unwrap();
    let line = "  secondary                 default_enis * (ips_per_eni - 1) + 2";
    assert!(uncapped.lines().any(|other| other == line), "{uncapped}");
    assert!(!capped.lines().any(|other| other == line) && capped.contains(": 250"), "{capped}");
}

#[test]
fn all_types_are_listed_in_a_line_each() {
    let text = limits(&asked(&[])).unwrap();
    let count = InstanceType::all().count();
    let lines = text.lines().filter(|line| {
        line.split_whitespace().next().is_some_and(|name| InstanceType::named(name).is_some())
    });
    assert_eq!(lines.count(), count);
    let json = limits(&Asked { json: true, ..asked(&[]) }).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["types"].as_array().unwrap().len(), count);
}

#[test]
fn programs_are_told_the_same() {
    let json = limits(&Asked { json: true, ..asked(&["m4.large"]) }).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let told = &json["types"][0];
    assert_eq!(told["max_pods"]["secondary"], json!({ "addresses": 18, "served": 20, "recommended": 20 }));
    assert_eq!((&told["max_pods"]["prefix"], &told["prefixes_per_eni"]), (&Value::Null, &json!(0)));
    assert_eq!(
        (&told["hypervisor"], &told["network_cards"]),
        (&json!("xen"), &json!([{ "enis": 2, "efa": false }]))
    );
    assert_eq!(json["expressions"]["nodeadm"]["ipv6"]["expression"], Value::Null);
    assert!(json["expressions"]["karpenter"]["ipv6"]["expression"].as_str().unwrap().contains("vcpus"));
}

#[test]
fn a_type_that_is_not_known_is_refused_with_what_was_meant() {
    let refused = |names: &[&str]| limits(&asked(names)).unwrap_err().to_string();
    let told = refused(&["m5.lrage", "m5.large", "M5.XLARGE "]);
    assert!(
        told.contains("\"m5.lrage\": nearest: m5.large")
            && told.contains("\"M5.XLARGE \": nearest: m5.xlarge"),
        "{told}"
    );
    assert!(!told.contains("\"m5.large\""), "{told}");
    for (name, then) in [("z9.imaginary", "ask EC2"), ("", "ask EC2"), ("\u{1b}[31m", "\\u{1b}")] {
        assert!(refused(&[name]).contains(then), "{}", refused(&[name]));
    }
    let long = refused(&[&"m".repeat(1 << 20)]);
    assert!(long.len() < 300, "{} bytes", long.len());
}

#[test]
fn names_that_were_meant_are_few_and_near() {
    for known in InstanceType::all() {
        let near = nearest(known.name);
        assert_eq!(near[0], known.name);
        assert!(near.len() <= SUGGESTED);
    }
    assert_eq!(nearest("c5.4xlrge")[0], "c5.4xlarge");
}
