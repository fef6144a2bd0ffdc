//! Ids, filters and pages of the Describe calls.

use super::*;
use crate::vpc::request::*;

fn tagged(bed: &mut Bed, pairs: &[(&str, &str)]) -> EniId {
    let tags = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let operation = CreateNetworkInterface {
        tag_specifications: vec![TagSpecification { resource_type: "network-interface".to_owned(), tags }],
        description: Some(format!("aws-K8S-{}", bed.node)),
        ..bed.create()
    };
    bed.call(operation).unwrap().network_interface.network_interface_id
}

fn found(bed: &mut Bed, filters: &[(&str, &[&str])]) -> Result<Vec<EniId>, String> {
    let filters = filters
        .iter()
        .map(|(name, values)| Filter {
            name: (*name).to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        })
        .collect();
    bed.call(DescribeNetworkInterfaces { filters, ..Default::default() })
        .map(|page| page.items.into_iter().map(|eni| eni.network_interface_id).collect())
        .map_err(|error| error.code().unwrap().to_string())
}

#[test]
fn values_of_one_filter_are_alternatives_and_filters_add_up() {
    let mut bed = Bed::new();
    let primary = bed.vpc.primary_eni(&bed.node).unwrap();
    let a = tagged(&mut bed, &[("owner", "a"), ("node.k8s.amazonaws.com/instance_id", "i-1")]);
    let b = tagged(&mut bed, &[("owner", "b")]);
    let sorted = |mut ids: Vec<EniId>| {
        ids.sort();
        Ok(ids)
    };
    let both = sorted(vec![a, b]);
    assert_eq!(found(&mut bed, &[("tag:owner", &["a", "b"])]), both);
    assert_eq!(found(&mut bed, &[("tag-key", &["owner"])]), both);
    assert_eq!(found(&mut bed, &[("tag-key", &["owner"]), ("tag:owner", &["b"])]), Ok(vec![b]));
    assert_eq!(found(&mut bed, &[("tag-key", &["node.k8s.*"])]), Ok(vec![a]));
    assert_eq!(found(&mut bed, &[("tag:owner", &["?"]), ("status", &["available"])]), both);
    assert_eq!(found(&mut bed, &[("description", &["aws-K8S-*"])]), both);
    assert_eq!(found(&mut bed, &[("status", &["in-use"])]), Ok(vec![primary]));
    let node = bed.node.to_string();
    assert_eq!(found(&mut bed, &[("attachment.instance-id", &[&node])]), Ok(vec![primary]));
    assert_eq!(found(&mut bed, &[("attachment.instance-id", &["i-none"])]), Ok(vec![]));
    let address = bed.eni(&a).primary_ip().unwrap().to_string();
    assert_eq!(found(&mut bed, &[("addresses.private-ip-address", &[&address])]), Ok(vec![a]));
}

#[test]
fn every_named_field_of_every_kind_can_be_filtered_by() {
    let mut bed = Bed::new();
    let (eni, _) = bed.attached(1);
    bed.call(AssignIpv6Addresses {
        network_interface_id: eni,
        ipv6_address_count: Some(1),
        ..Default::default()
    })
    .unwrap();
    for prefixes in [true, false] {
        if prefixes {
            bed.call(AssignPrivateIpAddresses {
                network_interface_id: eni,
                ipv4_prefix_count: Some(1),
                ..Default::default()
            })
            .unwrap();
        } else {
            bed.call(AssignIpv6Addresses {
                network_interface_id: eni,
                ipv6_prefix_count: Some(1),
                ..Default::default()
            })
            .unwrap();
        }
    }
    fn all_answer<T: super::super::filter::Filterable>(items: &[T]) {
        for (name, values) in T::FIELDS {
            assert!(items.iter().any(|item| !values(item).is_empty()), "{name} has no value anywhere");
        }
    }
    let view = bed.vpc.authoritative();
    all_answer(&view.network_interfaces());
    all_answer(&view.instances());
    all_answer(&view.subnets());
    all_answer(&view.security_groups());
    all_answer(&view.vpcs());
    all_answer(&limits::instance_types());
    let eni_id = eni.to_string();
    bed.call(CreateTags { resources: vec![eni_id], tags: Tags::from([("k".to_owned(), "v".to_owned())]) })
        .unwrap();
    all_answer(&bed.vpc.authoritative().tags());
}

#[test]
fn filters_that_ec2_refuses() {
    let mut bed = Bed::new();
    let invalid = Err("InvalidParameterValue".to_owned());
    assert_eq!(found(&mut bed, &[("colour", &["blue"])]), invalid);
    assert_eq!(found(&mut bed, &[("tag:", &["blue"])]), invalid);
    assert_eq!(found(&mut bed, &[("Status", &["available"])]), invalid);
    assert_eq!(found(&mut bed, &[("status", &[])]), Err("MissingParameter".to_owned()));
    let many = ["x"; 201];
    assert_eq!(found(&mut bed, &[("status", &many)]), Err("FilterLimitExceeded".to_owned()));
    let types = DescribeInstanceTypes { filters: vec![Filter::new("tag:x", "y")], ..Default::default() };
    assert_eq!(bed.code(types), "InvalidParameterValue");
}

#[test]
fn pages_cover_everything_once_though_objects_come_and_go_between_them() {
    let mut bed = Bed::new();
    let mut expected: Vec<EniId> = (0..11).map(|_| bed.created()).collect();
    expected.push(bed.vpc.primary_eni(&bed.node).unwrap());
    expected.sort();
    let mut operation = DescribeNetworkInterfaces { max_results: Some(5), ..Default::default() };
    let first = bed.call(operation.clone()).unwrap();
    let ids: Vec<EniId> = first.items.iter().map(|eni| eni.network_interface_id).collect();
    assert_eq!(ids, expected[..5]);
    // The last one shown goes away before the next page is asked for.
    if bed.eni(&expected[4]).attachment.is_none() {
        bed.call(DeleteNetworkInterface { network_interface_id: expected[4] }).unwrap();
    }
    operation.next_token = first.next_token;
    let second = bed.call(operation.clone()).unwrap();
    operation.next_token = second.next_token;
    let third = bed.call(operation).unwrap();
    assert_eq!((second.items.len(), third.items.len(), third.next_token), (5, 2, None));
    let rest: Vec<EniId> =
        second.items.into_iter().chain(third.items).map(|eni| eni.network_interface_id).collect();
    assert_eq!(rest, expected[5..]);
}

#[test]
fn page_sizes_and_tokens_that_ec2_refuses() {
    let mut bed = Bed::new();
    let sized =
        |max_results| DescribeNetworkInterfaces { max_results: Some(max_results), ..Default::default() };
    for bad in [-1, 0, 4, 1001] {
        assert_eq!(bed.code(sized(bad)), "InvalidParameterValue", "{bad}");
    }
    for good in [5, 1000] {
        assert_eq!(bed.call(sized(good)).unwrap().next_token, None);
    }
    let types = DescribeInstanceTypes { max_results: Some(101), ..Default::default() };
    assert_eq!(bed.code(types), "InvalidParameterValue");
    let eni = bed.created();
    let both = DescribeNetworkInterfaces { network_interface_ids: vec![eni], ..sized(5) };
    assert_eq!(bed.code(both), "InvalidParameterCombination");
    let types = DescribeInstanceTypes { max_results: Some(5), ..Default::default() };
    let token = bed.call(types).unwrap().next_token;
    assert!(token.is_some());
    for next_token in [Some("zz".to_owned()), Some("\u{20ac}".to_owned()), token] {
        let operation = DescribeNetworkInterfaces { next_token, ..sized(5) };
        assert_eq!(bed.code(operation), "InvalidParameterValue");
    }
}

#[test]
fn unknown_ids_are_named_as_ec2_names_them_and_one_is_enough_to_fail() {
    let mut bed = Bed::new();
    let eni = bed.created();
    let by_ids = |ids: &[&str]| DescribeNetworkInterfaces {
        network_interface_ids: ids.iter().map(|id| EniId::from(*id)).collect(),
        ..Default::default()
    };
    let error = bed.error(by_ids(&[eni.as_str(), "eni-0aaaaaaaaaaaaaaaa"]));
    assert_eq!(error.message, "The networkInterface ID 'eni-0aaaaaaaaaaaaaaaa' does not exist");
    let error = bed.error(by_ids(&["eni-0bbbbbbbbbbbbbbbb", "eni-0aaaaaaaaaaaaaaaa"]));
    assert_eq!(error.message, "The networkInterface ID 'eni-0bbbbbbbbbbbbbbbb' does not exist", "the first");
    let instances = DescribeInstances {
        instance_ids: ["i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb"].map(InstanceId::from).to_vec(),
        ..Default::default()
    };
    let error = bed.error(instances);
    assert_eq!(error.message, "The instance IDs 'i-0aaaaaaaaaaaaaaaa, i-0bbbbbbbbbbbbbbbb' do not exist");
    assert_eq!(bed.code(by_ids(&["eni-1"])), "InvalidNetworkInterfaceId.Malformed");
    assert_eq!(bed.call(by_ids(&[eni.as_str()])).unwrap().items.len(), 1);
    let types =
        |name: &str| DescribeInstanceTypes { instance_types: vec![name.to_owned()], ..Default::default() };
    assert_eq!(bed.code(types("m5.tiny")), "InvalidInstanceType");
    let info = bed.call(types("p4d.24xlarge")).unwrap().items.remove(0);
    assert_eq!((info.max_enis, info.ipv4_per_eni, info.network_cards), (60, 50, vec![15; 4]));
    let code = bed
        .code(DescribeInstances { instance_ids: vec!["i-0aaaaaaaaaaaaaaaa".into()], ..Default::default() });
    assert_eq!(code, "InvalidInstanceID.NotFound");
    let code = bed
        .code(DescribeSubnets { subnet_ids: vec!["subnet-0aaaaaaaaaaaaaaaa".into()], ..Default::default() });
    assert_eq!(code, "InvalidSubnetID.NotFound");
    let code = bed.code(DescribeVpcs { vpc_ids: vec!["vpc-0aaaaaaaaaaaaaaaa".into()], ..Default::default() });
    assert_eq!(code, "InvalidVpcID.NotFound");
    let code = bed.code(DescribeSecurityGroups {
        group_ids: vec!["sg-0aaaaaaaaaaaaaaaa".into()],
        ..Default::default()
    });
    assert_eq!(code, "InvalidGroup.NotFound");
}

#[test]
fn tags_of_all_kinds_of_resources_are_listed() {
    let mut bed = Bed::new();
    let resources =
        vec![bed.node.to_string(), bed.subnet.to_string(), bed.vpc_id.to_string(), bed.group.to_string()];
    let tags = Tags::from([
        ("Name".to_owned(), "x".to_owned()),
        ("kubernetes.io/role/cni".to_owned(), "1".to_owned()),
    ]);
    bed.call(CreateTags { resources: resources.clone(), tags }).unwrap();
    let of = |key: &str| DescribeTags { filters: vec![Filter::new("key", key)], ..Default::default() };
    let listed: Vec<_> =
        bed.call(of("kubernetes.io/*")).unwrap().items.into_iter().map(|tag| tag.resource_id).collect();
    let mut expected = resources.clone();
    expected.sort();
    assert_eq!(listed, expected);
    let by_tag = DescribeSubnets {
        filters: vec![Filter::new("tag:kubernetes.io/role/cni", "1")],
        ..Default::default()
    };
    assert_eq!(bed.call(by_tag).unwrap().items.len(), 1);
    let only_other_value = vec![("Name".to_owned(), Some("y".to_owned()))];
    bed.call(DeleteTags { resources: resources.clone(), tags: only_other_value }).unwrap();
    assert_eq!(bed.call(of("Name")).unwrap().items.len(), 4);
    bed.call(DeleteTags { resources: resources.clone(), tags: vec![("Name".to_owned(), None)] }).unwrap();
    assert_eq!(bed.call(of("Name")).unwrap().items.len(), 0);
    bed.call(DeleteTags { resources, tags: Vec::new() }).unwrap();
    assert_eq!(bed.call(DescribeTags::default()).unwrap().items, []);
}

#[test]
fn a_filter_that_ec2_has_and_the_box_has_not_is_not_called_invalid() {
    let mut bed = Bed::new();
    let by = |name: &str| DescribeNetworkInterfaces {
        filters: vec![Filter::new(name, "x")],
        ..DescribeNetworkInterfaces::default()
    };
    assert_eq!(bed.code(by("private-dns-name")), "NotInTheBox");
    assert_eq!(bed.code(by("no-such-filter")), "InvalidParameterValue");
    let by =
        |name: &str| DescribeSubnets { filters: vec![Filter::new(name, "x")], ..DescribeSubnets::default() };
    assert_eq!(bed.code(by("map-public-ip-on-launch")), "NotInTheBox");
    assert_eq!(bed.code(by("private-dns-name-options-on-launch.hostname-type")), "NotInTheBox");
    assert_eq!(bed.code(by("map-public-ip")), "InvalidParameterValue");
}

#[test]
fn instances_are_asked_for_by_id_or_in_pages() {
    let mut bed = Bed::new();
    let pages = DescribeInstances { max_results: Some(5), ..Default::default() };
    assert_eq!(bed.call(pages.clone()).unwrap().items.len(), 1);
    let both = DescribeInstances { instance_ids: vec![bed.node], ..pages };
    assert_eq!(bed.code(both), "InvalidParameterCombination");
}

#[test]
fn one_unknown_id_is_told_in_the_singular() {
    let mut bed = Bed::new();
    let unknown =
        DescribeInstances { instance_ids: vec!["i-0aaaaaaaaaaaaaaaa".into()], ..Default::default() };
    assert_eq!(bed.error(unknown).message, "The instance ID 'i-0aaaaaaaaaaaaaaaa' does not exist");
}

#[test]
fn describes_lag_by_the_boxs_setting_or_by_a_fault_whichever_is_longer() {
    let mut bed = Bed::new();
    let timing = Timing { describe_lag: Duration::from_secs(5), ..Timing::default() };
    bed.vpc.set_timing(timing).unwrap();
    for (by, begins, seen) in [(1, 10, 15), (3, 20, 25), (7, 30, 37)] {
        bed.second(begins);
        let lags = Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(by) });
        let fault = bed.vpc.set_fault(lags).unwrap();
        let eni = bed.created();
        let shown = |bed: &mut Bed| {
            let page = bed.call(DescribeNetworkInterfaces::default()).unwrap();
            page.items.iter().any(|shown| shown.network_interface_id == eni)
        };
        bed.second(seen - 1);
        assert!(!shown(&mut bed), "{by}");
        bed.second(seen);
        assert!(shown(&mut bed), "{by}");
        bed.vpc.clear_fault(fault);
    }
}
