//! Within a room, modules form a tree as rooms do: no two of them need each other. Read from the sources' `crate::` paths.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Rooms that ship.
const ROOMS: &[&str] = &[
    "aws",
    "cluster",
    "cni-shim",
    "daemon",
    "datapath",
    "engine",
    "metrics-helper",
    "migrations",
    "model",
    "planner",
    "ports",
    "store",
    "wire",
];

type Needs = BTreeMap<String, BTreeSet<String>>;

/// Which top-level module of a room names which other.
fn needs_of(room: &Path) -> Needs {
    let mut sources = Vec::new();
    collect(&room.join("src"), None, &mut sources);
    let modules: BTreeSet<String> = sources.iter().map(|(module, _)| module.clone()).collect();
    let mut needs = Needs::new();
    for (module, text) in sources {
        let named = named(&text).into_iter().filter(|name| *name != module && modules.contains(name));
        needs.entry(module.clone()).or_default().extend(named);
    }
    needs
}

/// The sources below a folder, by the top-level module that each belongs to. Tests may look anywhere.
fn collect(folder: &Path, module: Option<&str>, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = module.unwrap_or(&stem);
        if matches!(stem.as_str(), "tests" | "toy" | "lib" | "main") {
            continue;
        }
        if path.is_dir() {
            collect(&path, Some(module), sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push((module.to_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What follows `crate::` in code.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match path.strip_prefix('{') {
            // `use crate::{admin, server::Desk};`
            Some(list) => {
                found.extend(list.split('}').next().unwrap().split(',').map(|item| word(item.trim())));
            }
            None => drop(found.insert(word(path))),
        }
    }
    found
}

/// A module that needs itself through others, and the way.
fn circle(needs: &Needs) -> Option<Vec<String>> {
    needs.keys().find_map(|start| {
        let mut ways: Vec<Vec<String>> = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in needs.get(way.last().unwrap()).into_iter().flatten() {
                let mut longer = way.clone();
                longer.push(next.clone());
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    ways.push(longer);
                }
            }
        }
        None
    })
}

#[test]
fn no_two_modules_need_each_other() {
    let mut read = 0;
    for room in ROOMS {
        let needs = needs_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room));
        read += needs.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(circle(&needs), None, "{room}");
    }
    assert!(read > 100, "hardly anything was read: {read}");
}

#[test]
fn a_circle_is_found() {
    let needs = |pairs: &[(&str, &[&str])]| -> Needs {
        pairs
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
            .collect()
    };
    assert_eq!(circle(&needs(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
    assert!(circle(&needs(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).is_some());
    let text = "//! [`crate::no`]\nuse crate::one::X;\nuse crate::{two, three::Y};\n#[cfg(test)]\nmod tests { use crate::no; }";
    assert_eq!(named(text), BTreeSet::from(["one", "two", "three"].map(str::to_owned)));
}
