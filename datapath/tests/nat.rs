//! The NAT table against the real kernel and the real `nft`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use holdfast_datapath::nat::{Nat, NatError};
use holdfast_datapath::netns::run_in;
use holdfast_model::host::{NatSeen, NatTable, SourceNat};
use support::{Netns, namespace, nft};

fn table() -> NatTable {
    with_nat(|nat| nat)
}

fn with_nat(change: impl FnOnce(SourceNat) -> SourceNat) -> NatTable {
    let source_nat = SourceNat {
        vpc_cidrs: ["10.1.0.0/16", "10.0.0.0/16", "100.64.0.7/32"].map(|cidr| cidr.parse().unwrap()).into(),
        node_ipv4: "10.0.0.10".parse().unwrap(),
    };
    NatTable {
        node_ports: true,
        source_nat: Some(change(source_nat)),
        primary_mac: "02:00:00:00:00:10".parse().unwrap(),
        veth_prefix: "eni".into(),
    }
}

fn with_cidrs(cidrs: &[&str]) -> NatTable {
    let vpc_cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    with_nat(|nat| SourceNat { vpc_cidrs, ..nat })
}

fn as_written(netns: &Netns, table: &NatTable) -> bool {
    seen(&Nat::default(), netns, table)
}

fn seen(nat: &Nat, netns: &Netns, table: &NatTable) -> bool {
    run_in(netns, || nat.seen(table, "eth0")).unwrap() == NatSeen::AsWritten
}

fn replace(netns: &Netns, table: &NatTable) {
    run_in(netns, || Nat::default().replace(table, "eth0")).unwrap().unwrap();
}

#[test]
fn the_table_reads_back_as_written_and_any_change_shows() {
    let host = namespace();
    assert!(!as_written(&host, &table()), "there is none yet");
    replace(&host, &table());
    let listed = nft(&host, "list table ip holdfast");
    assert!(as_written(&host, &table()), "{listed}");
    replace(&host, &table());
    assert_eq!(nft(&host, "list table ip holdfast"), listed, "again gives the same");

    let reordered = with_cidrs(&["100.64.0.7/32", "10.0.0.0/16", "10.1.0.0/16"]);
    assert!(as_written(&host, &reordered), "the order of CIDRs means nothing");
    assert!(!as_written(&host, &with_cidrs(&["10.0.0.0/16"])));
    let other = with_nat(|nat| SourceNat { node_ipv4: "10.0.0.11".parse().unwrap(), ..nat });
    assert!(!as_written(&host, &other));
    assert!(!as_written(&host, &NatTable { veth_prefix: "veth".into(), ..table() }));

    for damage in [
        "delete chain ip holdfast prerouting-mark",
        "flush chain ip holdfast snat-mark",
        "add rule ip holdfast postrouting-snat counter",
        "insert rule ip holdfast prerouting-outbound return",
        "add chain ip holdfast another",
        "delete table ip holdfast",
    ] {
        nft(&host, damage);
        assert!(!as_written(&host, &table()), "{damage} was not seen");
        replace(&host, &table());
        assert!(as_written(&host, &table()), "{damage} was not repaired");
    }
    run_in(&host, || Nat::default().remove()).unwrap().unwrap();
    run_in(&host, || Nat::default().remove()).unwrap().unwrap();
    assert_eq!(nft(&host, "list ruleset"), "");
}

/// What a process has listed after it wrote is what it compares with from then on.
#[test]
fn the_process_that_wrote_the_table_sees_changes_too() {
    let host = namespace();
    let nat = Nat::default();
    run_in(&host, || nat.replace(&table(), "eth0")).unwrap().unwrap();
    assert!(seen(&nat, &host, &table()), "{}", nft(&host, "list table ip holdfast"));
    assert!(!seen(&nat, &host, &with_cidrs(&["10.0.0.0/16"])));
    for damage in ["flush chain ip holdfast snat-mark", "delete table ip holdfast"] {
        nft(&host, damage);
        assert!(!seen(&nat, &host, &table()), "{damage} was not seen");
        run_in(&host, || nat.replace(&table(), "eth0")).unwrap().unwrap();
        assert!(seen(&nat, &host, &table()), "{damage} was not repaired");
    }
    run_in(&host, || nat.remove()).unwrap().unwrap();
    assert_eq!(run_in(&host, || nat.seen_absent()).unwrap(), NatSeen::AsWritten);
}

#[test]
fn each_part_alone_reads_back_and_is_told_from_the_others() {
    let host = namespace();
    let tables =
        [table(), NatTable { source_nat: None, ..table() }, NatTable { node_ports: false, ..table() }];
    for written in &tables {
        replace(&host, written);
        for other in &tables {
            assert_eq!(
                as_written(&host, other),
                other == written,
                "{}",
                nft(&host, "list table ip holdfast")
            );
        }
    }
}

#[test]
fn everywhere_as_a_cidr_reads_back_too() {
    let host = namespace();
    let all = with_cidrs(&["0.0.0.0/0"]);
    replace(&host, &all);
    assert!(as_written(&host, &all), "{}", nft(&host, "list table ip holdfast"));
    let none = with_cidrs(&[]);
    assert_eq!(run_in(&host, || Nat::default().replace(&none, "eth0")).unwrap(), Err(NatError::NoCidr));
    assert!(as_written(&host, &all), "a refused table leaves the old one");
}

#[test]
fn tables_of_others_are_not_touched() {
    let host = namespace();
    nft(&host, "add table ip nat; add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }");
    nft(&host, "add rule ip nat POSTROUTING counter masquerade; add table inet holdfast; add table ip other");
    let before = nft(&host, "-a list ruleset");
    replace(&host, &table());
    run_in(&host, || Nat::default().remove()).unwrap().unwrap();
    assert_eq!(nft(&host, "-a list ruleset"), before);
}

/// As a container engine or a firewall sets it, in each of the ways that there are.
#[test]
fn packet_filters_that_drop_what_is_forwarded_are_named() {
    let run = |netns: &Netns, command: &str| {
        let mut words = command.split(' ');
        let program = words.next().unwrap().to_owned();
        let run = || std::process::Command::new(&program).args(words).output().unwrap();
        let output = run_in(netns, run).unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let drops = |netns: &Netns| run_in(netns, || Nat::default().forward_drops()()).unwrap().unwrap();
    for program in ["iptables-legacy", "iptables-nft"] {
        let host = namespace();
        replace(&host, &table());
        assert_eq!(drops(&host), Vec::<String>::new());
        run(&host, &format!("{program} -A FORWARD -s 10.0.0.0/8 -p udp --dport 53 -j ACCEPT"));
        run(&host, &format!("{program} -P INPUT DROP"));
        assert_eq!(drops(&host), Vec::<String>::new(), "{program}");
        run(&host, &format!("{program} -P FORWARD DROP"));
        let found = drops(&host);
        assert!(found.len() == 1 && found[0].contains("FORWARD"), "{program}: {found:?}");
        run(&host, &format!("{program} -P FORWARD ACCEPT"));
        assert_eq!(drops(&host), Vec::<String>::new(), "{program}");
    }
    let host = namespace();
    nft(
        &host,
        "add table inet fw; add chain inet fw through { type filter hook forward priority 0; policy drop; }",
    );
    nft(&host, "add chain inet fw inwards { type filter hook input priority 0; policy drop; }");
    assert_eq!(drops(&host), ["the policy of chain through in the table inet fw of nf_tables"]);
}
