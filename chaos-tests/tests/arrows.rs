//! Holds the arrows between rooms: which crate may see which, read from `cargo metadata`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// For each room, the rooms it may name in its library or binary. Tests may see more (`dev-dependencies`).
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("planner", &["model"]),
    ("ports", &["model"]),
    ("wire", &[]),
    ("migrations", &[]),
    ("store", &["model", "migrations"]),
    ("engine", &["model", "planner", "ports", "store"]),
    ("aws", &["model", "ports"]),
    ("cluster", &["model", "ports"]),
    ("controller", &["model", "ports", "cluster"]),
    ("datapath", &["model", "ports"]),
    // Of the engine the figures that it gives.
    ("metrics", &["model", "ports", "engine"]),
    ("metrics-helper", &["model", "ports", "cluster"]),
    (
        "daemon",
        &[
            "model",
            "planner",
            "ports",
            "wire",
            "store",
            "engine",
            "aws",
            "cluster",
            "controller",
            "datapath",
            "metrics",
            "metrics-helper",
        ],
    ),
    ("cni", &["wire"]),
    // The fabric is made of the same kernel objects, through the same door.
    ("sim", &["datapath"]),
    // Starts programs and knows no room's inside, `vpcsim` included.
    ("stage", &[]),
    ("chaos-tests", &["model", "wire", "store", "datapath", "sim"]),
];

/// Libraries that only the named rooms may see, wherever they stand in the tree.
const CAGED: &[(&str, &[&str])] = &[
    ("redb", &["store"]),
    ("bincode", &["store"]),
    ("aws-sdk-ec2", &["aws"]),
    ("aws-config", &["aws"]),
    ("aws-sdk-cloudwatch", &["aws"]),
    ("kube", &["cluster"]),
    ("k8s-openapi", &["cluster"]),
    ("rtnetlink", &["datapath"]),
    ("netlink-packet-route", &["datapath"]),
    ("nftables", &["datapath"]),
    ("prometheus", &["metrics"]),
];

/// The plugin starts once per pod event: what would make it big or slow stays out of its whole tree.
const NOT_IN_PLUGIN: &[&str] = &["tokio", "aws-config", "aws-sdk-ec2", "redb", "hyper", "clap", "tracing"];

struct Package {
    direct: BTreeSet<String>,
}

fn workspace() -> (BTreeMap<String, Package>, Value) {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let members: BTreeSet<&str> =
        metadata["workspace_members"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let packages = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| members.contains(package["id"].as_str().unwrap()))
        .map(|package| {
            let direct = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (room(package["name"].as_str().unwrap()), Package { direct })
        })
        .collect();
    (packages, metadata)
}

fn room(package: &str) -> String {
    package.strip_prefix("holdfast-").expect("every member is called holdfast-*").to_owned()
}

#[test]
fn rooms_name_only_what_stands_below_them() {
    let (packages, _) = workspace();
    let listed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let present: BTreeSet<&str> = packages.keys().map(String::as_str).collect();
    assert_eq!(listed, present, "every room has a row in ARROWS, and every row a room");
    for (name, allowed) in ARROWS {
        let rooms: BTreeSet<&str> = packages[*name]
            .direct
            .iter()
            .filter_map(|dependency| dependency.strip_prefix("holdfast-"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let wrong: Vec<_> = rooms.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{name} names {wrong:?}, which it may not see");
    }
}

#[test]
fn caged_libraries_stay_in_their_rooms() {
    let (packages, _) = workspace();
    for (library, keepers) in CAGED {
        let users: Vec<&String> = packages
            .iter()
            .filter(|(name, package)| package.direct.contains(*library) && !keepers.contains(&name.as_str()))
            .map(|(name, _)| name)
            .collect();
        assert!(users.is_empty(), "{library} is named by {users:?}; only {keepers:?} may");
    }
}

#[test]
fn the_plugin_stays_small() {
    let (_, metadata) = workspace();
    let nodes: BTreeMap<&str, Vec<&str>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let needs = node["deps"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| {
                    dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
                })
                .filter_map(|dependency| dependency["pkg"].as_str())
                .collect();
            (node["id"].as_str().unwrap(), needs)
        })
        .collect();
    let names: BTreeMap<&str, &str> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let start = names.iter().find(|(_, name)| **name == "holdfast-cni").expect("the plugin is a member").0;
    let mut open = vec![*start];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(nodes.get(id).into_iter().flatten());
        }
    }
    assert!(seen.len() > 5, "the plugin's tree was read: {seen:?}");
    let wrong: Vec<_> = seen.iter().map(|id| names[id]).filter(|name| NOT_IN_PLUGIN.contains(name)).collect();
    assert!(wrong.is_empty(), "the plugin's tree contains {wrong:?}");
}
