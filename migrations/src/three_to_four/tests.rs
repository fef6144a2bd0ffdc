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

fn old(change: v3::CloudChange) -> v3::Intent {
    v3::Intent { id: [1; 16], change, sending: v3::Sending::Unanswered, planned: 2 }
}

fn new(id: u8, change: v4::CloudChange) -> v4::Intent {
    v4::Intent { id: [id; 16], change, sending: v4::Sending::MaybeSent, planned: 2 }
}

fn prefix(third: u8) -> v4::Cidr {
    v4::Cidr::V4(v4::Cidr4 { address: [10, 0, third, 16], length: 28 })
}

fn leaving(net: v4::Cidr, intent: u8) -> v4::Block {
    let state = v4::BlockState::Leaving { intent: [intent; 16] };
    v4::Block { net, eni: "eni-a".into(), state, shown: 5 }
}

#[test]
fn a_change_of_single_addresses_goes_there_and_back() {
    let groups = vec!["sg-1".to_owned()];
    let ip = IpAddr::from([10, 0, 0, 7]);
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    for change in [
        v3::CloudChange::CreateEni {
            subnet: "s".into(),
            security_groups: groups.clone(),
            secondary_addresses: 14,
            slot: v3::Slot { card: 0, device: 1 },
            description: "d".into(),
            tags: [("k".to_owned(), "v".to_owned())].into(),
        },
        v3::CloudChange::AttachEni {
            eni: "e".into(),
            instance: "i".into(),
            slot: v3::Slot { card: 0, device: 1 },
        },
        v3::CloudChange::SetDeleteOnTermination { eni: "e".into(), attachment: "a".into() },
        v3::CloudChange::AssignAddresses { eni: "e".into(), count: 3 },
        v3::CloudChange::UnassignAddresses { eni: "e".into(), addresses: vec![ip, six] },
        v3::CloudChange::DetachEni { eni: "e".into(), attachment: "a".into() },
        v3::CloudChange::DeleteEni { eni: "e".into() },
        v3::CloudChange::SetSecurityGroups { eni: "e".into(), groups },
    ] {
        let intent = old(change);
        assert_eq!(intent_back(intent_forward(intent.clone())), Some(intent));
    }
}

/// What names an open intent that is left out would leave by an intent that is not there.
#[test]
fn a_change_of_prefixes_is_left_out_on_the_way_back_and_what_it_named_stays() {
    let ask = || v4::Ask { unit: v4::Unit::Prefix, count: 2 };
    let create = v4::CloudChange::CreateEni {
        subnet: "s".into(),
        security_groups: Vec::new(),
        ask: ask(),
        slot: v4::Slot { card: 0, device: 1 },
        description: String::new(),
        tags: [].into(),
    };
    let address = host([10, 0, 0, 7].into());
    let intents = [
        new(1, create),
        new(2, v4::CloudChange::Assign { eni: "eni-a".into(), ask: ask() }),
        new(3, v4::CloudChange::Unassign { eni: "eni-a".into(), nets: vec![prefix(0)] }),
        new(4, v4::CloudChange::Unassign { eni: "eni-a".into(), nets: vec![address.clone()] }),
    ];
    let blocks = [leaving(prefix(0), 3), leaving(address, 4)];
    let mut rows: Vec<Row> = blocks
        .iter()
        .map(|block| Row::of::<Json>(Table::Blocks, v4::block_key(&block.net), block).unwrap())
        .collect();
    rows.extend(intents.iter().map(|it| Row::of::<Json>(Table::Intents, it.id.to_vec(), it).unwrap()));
    rows.push(Row { table: Table::Journal, key: vec![0], body: b"untouched".to_vec() });

    let older = back::<Json>(rows).unwrap();
    let of = |table| older.iter().filter(move |row| row.table == table);
    let kept: Vec<v3::Intent> = of(Table::Intents).map(|row| row.record::<Json, _>().unwrap()).collect();
    assert_eq!(kept.iter().map(|intent| intent.id).collect::<Vec<_>>(), [[4; 16]]);
    let states: Vec<v3::BlockState> =
        of(Table::Blocks).map(|row| row.record::<Json, v3::Block>().unwrap().state).collect();
    assert_eq!(states, [v3::BlockState::Held, v3::BlockState::Leaving { intent: [4; 16] }]);
    assert_eq!(of(Table::Journal).map(|row| row.body.clone()).collect::<Vec<_>>(), [b"untouched".to_vec()]);
}

#[test]
fn what_ec2_told_of_the_type_is_left_out_on_the_way_back_and_nothing_else() {
    let row = |table| Row { table, key: b"key".to_vec(), body: b"body".to_vec() };
    // Of the others the contents are read.
    let rows_of = |schema| {
        let tables = Table::of(schema).iter().copied();
        tables.filter(|table| !matches!(table, Table::Intents | Table::Blocks)).map(row).collect::<Vec<_>>()
    };
    let older = back::<Json>(rows_of(4)).unwrap();
    assert_eq!(older, rows_of(3));
    assert_eq!(forward::<Json>(older.clone()).unwrap(), older);
    assert!(rows_of(4).len() > older.len());
}

/// The version before serves from what it is left, and must not find less in it.
#[test]
fn only_what_came_with_schema_4_is_not_said_in_schema_3() {
    let said = |row: &Row| exact::<Json>(row).unwrap().map(Cow::into_owned);
    let intent = |change| Row::of::<Json>(Table::Intents, vec![1; 16], &new(1, change)).unwrap();
    let assign =
        |unit| intent(v4::CloudChange::Assign { eni: "eni-a".into(), ask: v4::Ask { unit, count: 2 } });
    let older = said(&assign(v4::Unit::Address)).expect("addresses are what schema 3 knows");
    assert_eq!(back::<Json>(vec![assign(v4::Unit::Address)]).unwrap(), [older]);
    assert_eq!(said(&assign(v4::Unit::Prefix)), None);
    let unassign = |net| intent(v4::CloudChange::Unassign { eni: "eni-a".into(), nets: vec![net] });
    assert!(said(&unassign(host([10, 0, 0, 7].into()))).is_some());
    assert_eq!(said(&unassign(prefix(0))), None);

    let block = |net| Row::of::<Json>(Table::Blocks, v4::block_key(&net), &leaving(net, 1)).unwrap();
    for address in [host([10, 0, 0, 7].into()), host("2001:db8::1".parse().unwrap())] {
        assert_eq!(said(&block(address.clone())), Some(block(address)));
    }
    assert_eq!(said(&block(prefix(0))), None);

    for &table in Table::of(4).iter().filter(|table| !matches!(table, Table::Intents | Table::Blocks)) {
        let row = Row { table, key: b"key".to_vec(), body: b"body".to_vec() };
        assert_eq!(said(&row).is_some(), table != Table::Limits, "{table:?}");
    }
}
