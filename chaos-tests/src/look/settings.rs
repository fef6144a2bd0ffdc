//! Settings below `/proc/sys/net`, as the calling thread's namespace shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const ROOT: &str = "/proc/sys/net";

/// Settings of IPv6 that matter on a pod's host end.
const OF_HOST_END: [&str; 3] = ["accept_ra", "accept_redirects", "forwarding"];

/// All of IPv4 but those of pods' links, of which three of IPv6 are read. `links`: names, and whether each is a veth.
pub(super) fn of_host(links: &[(String, bool)]) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    folder("ipv4", &mut settings);
    for scope in ["all", "default"] {
        folder(&format!("ipv4/conf/{scope}"), &mut settings);
    }
    one("ipv6/conf/all/forwarding", &mut settings);
    for (name, veth) in links {
        if *veth {
            for setting in OF_HOST_END {
                one(&format!("ipv6/conf/{name}/{setting}"), &mut settings);
            }
        } else {
            folder(&format!("ipv4/conf/{name}"), &mut settings);
        }
    }
    settings
}

/// Of a pod's own link, and the default to compare them with.
pub(super) fn of_pod(ifname: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    for scope in ["default", ifname] {
        folder(&format!("ipv4/conf/{scope}"), &mut settings);
    }
    settings
}

/// The files of a folder, not those of folders below it.
fn folder(name: &str, settings: &mut BTreeMap<String, String>) {
    // A link that has gone meanwhile has no settings.
    let Ok(entries) = fs::read_dir(Path::new(ROOT).join(name)) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            one(&format!("{name}/{}", entry.file_name().to_string_lossy()), settings);
        }
    }
}

/// What cannot be read (some can only be written) has no value to compare.
fn one(name: &str, settings: &mut BTreeMap<String, String>) {
    if let Ok(value) = fs::read_to_string(Path::new(ROOT).join(name)) {
        settings.insert(name.to_owned(), value.trim().to_owned());
    }
}
