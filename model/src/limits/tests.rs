use super::*;

/// EKS's figures.
#[test]
fn max_pods_are_eks_figures() {
    for (name, pods) in [
        ("t3.nano", 4),
        ("t4g.micro", 4),
        ("t3.small", 11),
        ("t3.medium", 17),
        ("m5.large", 29),
        ("m7g.large", 29),
        ("m5.xlarge", 58),
        ("t3.xlarge", 58),
        ("m5.4xlarge", 234),
        ("m4.4xlarge", 234),
        ("m5.24xlarge", 737),
        ("p3dn.24xlarge", 737),
        ("g4dn.metal", 737),
        ("m8a.48xlarge", 1514),
        ("g5.48xlarge", 345),
        ("c6in.32xlarge", 394),
        ("c8gn.48xlarge", 590),
        ("g6e.48xlarge", 492),
        ("p4d.24xlarge", 737),
        ("dl1.24xlarge", 737),
        ("p5.48xlarge", 100),
        ("p5en.48xlarge", 198),
        ("p6-b300.48xlarge", 198),
        ("trn1.32xlarge", 247),
        ("trn2.48xlarge", 100),
        ("hpc7a.96xlarge", 100),
        ("hpc6id.32xlarge", 51),
        // Of the default card; others count both.
        ("i7ie.48xlarge", 394),
        ("i8ge.48xlarge", 590),
    ] {
        assert_eq!(InstanceLimits::of(name).map(|limits| limits.max_pods()), Some(pods), "{name}");
    }
    assert_eq!(InstanceLimits::of("z9.imaginary"), None);
}

#[test]
fn what_a_type_takes_is_told_or_unknown() {
    let of = |name| InstanceLimits::of(name).unwrap();
    assert_eq!(
        (of("m5.large").supports_prefixes(), of("m5.large").supports_ipv6()),
        (Some(true), Some(true))
    );
    assert_eq!(
        (of("m4.large").supports_prefixes(), of("m4.large").supports_ipv6()),
        (Some(false), Some(true))
    );
    assert_eq!(
        (of("m1.large").supports_prefixes(), of("m1.large").supports_ipv6()),
        (Some(false), Some(false))
    );
    assert_eq!(of("c5.metal").supports_prefixes(), Some(true));
    let partly = InstanceLimits::of_addresses(vec![3], 10);
    assert_eq!((partly.supports_prefixes(), partly.supports_ipv6(), partly.max_pods()), (None, None, 29));
}

/// They may come from a file, or from whoever answers for EC2.
#[test]
fn no_figure_is_too_large_to_count_with() {
    for (enis, addresses) in [(u32::MAX, u32::MAX), (u32::MAX, 2), (1, u32::MAX), (0, 0)] {
        let limits = InstanceLimits::of_addresses(vec![enis], addresses);
        assert!(limits.max_pods() >= 2);
        assert_eq!(limits.enis_on(255), 0);
    }
}
