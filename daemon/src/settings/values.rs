//! What the text of each kind of setting means.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use holdfast_model::brake::Brake;
use holdfast_model::warm::{Quantile, WarmMode};
use ipnet::Ipv4Net;

pub(super) fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|error| format!("want a whole number from 0 upwards ({error})"))
}

pub(super) fn seconds(text: &str) -> Result<u64, String> {
    count(text).map(u64::from).map_err(|error| format!("{error}, in seconds"))
}

/// Go's grammar, as upstream reads them.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("want true or false".to_owned()),
    }
}

/// Whoever writes something here wants a brake, and is in a hurry: what cannot be read pulls the one that costs no pod anything.
pub(super) fn brake(text: &str) -> (Brake, Vec<String>) {
    let known = [Brake::None, Brake::Release, Brake::All];
    let found = known.into_iter().find(|brake| brake.to_string().eq_ignore_ascii_case(text.trim()));
    if let Some(brake) = found {
        return (brake, Vec::new());
    }
    let wanted = "want none, release or all; until it is one of them nothing is given back to EC2";
    (Brake::Release, vec![wanted.to_owned()])
}

pub(super) fn warm_mode(text: &str) -> Result<WarmMode, String> {
    let known = [WarmMode::Static, WarmMode::Adaptive];
    let found = known.into_iter().find(|mode| mode.to_string().eq_ignore_ascii_case(text.trim()));
    found.ok_or_else(|| "want static or adaptive".to_owned())
}

pub(super) fn quantile(text: &str) -> Result<Quantile, String> {
    Quantile::of_percent(text).ok_or_else(|| "want a percentage from 50 to 99.99, as 99.9".to_owned())
}

pub(super) fn mtu(text: &str) -> Result<u32, String> {
    let wanted = || "want an MTU from 576 to 9001".to_owned();
    text.parse()
        .map_err(|_not_a_number| wanted())
        .and_then(|mtu| if (576..=9001).contains(&mtu) { Ok(mtu) } else { Err(wanted()) })
}

pub(super) fn veth_prefix(text: &str) -> Result<String, String> {
    holdfast_wire::ids::VethPrefix::new(text)
        .map(|prefix| prefix.to_string())
        .map_err(|error| error.to_string())
}

/// The ranges, and what is wrong with the rest.
pub(super) fn ranges(text: &str) -> (Vec<Ipv4Net>, Vec<String>) {
    let (mut ranges, mut wrong) = (Vec::new(), Vec::new());
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        match range.parse::<Ipv4Net>() {
            Ok(net) => ranges.push(net.trunc()),
            Err(_syntax) => wrong.push(format!(
                "{range:?} is not an IPv4 range; want ranges like 10.0.0.0/8, with commas between"
            )),
        }
    }
    (ranges, wrong)
}

/// EC2's limits ("Tag restrictions"): characters of a key and of a value. A creation with one tag that breaks them makes no ENI.
const TAG_KEY: usize = 128;
const TAG_VALUE: usize = 256;
/// Of the fifty tags that EC2 takes on an object, those that are not our own.
const TAGS: usize = 45;

/// The cluster's name, as the value of a tag.
pub(super) fn cluster_name(text: &str) -> Result<String, String> {
    if text.chars().count() > TAG_VALUE || text.contains(char::is_control) {
        return Err(format!(
            "want a name of at most {TAG_VALUE} characters, all of them visible: EC2 has it as a tag"
        ));
    }
    Ok(text.to_owned())
}

/// The tags, and what is wrong with the rest: those in upstream's and in AWS's reserved space are not for users to set, and
/// others EC2 does not take.
pub(super) fn tags(text: &str) -> Result<(BTreeMap<String, String>, Vec<String>), String> {
    let all: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| format!("want a JSON object of texts, as in {{\"team\":\"web\"}} ({error})"))?;
    let (mut tags, mut wrong) = (BTreeMap::new(), Vec::new());
    for (key, value) in all {
        let (long_key, long_value) = (key.chars().count(), value.chars().count());
        if key.contains("k8s.amazonaws.com") || key.to_lowercase().starts_with("aws:") {
            wrong.push(format!("the key {key:?} is reserved"));
        } else if !(1..=TAG_KEY).contains(&long_key) {
            wrong.push(format!("a key has {long_key} characters; EC2 takes 1 to {TAG_KEY}"));
        } else if long_value > TAG_VALUE {
            wrong.push(format!("the value of {key:?} has {long_value} characters; EC2 takes {TAG_VALUE}"));
        } else if key.contains(char::is_control) || value.contains(char::is_control) {
            wrong.push(format!("{key:?} or its value has characters that cannot be seen"));
        } else if tags.len() == TAGS {
            wrong.push(format!("{key:?} is one too many; EC2 takes {TAGS} beside our own"));
        } else {
            tags.insert(key, value);
        }
    }
    Ok((tags, wrong))
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(absolute_wanted(&path.display())) }
}

pub(super) fn absolute_wanted(path: &impl Display) -> String {
    format!("want an absolute path, not {path}")
}
