use std::net::Ipv4Addr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

struct Json;

impl Codec for Json {
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StepError> {
        serde_json::from_slice(bytes).map_err(|error| StepError::Record(error.to_string()))
    }

    fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StepError> {
        serde_json::to_vec(record).map_err(|error| StepError::Record(error.to_string()))
    }
}

const SLOT: v1::Slot = v1::Slot { card: 0, device: 0 };

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn row(table: Table, key: Vec<u8>, record: &impl Serialize) -> Row {
    Row::of::<Json>(table, key, record).unwrap()
}

fn eni() -> v1::Eni {
    v1::Eni {
        id: "eni-a".into(),
        mac: [2, 0, 0, 0, 0, 1],
        slot: SLOT,
        kind: v1::EniKind::Standard,
        management: v1::Management::Managed,
        phase: v1::EniPhase::Attached { attachment: "at".into(), delete_on_termination: true },
        subnet: "subnet-1".into(),
        subnet_cidr: Some(v1::Cidr4 { address: [10, 0, 0, 0], length: 24 }),
        primary_ipv4: Some(Ipv4Addr::new(10, 0, 0, 4)),
        created_by: None,
        since: 5,
        changed: 77,
    }
}

fn lease() -> v1::Lease {
    v1::Lease {
        container_id: "c".into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
        pod_namespace: "n".into(),
        pod_name: "p".into(),
        pod_uid: Some("u".into()),
        netns_path: "/run/netns/x".into(),
        netns_inode: 4,
        address: ip(10),
        eni: "eni-a".into(),
        slot: SLOT,
        host_veth: "eni0".into(),
        host_mac: [2, 0, 0, 0, 0, 9],
        mtu: 9001,
        phase: v1::LeasePhase::Active,
        created: 3,
    }
}

fn cooling() -> v1::AddressState {
    v1::AddressState::Cooling { boot: "b".into(), since: 9, period_ms: 30_000 }
}

fn address(last: u8, state: v1::AddressState, assigned: bool) -> v1::Address {
    v1::Address { ip: ip(last), eni: "eni-a".into(), state, assigned }
}

/// Each state that schema 1 knows, as far as the landed code leaves it in a ledger at rest.
fn addresses() -> Vec<v1::Address> {
    vec![
        address(10, v1::AddressState::Leased, true),
        address(11, v1::AddressState::Free, true),
        address(12, cooling(), true),
        address(13, cooling(), false),
        address(14, v1::AddressState::Quarantined(v1::QuarantineReason::MaybeInUse), true),
        address(15, v1::AddressState::Departing { intent: [7; 16] }, true),
        address(16, v1::AddressState::Gone { since: 8 }, true),
        address(17, v1::AddressState::Quarantined(v1::QuarantineReason::LedgerRebuilt), false),
    ]
}

fn intents() -> Vec<v1::Intent> {
    let change = v1::CloudChange::UnassignAddresses { eni: "eni-a".into(), addresses: vec![ip(15)] };
    vec![v1::Intent { id: [7; 16], change, planned: 2 }]
}

fn old() -> Vec<Row> {
    let mut rows: Vec<Row> =
        addresses().iter().map(|address| row(Table::Addresses, v2::use_key(address.ip), address)).collect();
    rows.push(row(Table::Enis, b"eni-a".to_vec(), &eni()));
    rows.push(row(Table::Leases, b"key".to_vec(), &lease()));
    rows.extend(intents().iter().map(|intent| row(Table::Intents, intent.id.to_vec(), intent)));
    rows.push(row(Table::Journal, vec![0], &v1::JournalEntry { at: 1, what: "w".into() }));
    rows
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
    rows
}

fn records<T: DeserializeOwned>(rows: &[Row], table: Table) -> Vec<T> {
    rows.iter().filter(|row| row.table == table).map(|row| row.record::<Json, T>().unwrap()).collect()
}

#[test]
fn what_ec2_gave_parts_from_what_is_done_with_it() {
    let new = forward::<Json>(old()).unwrap();
    let blocks: Vec<v2::Block> = records(&new, Table::Blocks);
    let states: Vec<_> = blocks
        .iter()
        .map(|block| {
            assert_eq!((block.eni.as_str(), block.shown), ("eni-a", 77));
            (host_of(&block.net).unwrap(), block.state.clone())
        })
        .collect();
    use v2::BlockState::{Gone, Held, Leaving, Withdrawn};
    assert_eq!(
        states,
        [
            (ip(10), Held),
            (ip(11), Held),
            (ip(12), Held),
            (ip(14), Held),
            (ip(15), Leaving { intent: [7; 16] }),
            (ip(16), Gone { since: 8 }),
            (ip(17), Withdrawn),
        ]
    );
    let uses: Vec<v2::Use> = records(&new, Table::Uses);
    let rest = || v2::UseState::Cooling { boot: "b".into(), since: 9, period_ms: 30_000 };
    let uses: Vec<_> = uses.into_iter().map(|what| (what.ip, what.state)).collect();
    assert_eq!(
        uses,
        [
            (ip(10), v2::UseState::Leased(sandbox_of(&lease()))),
            (ip(12), rest()),
            (ip(13), rest()),
            (ip(14), v2::UseState::Suspect(v2::Suspicion::MaybeInUse)),
            (ip(17), v2::UseState::Suspect(v2::Suspicion::LedgerRebuilt)),
        ]
    );
    let subnets: Vec<v2::Subnet> = records(&new, Table::Subnets);
    assert_eq!(subnets, [v2::Subnet { id: "subnet-1".into(), ipv4: eni().subnet_cidr, ipv6: None }]);
    assert!(new.iter().all(|row| Table::of(2).contains(&row.table)));
}

#[test]
fn an_address_that_is_leased_to_nobody_is_suspect() {
    let rows = vec![row(Table::Addresses, vec![], &address(10, v1::AddressState::Leased, true))];
    let uses: Vec<v2::Use> = records(&forward::<Json>(rows).unwrap(), Table::Uses);
    assert_eq!(uses[0].state, v2::UseState::Suspect(v2::Suspicion::LedgerRebuilt));
}

#[test]
fn the_way_back_leads_to_what_was() {
    let there_and_back = back::<Json>(forward::<Json>(old()).unwrap()).unwrap();
    assert_eq!(sorted(there_and_back), sorted(old()));
}

#[test]
fn what_the_older_schema_cannot_say_is_told() {
    let prefix = v2::Block {
        net: v2::Cidr::V4(v1::Cidr4 { address: [10, 0, 0, 16], length: 28 }),
        eni: "eni-a".into(),
        state: v2::BlockState::Held,
        shown: 0,
    };
    let mut twice = lease_forward(lease());
    twice.faces.push(twice.faces[0].clone());
    let mut branch = eni_forward(eni());
    branch.place = v2::Place::Branch { trunk: "eni-t".into(), vlan: 3 };
    for (row, words) in [
        (row(Table::Blocks, vec![], &prefix), "a delegated prefix"),
        (row(Table::Leases, vec![], &twice), "several addresses"),
        (row(Table::Enis, vec![], &branch), "a branch ENI"),
    ] {
        let refused = back::<Json>(vec![row]).unwrap_err().to_string();
        assert!(refused.starts_with("schema 1 cannot say that") && refused.contains(words), "{refused}");
    }
}

#[test]
fn a_change_that_was_never_planned_is_dropped() {
    let change = v1::CloudChange::TagEni { eni: "eni-a".into(), tags: BTreeMap::new() };
    let intent = v1::Intent { id: [1; 16], change, planned: 0 };
    assert_eq!(forward::<Json>(vec![row(Table::Intents, vec![], &intent)]).unwrap(), []);
}

#[test]
fn a_change_of_groups_that_is_open_keeps_no_version_from_taking_over() {
    let change = v2::CloudChange::SetSecurityGroups { eni: "eni-a".into(), groups: vec!["sg-1".into()] };
    let intent = v2::Intent { id: [1; 16], change, sending: v2::Sending::Unanswered, planned: 0 };
    assert_eq!(back::<Json>(vec![row(Table::Intents, vec![], &intent)]).unwrap(), []);
}
