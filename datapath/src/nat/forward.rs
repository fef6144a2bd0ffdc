//! Packet filters of others through which pods' packets pass, and whose chain of last resort drops them.
//!
//! A container engine or a firewall sets the policy of FORWARD to drop, and all pods of the node are mute. Whether its rules
//! let pods' packets through is not judged here.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde_json::Value;

use super::{TABLE, nft};
use crate::sys;

/// The table that holds FORWARD.
const FILTER: &[u8] = b"filter";

/// `struct ipt_getinfo`: the name, then numbers of four bytes each.
const INFO: usize = 84;
/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// Places in the information: the offset of FORWARD's policy among the entries, and the bytes of all of them. (The name, the
/// hooks, five entries, five policies in the order of the hooks, a count, a size.)
const POLICY_OF_FORWARD: usize = 32 + 4 + 5 * 4 + 2 * 4;
const SIZE: usize = 32 + 4 + 5 * 4 + 5 * 4 + 4;
/// Where the entries begin in the answer to the second question: after the name and the size, in steps of eight.
const ENTRIES: usize = 40;
/// In an entry: how far on its target is.
const TARGET_OFFSET: usize = 88;
/// In a target: what it says, after its size, name and revision.
const VERDICT: usize = 32;
/// `-NF_DROP - 1`.
const DROP: i32 = -1;

/// Chains at `forward` that drop what no rule accepts, by their names.
pub(super) fn drops() -> Option<Vec<String>> {
    let listed = nft::run(&["-j", "list", "chains"], b"").ok()?;
    let mut found = of_nf_tables(&serde_json::from_slice(&listed).ok()?);
    // Nothing to ask where the kernel has no such table, or none of these tables at all.
    if legacy_drops().unwrap_or(false) {
        found.push("the policy of FORWARD in the table filter of iptables-legacy".to_owned());
    }
    Some(found)
}

fn of_nf_tables(listing: &Value) -> Vec<String> {
    let objects = listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text =
        |chain: &Value, key: &str| chain.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    objects
        .iter()
        .filter_map(|object| object.get("chain"))
        .filter(|chain| text(chain, "hook") == "forward" && text(chain, "policy") == "drop")
        .filter(|chain| ["ip", "inet"].contains(&text(chain, "family").as_str()))
        .filter(|chain| (text(chain, "family").as_str(), text(chain, "table").as_str()) != ("ip", TABLE))
        .map(|chain| {
            let [family, table, name] = ["family", "table", "name"].map(|key| text(chain, key));
            format!("the policy of chain {name} in the table {family} {table} of nf_tables")
        })
        .collect()
}

/// Whether the older filter table drops. It is asked for only where it is: to ask for it is to make it.
fn legacy_drops() -> Option<bool> {
    let tables = std::fs::read("/proc/thread-self/net/ip_tables_names").ok()?;
    if !tables.split(|byte| *byte == b'\n').any(|name| name == FILTER) {
        return Some(false);
    }
    policy().ok().flatten().map(|verdict| verdict == DROP)
}

fn policy() -> Result<Option<i32>, Errno> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut info = [0; INFO];
    info[..FILTER.len()].copy_from_slice(FILTER);
    sys::ask_ipv4(&socket, GET_INFO, &mut info)?;
    let Some((size, policy)) = number(&info, SIZE).zip(number(&info, POLICY_OF_FORWARD)) else {
        return Ok(None);
    };
    let mut answer = vec![0; ENTRIES + size];
    answer[..FILTER.len()].copy_from_slice(FILTER);
    answer[32..36].copy_from_slice(&info[SIZE..SIZE + 4]);
    sys::ask_ipv4(&socket, GET_ENTRIES, &mut answer)?;
    Ok(verdict_at(&answer[ENTRIES..], policy))
}

/// What the entry at this place says.
fn verdict_at(entries: &[u8], at: usize) -> Option<i32> {
    let entry = entries.get(at..)?;
    let offset = entry.get(TARGET_OFFSET..TARGET_OFFSET + 2)?;
    let target = entry.get(usize::from(u16::from_ne_bytes(offset.try_into().ok()?))..)?;
    let verdict = target.get(VERDICT..VERDICT + 4)?;
    Some(i32::from_ne_bytes(verdict.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?;
    usize::try_from(u32::from_ne_bytes(four.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_lies_is_no_verdict() {
        assert_eq!(verdict_at(&[0; 64], 0), None);
        assert_eq!(verdict_at(&[0xff; 200], 0), None, "the target is beyond the end");
        assert_eq!(verdict_at(&[0; 200], 500), None);
    }
}
