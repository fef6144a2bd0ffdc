//! Released schemas: a file written under each, checked in, must open for ever.

#![allow(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod sample;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_migrations::SCHEMA;
use holdfast_model::block::{BlockState, Unit};
use holdfast_model::cloud::CloudChange;
use holdfast_model::intent::Intent;
use holdfast_model::ledger::{Change, Ledger};
use holdfast_store::{Found, Inspected, OpenOptions, Store};
use sample::{journal_of, ledger_of, options, script};
use serde_json::{Value, json};

fn fixture(schema: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{schema}.redb"))
}

/// What a fixture holds, in JSON of its time, so that no later change of the model can make the tests agree with
/// themselves.
fn expected(schema: u8) -> Value {
    serde_json::from_str(&fs::read_to_string(fixture(schema).with_extension("json")).unwrap()).unwrap()
}

/// Opens a copy of a fixture.
fn opened(schema: u8) -> (Inspected, Ledger, Found) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    fs::copy(fixture(schema), &path).unwrap();
    let inspected = Store::inspect(&path, 3).unwrap();
    assert_eq!((inspected.schema, inspected.journal.len()), (schema, 3));
    let opened = Store::open(&path, &options()).unwrap();
    assert_eq!(opened.ledger, inspected.ledger);
    assert_eq!(opened.store.load().unwrap(), opened.ledger, "it is on disk as it is in memory");
    (inspected, opened.ledger, opened.found)
}

fn list(table: &Value) -> Vec<Value> {
    match table {
        Value::Array(list) => list.clone(),
        Value::Object(map) => map.values().cloned().collect(),
        other => panic!("no table: {other}"),
    }
}

/// What schema 1 called an address's state, told from block and use.
fn state_in_schema_one(block: &Value, what: &Value) -> Value {
    match (block["state"].as_str(), &block["state"], what) {
        (_, Value::Object(state), _) if state.contains_key("Leaving") => {
            json!({"Departing": state["Leaving"]})
        }
        (_, Value::Object(state), _) => json!({"Gone": state["Gone"]}),
        (_, _, Value::Null) => json!("Free"),
        (_, _, Value::Object(what)) if what.contains_key("Leased") => json!("Leased"),
        (_, _, Value::Object(what)) if what.contains_key("Suspect") => {
            json!({"Quarantined": what["Suspect"]})
        }
        (_, _, what) => what.clone(),
    }
}

#[test]
fn a_file_of_schema_one_is_brought_forward() {
    let (_, ledger, found) = opened(1);
    assert!(matches!(found, Found::Migrated { from: 1, .. }), "{found:?}");
    let (old, new) = (expected(1), serde_json::to_value(&ledger).unwrap());
    assert_eq!(old["node"], new["node"]);

    let addresses = old["addresses"].as_object().unwrap();
    assert!(addresses.len() >= 10, "the fixture has some of everything");
    let held: Vec<&Value> = old["leases"].as_array().unwrap().iter().map(|lease| &lease["address"]).collect();
    for (ip, was) in addresses {
        let length = if ip.contains(':') { 128 } else { 32 };
        let (block, what) = (&new["blocks"][format!("{ip}/{length}")], &new["uses"][ip]);
        let resting_elsewhere = was["state"].get("Cooling").is_some() && was["assigned"] == false;
        assert_eq!(block.is_null(), resting_elsewhere, "{ip}: {was} became {block}");
        let mut was = was.clone();
        if was["state"] == "Leased" && !held.iter().any(|held| **held == **ip) {
            was["state"] = json!({"Quarantined": "LedgerRebuilt"});
        }
        if resting_elsewhere {
            assert_eq!(*what, was["state"], "{ip}");
            continue;
        }
        assert_eq!(block["eni"], was["eni"], "{ip}");
        assert_eq!(state_in_schema_one(block, what), was["state"], "{ip}");
        if block["state"].is_string() {
            assert_eq!(block["state"] == "Held", was["assigned"], "{ip}");
        }
    }
    assert_eq!(
        new["blocks"].as_object().unwrap().len() + count_resting_elsewhere(addresses),
        addresses.len()
    );

    for (was, is) in list(&old["leases"]).iter().zip(list(&new["leases"])) {
        let face = &is["faces"][0];
        for field in ["sandbox", "pod", "netns", "phase", "created"] {
            assert_eq!(is[field], was[field]);
        }
        for field in ["address", "eni", "host_veth", "host_mac", "mtu"] {
            assert_eq!(face[field], was[field]);
        }
        assert_eq!((&face["place"]["Device"], &face["ifname"]), (&was["slot"], &was["sandbox"]["ifname"]));
    }
    for (was, is) in list(&old["enis"]).iter().zip(list(&new["enis"])) {
        for field in
            ["id", "mac", "kind", "management", "phase", "primary_ipv4", "created_by", "since", "changed"]
        {
            assert_eq!(is[field], was[field]);
        }
        assert_eq!((&is["place"]["Device"], &is["source"]["subnet"]), (&was["slot"], &was["subnet"]));
        assert_eq!(is["source"]["security_groups"], Value::Null, "schema 1 did not know them");
    }
    assert_eq!(new["subnets"]["subnet-1"]["ipv4"], "10.0.0.0/20");
    let kept: Vec<Value> =
        list(&old["intents"]).into_iter().filter(|intent| intent["change"].get("TagEni").is_none()).collect();
    let intents = list(&new["intents"]);
    assert_eq!(intents.len(), kept.len());
    for (was, is) in kept.iter().zip(&intents) {
        assert_eq!((&is["change"], &is["sending"]), (&change_of_today(&was["change"]), &json!("Unanswered")));
    }
}

/// What a change of schema 3 and before is called today: it knew single addresses only.
fn change_of_today(was: &Value) -> Value {
    let host = |ip: &Value| {
        let ip = ip.as_str().unwrap();
        json!(format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 }))
    };
    let mut is = was.clone();
    if let Some(create) = is.get_mut("CreateEni").and_then(Value::as_object_mut) {
        let count = create.remove("secondary_addresses").unwrap();
        create.insert("ask".to_owned(), json!({"unit": "Address", "count": count}));
    }
    if let Some(assign) = was.get("AssignAddresses") {
        let ask = json!({"unit": "Address", "count": assign["count"]});
        return json!({"Assign": {"eni": assign["eni"], "ask": ask}});
    }
    if let Some(unassign) = was.get("UnassignAddresses") {
        let nets: Vec<Value> = list(&unassign["addresses"]).iter().map(host).collect();
        return json!({"Unassign": {"eni": unassign["eni"], "nets": nets}});
    }
    is
}

/// A ledger of schema 2 or 3 as it is written today.
fn of_today(mut expected: Value) -> Value {
    for intent in expected["intents"].as_object_mut().unwrap().values_mut() {
        intent["change"] = change_of_today(&intent["change"]);
    }
    expected
}

fn count_resting_elsewhere(addresses: &serde_json::Map<String, Value>) -> usize {
    addresses.values().filter(|was| was["state"].get("Cooling").is_some() && was["assigned"] == false).count()
}

#[test]
fn a_file_of_schema_one_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    fs::copy(fixture(1), &path).unwrap();
    let there = Store::open(&path, &options()).unwrap().ledger;
    Store::bring_back(&path, 1, sample::NOW).unwrap().unwrap();
    assert_eq!(Store::inspect(&path, 1).unwrap().schema, 1);
    assert_eq!(Store::open(&path, &options()).unwrap().ledger.leases, there.leases);
}

#[test]
fn a_file_of_schema_two_is_brought_forward_whole() {
    let (_, ledger, found) = opened(2);
    assert!(matches!(found, Found::Migrated { from: 2, .. }), "{found:?}");
    let mut expected = expected(2);
    // It was not kept then.
    expected["settings"] = json!({ "layers": [] });
    expected["type_limits"] = Value::Null;
    for table in ["subnets", "enis", "blocks", "uses", "leases", "intents"] {
        assert!(list(&expected[table]).len() >= 4, "the fixture has some of everything: {table}");
    }
    assert_eq!(serde_json::to_value(&ledger).unwrap(), of_today(expected.clone()));
    let kinds: BTreeSet<String> =
        list(&expected["blocks"]).iter().map(|block| block["state"].to_string()).collect();
    assert!(kinds.len() >= 4, "{kinds:?}");
}

#[test]
fn a_file_of_schema_three_is_brought_forward_whole() {
    let (_, ledger, found) = opened(3);
    assert!(matches!(found, Found::Migrated { from: 3, .. }), "{found:?}");
    let mut expected = expected(3);
    // It was not kept then.
    expected["type_limits"] = Value::Null;
    for table in ["subnets", "enis", "blocks", "uses", "leases", "intents"] {
        assert!(list(&expected[table]).len() >= 4, "the fixture has some of everything: {table}");
    }
    let places: Vec<String> =
        list(&expected["settings"]["layers"]).iter().map(|layer| layer["place"].to_string()).collect();
    assert!(
        places.len() >= 2 && places[0].contains("ConfigMap") && places[1].contains("NodeGroup"),
        "{places:?}"
    );
    assert_eq!(serde_json::to_value(&ledger).unwrap(), of_today(expected));
}

#[test]
fn a_file_of_schema_four_opens() {
    let (_, ledger, found) = opened(4);
    assert_eq!(SCHEMA, 4, "a newer schema brings this one forward: say what becomes of it");
    assert_eq!(found, Found::Intact);
    let expected = expected(4);
    let units: BTreeSet<String> = list(&expected["intents"])
        .iter()
        .filter_map(|intent| ["Assign", "CreateEni"].iter().find_map(|kind| intent["change"].get(kind)))
        .map(|change| change["ask"]["unit"].to_string())
        .collect();
    assert_eq!(units.len(), 2, "the fixture has some of everything: {units:?}");
    for table in ["subnets", "enis", "blocks", "uses", "leases", "intents"] {
        assert!(list(&expected[table]).len() >= 4, "the fixture has some of everything: {table}");
    }
    let told = &expected["type_limits"];
    assert_eq!(
        (&told["instance_type"], &told["limits"]["hypervisor"]),
        (&json!("z13.large"), &json!("nitro"))
    );
    assert_eq!((&told["limits"]["enis"], &told["limits"]["ipv6_per_eni"]), (&json!([0, 1, 2]), &json!(13)));
    assert_eq!(serde_json::to_value(&ledger).unwrap(), expected);
}

/// What EC2 told of the type is not kept there. Open changes of prefixes are not known, and what they name stays. All else is
/// kept.
#[test]
fn a_file_of_schema_four_goes_back_to_three() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    fs::copy(fixture(4), &path).unwrap();
    let there = Store::open(&path, &options()).unwrap().ledger;
    Store::bring_back(&path, 3, sample::NOW).unwrap().unwrap();
    assert_eq!(Store::inspect(&path, 1).unwrap().schema, 3);
    let back = Store::open(&path, &options()).unwrap().ledger;
    let of_prefixes = |intent: &Intent| match &intent.change {
        CloudChange::CreateEni { ask, .. } | CloudChange::Assign { ask, .. } => ask.unit == Unit::Prefix,
        CloudChange::Unassign { nets, .. } => nets.iter().any(|net| net.prefix_len() < net.max_prefix_len()),
        _ => false,
    };
    let (left_out, kept): (Vec<_>, Vec<_>) =
        there.intents.values().cloned().partition(|intent| of_prefixes(intent));
    assert!(!left_out.is_empty());
    assert_eq!(back.intents.values().cloned().collect::<Vec<_>>(), kept);
    for (net, block) in &there.blocks {
        let named = |id| left_out.iter().any(|intent| intent.id == id);
        let stays = matches!(block.state, BlockState::Leaving(id) if named(id));
        assert_eq!(back.blocks[net].state, if stays { BlockState::Held } else { block.state }, "{net}");
    }
    assert!(there.type_limits.is_some());
    assert_eq!(back.type_limits, None);
    assert_eq!((&back.leases, &back.uses, &back.enis), (&there.leases, &there.uses, &there.enis));
    assert_eq!((&back.subnets, &back.node, &back.settings), (&there.subnets, &there.node, &there.settings));
}

/// What the cluster says is not kept there; all else is.
#[test]
fn a_file_of_schema_three_goes_back_to_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    fs::copy(fixture(3), &path).unwrap();
    let there = Store::open(&path, &options()).unwrap().ledger;
    assert!(there.settings.bytes() > 0);
    Store::bring_back(&path, 2, sample::NOW).unwrap().unwrap();
    assert_eq!(Store::inspect(&path, 1).unwrap().schema, 2);
    let mut back = Store::open(&path, &options()).unwrap().ledger;
    assert_eq!(back.settings.bytes(), 0);
    back.settings = there.settings.clone();
    assert_eq!(back, there);
}

/// What the newest fixture holds.
fn changes() -> Vec<Change> {
    let last = [
        Change::PutNode(sample::node(9)),
        Change::PutSettings(sample::settings(14)),
        Change::PutTypeLimits(sample::type_limits(13)),
    ];
    script(2026, 400).into_iter().flatten().chain(last).collect()
}

/// Writes the newest fixture. Only for a schema that is not yet released: a released file is never written again. Run
/// `cargo test -p holdfast-store --test schemas -- --ignored`, and check both files in.
#[test]
#[ignore = "writes the checked-in file"]
fn write_the_fixture() {
    assert_eq!(SCHEMA, 4, "schema 4 is released: make a new test for the new schema");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let options = OpenOptions { journal_limit: 16, ..options() };
    let mut store = Store::open(&path, &options).unwrap().store;
    let changes = changes();
    assert!(journal_of(&changes).len() >= 3);
    store.commit(&changes).unwrap();
    store.close().unwrap();
    fs::copy(&path, fixture(SCHEMA)).unwrap();
    let json = serde_json::to_string_pretty(&ledger_of(&changes)).unwrap();
    fs::write(fixture(SCHEMA).with_extension("json"), json + "\n").unwrap();
}
