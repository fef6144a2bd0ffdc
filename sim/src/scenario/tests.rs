//! What a scenario file may say, and what is said to a wrong one.

use std::time::Duration;

use super::*;
use crate::vpc::request::{DescribeSubnets, DescribeVpcs};
use crate::vpc::{Caller, Operation};

const GOOD: &str = r#"
    vpc.cidrs = ["10.0.0.0/16"]
    [[subnet]]
    name = "a"
    zone = "us-west-2a"
    cidr = "10.0.0.0/20"
    [[node]]
    name = "node-a"
    type = "m5.large"
    subnet = "a"
"#;

fn problem(text: &str) -> String {
    Scenario::parse(text).and_then(|scenario| scenario.build().map(drop)).unwrap_err().to_string()
}

#[test]
fn defaults_are_a_box_as_in_life_with_an_internet() {
    let scenario = Scenario::parse(GOOD).unwrap();
    assert_eq!(scenario.timing, Timing::life());
    assert_eq!(scenario.internet.address, INTERNET);
    assert_eq!(scenario.build().unwrap().nodes.len(), 1);
}

#[test]
fn what_is_not_said_of_the_internet_is_as_ever() {
    let said = |what: &str| Scenario::parse(&format!("internet.{what}\n{GOOD}")).unwrap().internet;
    let addresses = |it: &InternetTable| (it.address, it.ec2, it.address_ipv6, it.ec2_ipv6);
    let other = said("ec2 = \"198.51.100.21\"");
    assert_eq!(addresses(&other), (INTERNET, "198.51.100.21".parse().unwrap(), INTERNET_IPV6, EC2_IPV6));
    let other = said("address = \"198.51.100.11\"");
    assert_eq!(addresses(&other), ("198.51.100.11".parse().unwrap(), EC2, INTERNET_IPV6, EC2_IPV6));
    let same = format!("internet.ec2_ipv6 = \"{INTERNET_IPV6}\"\n{GOOD}");
    assert!(problem(&same).contains("cannot both have one address"));
    let link_local = format!("internet.ec2_ipv6 = \"fe80::1\"\n{GOOD}");
    assert!(problem(&link_local).contains("EC2 cannot have the link-local address fe80::1"));
}

#[test]
fn ipv6_is_of_the_vpc_the_subnet_and_the_node_and_a_subnet_needs_no_ipv4() {
    let text = GOOD
        .replace(
            "vpc.cidrs = [\"10.0.0.0/16\"]",
            "vpc = { cidrs = [\"10.0.0.0/16\"], ipv6 = \"2600:1f13:a::/56\" }",
        )
        .replace("cidr = \"10.0.0.0/20\"", "ipv6 = \"2600:1f13:a:1::/64\"")
        + "ipv6_addresses = 1";
    let mut built = Scenario::parse(&text).unwrap().build().unwrap();
    let view = built.vpc.imds_view(&built.nodes[0].instance).unwrap();
    assert!(view.local_ipv4.is_none() && view.ipv6.is_some(), "{view:?}");
    assert!(problem(&text.replace("a:1::", "b:1::")).contains("subnet \"a\": "));
    let inside = format!("internet.ec2_ipv6 = \"2600:1f13:a::9\"\n{text}");
    assert!(problem(&inside).contains("EC2 2600:1f13:a::9 lies inside"));
}

#[test]
fn equal_scenarios_give_equal_boxes() {
    let instances =
        || Scenario::parse(GOOD).unwrap().build().unwrap().nodes.into_iter().map(|node| node.instance);
    assert!(instances().eq(instances()));
}

#[test]
fn timing_is_a_profile_or_a_table() {
    let measured = Scenario::parse(&format!("timing = \"measured\"\n{GOOD}")).unwrap();
    assert_eq!(measured.timing, Timing::measured());
    let table = Scenario::parse(&format!("timing = {{ link_appears = 200 }}\n{GOOD}")).unwrap();
    assert_eq!(table.timing.link_appears, Duration::from_millis(200));
    assert_eq!(table.timing.imds_lag, Duration::ZERO);
}

#[test]
fn request_limits_are_published_ones_or_a_table_and_bite() {
    let published = Scenario::parse(&format!("request_limits = \"published\"\n{GOOD}")).unwrap();
    assert_eq!(published.request_limits, RequestLimits::published());
    assert_eq!(Scenario::parse(GOOD).unwrap().request_limits, RequestLimits::default());
    let table = "[request_limits]
        actions.DescribeSubnets = { capacity = 2, refill_per_second = 1 }
        unfiltered = { capacity = 1, refill_per_second = 4 }";
    let mut vpc = Scenario::parse(&format!("{GOOD}{table}")).unwrap().build().unwrap().vpc;
    let caller = Caller::named("test");
    // Of so many calls at once, so many are taken.
    let taken = |vpc: &mut SimVpc, operation: Operation| {
        (0..5).filter(|_| vpc.serve(&caller, operation.clone()).result.is_ok()).count()
    };
    let subnets = DescribeSubnets { max_results: Some(5), ..Default::default() };
    assert_eq!(taken(&mut vpc, subnets.clone().into()), 2);
    assert_eq!(taken(&mut vpc, DescribeSubnets::default().into()), 1, "a bucket of its own");
    assert_eq!(taken(&mut vpc, DescribeVpcs::default().into()), 1);
    assert_eq!(taken(&mut vpc, DescribeVpcs { max_results: Some(5), ..Default::default() }.into()), 5);
    vpc.advance_to(Micros(1_000_000));
    assert_eq!(taken(&mut vpc, subnets.into()), 1, "one regained in a second");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let limited = |line: &str| format!("{GOOD}[request_limits]\n{line}");
    for (text, wanted) in [
        (GOOD.replace("zone", "zoen"), "unknown field `zoen`"),
        (format!("timing = \"fast\"\n{GOOD}"), "\"life\", \"measured\", \"instant\", or a table"),
        (format!("timing = {{ link_apears = 1 }}\n{GOOD}"), "unknown field `link_apears`"),
        (format!("request_limits = \"none\"\n{GOOD}"), "\"published\", or a table of buckets by action"),
        (
            limited("actions.DescribeSubnet = { capacity = 1, refill_per_second = 1 }"),
            "`DescribeSubnet`, expected",
        ),
        (
            limited("DescribeSubnets = { capacity = 1, refill_per_second = 1 }"),
            "unknown field `DescribeSubnets`",
        ),
        (limited("actions.DescribeSubnets = { capacity = 1 }"), "missing field `refill_per_second`"),
        (limited("unfiltered = { capacity = -1, refill_per_second = 1 }"), "invalid value: integer `-1`"),
        (
            limited("unfiltered = { capacity = 0, refill_per_second = 1 }"),
            "capacity = 0 would let no call through, ever: say 1 or more, leave the bucket out",
        ),
        (
            format!("{GOOD}\n[[fault]]\nkind = {{ type = \"answer-late\", by_ms = 0 }}"),
            "by_ms = 0 changes nothing: say how many milliseconds, 1 or more",
        ),
        (GOOD.replace("subnet = \"a\"", "subnet = \"b\""), "there is no subnet \"b\""),
        (GOOD.replace("node-a", "node/a"), "is no name for a node"),
        (GOOD.replace("node-a", "router"), "is no name for a node"),
        (format!("{GOOD}hop_limit = 0"), "hop_limit 0 is not between 1 and 64"),
        (format!("{GOOD}interfaces = {{ nmaes = \"eth\" }}"), "unknown field `nmaes`"),
        (format!("{GOOD}interfaces = {{ names = [\"a/b\"] }}"), "\"a/b\" cannot name an interface"),
        (format!("{GOOD}interfaces = {{ names = [\"a\", \"a\"] }}"), "two interfaces cannot both be called"),
        (
            format!("{GOOD}sysctls = {{ rp_filter = 3 }}"),
            "node \"node-a\": sysctls.rp_filter = 3: say 0 (off), 1 (strict) or 2 (loose)",
        ),
        (format!("{GOOD}sysctls = {{ rp_fliter = 1 }}"), "unknown field `rp_fliter`, expected `rp_filter`"),
        (format!("{GOOD}loss = [{{ permille = 1001 }}]"), "not between 1 and 1000"),
        (format!("{GOOD}interfaces = {{ never = [0] }}"), "without its primary interface"),
        (format!("internet.ec2 = \"10.0.0.9\"\n{GOOD}"), "EC2 10.0.0.9 lies inside the VPC's"),
        (format!("internet.address = \"169.254.169.254\"\n{GOOD}"), "cannot have the link-local address"),
        (format!("internet.ec2 = \"198.51.100.10\"\n{GOOD}"), "cannot both have"),
        (GOOD.replace("m5.large", "m5.enormous"), "node \"node-a\": "),
        (GOOD.replace("10.0.0.0/20", "10.1.0.0/20"), "subnet \"a\": "),
        (format!("internet.address = \"10.0.0.9\"\n{GOOD}"), "lies inside the VPC's 10.0.0.0/16"),
        (format!("{GOOD}\n[[fault]]\nkind = {{ type = \"throttle\" }}\nnode = \"x\""), "names node \"x\""),
        (
            format!("{GOOD}\n[[fault]]\nkind = {{ type = \"imds-late\", by_ms = 9, pth = \"api\" }}"),
            "unknown field `pth`, expected `by_ms` or `path`",
        ),
        (
            format!("{GOOD}\n[[fault]]\nkind = {{ type = \"throttle\", most = 1 }}"),
            "unknown field `most`, throttle has none",
        ),
        (
            format!("{GOOD}\n[[node]]\nname=\"node-a\"\ntype=\"m5.large\"\nsubnet=\"a\""),
            "two nodes are called",
        ),
    ] {
        let said = problem(&text);
        assert!(said.contains(wanted), "{said:?} should say {wanted:?}");
    }
    assert!(problem(&GOOD.replace("zone", "zoen")).contains("line 5"));
    let fault = problem(&format!("{GOOD}\n[[fault]]\nkind = {{ type = \"throttle\", most = 1 }}"));
    assert!(fault.contains("line 13"), "{fault}");
    let unknown = problem(&limited("actions.DescribeSubnet = { capacity = 1, refill_per_second = 1 }"));
    assert!(unknown.contains("line 12") && unknown.contains("`DescribeSubnets`"), "{unknown}");
    let empty = problem(&limited("actions.DescribeSubnets = { capacity = 0, refill_per_second = 1 }"));
    assert!(empty.contains("line 12") && empty.contains("capacity = 0"), "{empty}");
}

#[test]
fn a_fault_of_a_node_is_scoped_to_its_instance() {
    let text =
        format!("{GOOD}\n[[fault]]\nkind = {{ type = \"imds-frozen\" }}\nnode = \"node-a\"\nuntil_ms = 1500");
    let built = Scenario::parse(&text).unwrap().build().unwrap();
    let faults = built.vpc.faults();
    let [(_, fault)] = faults.as_slice() else { panic!("one fault: {faults:?}") };
    assert_eq!(fault.scope.instance.as_ref(), Some(&built.nodes[0].instance));
    assert_eq!(fault.until, Some(Micros(1_500_000)));
}

#[test]
fn the_shipped_scenarios_build() {
    let shipped = ["two-nodes.toml", "burst.toml", "ipv6.toml", "two-nodes-ipv6.toml", "several-cards.toml"];
    for name in shipped {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name);
        Scenario::load(&path).unwrap().build().unwrap();
    }
}

#[test]
fn a_box_has_the_region_the_seed_and_the_delays_of_its_scenario() {
    let of_seed = |seed: u64| {
        let text = format!("region = \"eu-west-1\"\nseed = {seed}\ntiming = \"measured\"\n{GOOD}");
        Scenario::parse(&text.replace("us-west-2a", "eu-west-1a")).unwrap().build().unwrap()
    };
    let config = of_seed(7).vpc.config().clone();
    assert_eq!((config.region.as_str(), config.seed, config.timing), ("eu-west-1", 7, Timing::measured()));
    assert_ne!(of_seed(7).nodes[0].instance, of_seed(8).nodes[0].instance);
}

#[test]
fn a_fault_has_all_that_its_table_says() {
    let table = "actions = [\"CreateTags\"]\nskip = 1\ncount = 2\npermille = 300";
    let text = format!("{GOOD}\n[[fault]]\nkind = {{ type = \"throttle\" }}\n{table}");
    let built = Scenario::parse(&text).unwrap().build().unwrap();
    let wanted =
        Fault::new(FaultKind::Throttle).on(Action::CreateTags).skipping(1).times(2).with_permille(300);
    let faults: Vec<Fault> = built.vpc.faults().into_iter().map(|(_, fault)| fault).collect();
    assert_eq!(faults, [wanted]);
}

#[test]
fn a_nodes_sysctls_are_those_of_eks_images_unless_it_says_otherwise() {
    let rp_filter = |more: &str| {
        let built = Scenario::parse(&format!("{GOOD}{more}")).unwrap().build().unwrap();
        built.nodes[0].sysctls.rp_filter
    };
    assert_eq!(rp_filter(""), 2);
    assert_eq!(rp_filter("sysctls = {}"), 2);
    for value in 0..=2 {
        assert_eq!(rp_filter(&format!("sysctls = {{ rp_filter = {value} }}")), value);
    }
}
