use std::collections::BTreeSet;

use super::*;

fn lines() -> Vec<&'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_line_is_a_type_under_its_own_name_and_is_found_by_it() {
    assert!(TABLE.is_ascii(), "a search may look at any byte");
    let names: Vec<&str> = lines().iter().map(|line| line.split('\t').next().unwrap()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "a search wants order");
    let all: Vec<InstanceType> = InstanceType::all().collect();
    assert_eq!(all.iter().map(|known| known.name).collect::<Vec<_>>(), names, "a line does not parse");
    assert!(names.len() >= 1395, "{}", names.len());
    for known in all {
        assert_eq!(InstanceType::named(known.name).as_ref(), Some(&known));
    }
}

/// What the daemon carries along for it. It is read from the program's file, and only where a search looks.
#[test]
fn the_table_is_small() {
    assert!(TABLE.len() <= 56 * 1024, "{} bytes", TABLE.len());
}

#[test]
fn what_is_not_in_the_table_is_not_found() {
    for name in [
        "",
        "#",
        "a",
        "m5",
        "m5.",
        "m5.larg",
        "m5.large ",
        "m5.large\t2",
        "m5.largee",
        "z9.imaginary",
        "\n",
        "\u{e4}",
    ] {
        assert_eq!(InstanceType::named(name), None, "{name:?}");
    }
    // Lines of the head are no types, whatever is asked for.
    for line in TABLE.lines().take_while(|line| line.starts_with('#')) {
        assert_eq!(InstanceType::named(line), None);
    }
}

#[test]
fn a_search_finds_each_line_of_tables_of_any_length() {
    for count in 0..40_u32 {
        let names: Vec<String> =
            (0..count).map(|number| format!("t{number:02}{}", "x".repeat(number as usize % 5))).collect();
        for end in ["", "\n"] {
            let table = names.iter().map(|name| format!("{name}\trest")).collect::<Vec<_>>().join("\n") + end;
            for name in &names {
                assert_eq!(find(&table, name), Some(format!("{name}\trest").as_str()), "{count} {end:?}");
            }
            assert_eq!(find(&table, "t"), None);
            assert_eq!(find(&table, "u"), None);
        }
    }
}

#[test]
fn a_line_that_says_something_else_is_no_type() {
    let line = "m5.large\t2\tnitro\t3\t10\t10\t0\t9";
    assert!(InstanceType::of_line(line).is_some());
    for wrong in [
        "# m5.large\t2\tnitro\t3\t10\t10\t0\t9",
        "m5.large\t2\tnitro\t3\t10\t10\t0",
        "m5.large\t2\tnitro\t3\t10\t10\t0\t9\t1",
        "m5.large\ttwo\tnitro\t3\t10\t10\t0\t9",
        "m5.large\t2\tother\t3\t10\t10\t0\t9",
        "m5.large\t2\tnitro\t\t10\t10\t0\t9",
        "m5.large\t2\tnitro\t3,\t10\t10\t0\t9",
        "m5.large\t2\tnitro\t300x3\t10\t10\t0\t9",
        "m5.large\t2\tnitro\t3\t-1\t10\t0\t9",
        "m5.large\t2\tnitro\t3\t10\t10\t0\tmany",
        "",
    ] {
        assert_eq!(InstanceType::of_line(wrong), None, "{wrong:?}");
    }
}

#[test]
fn cards_are_read() {
    assert_eq!(cards("3"), Some((vec![3], vec![false])));
    assert_eq!(cards("8e,7e"), Some((vec![8, 7], vec![true, true])));
    assert_eq!(
        cards("4,16x4e").map(|(enis, efa)| (enis.len(), enis[16], efa[0], efa[16])),
        Some((17, 4, false, true))
    );
}

/// Facts of types that differ from each other in what a column says.
#[test]
fn types_are_told_as_they_are() {
    let of = |name| InstanceType::named(name).unwrap();
    let large = of("m5.large");
    assert_eq!((large.vcpus, large.efa_interfaces, large.branch_enis), (2, 0, BranchEnis::UpTo(9)));
    assert_eq!((large.limits.ipv6_per_eni, large.limits.hypervisor), (Some(10), Some(Hypervisor::Nitro)));
    assert_eq!(
        (of("m4.large").limits.hypervisor, of("m4.large").branch_enis),
        (Some(Hypervisor::Xen), BranchEnis::NoTrunk)
    );
    assert_eq!(
        (of("t3.large").branch_enis, of("t8i.nano").branch_enis),
        (BranchEnis::NoTrunk, BranchEnis::Unknown)
    );
    assert_eq!(of("c5.metal").limits.hypervisor, Some(Hypervisor::BareMetal));
    assert_eq!(of("m1.small").limits.ipv6_per_eni, Some(0));
    assert_eq!(of("i7ie.48xlarge").limits.enis, [8, 7], "cards differ");
    let many = of("p5.48xlarge");
    assert_eq!((many.limits.enis, many.efa_interfaces, many.efa_on), (vec![2; 32], 32, vec![true; 32]));
    assert_eq!(of("p6-b300.48xlarge").efa_on[..2], [false, true], "no EFA on the first card");
    assert_eq!((of("m5.large").family(), of("u-6tb1.metal").family()), ("m5", "u-6tb1"));
}

#[test]
fn figures_are_within_what_they_can_be() {
    let mut families = BTreeSet::new();
    for known in InstanceType::all() {
        let InstanceLimits { enis, ipv4_per_eni, .. } = &known.limits;
        assert!(enis.iter().all(|enis| (1..=100).contains(enis)), "{}", known.name);
        assert!((2..=64).contains(ipv4_per_eni) && known.vcpus >= 1, "{}", known.name);
        assert_eq!(known.efa_on.len(), enis.len());
        assert_eq!(known.efa_interfaces > 0, known.efa_on.contains(&true), "{}", known.name);
        families.insert(known.family());
    }
    assert!(families.len() > 150, "{}", families.len());
}
