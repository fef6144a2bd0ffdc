//! Source translation and marks (specification 6.5), judged by what becomes of packets.
//!
//! | packet | mark | connection's mark | source |
//! |---|---|---|---|
//! | first one of a pod's, out of the VPC | 0x80, so rule 1024 sends it by the primary ENI | 0x80 | the node's |
//! | a later one of such a connection | 0x80 | | |
//! | of a pod's, inside the VPC | none | none | its own |
//! | in by the primary ENI to the node itself | | 0x80: a pod's answer leaves by the primary ENI, too | |
//! | in by the primary ENI, or by its own, to a pod | | none | |

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::picture::{Eni, Fate, Flow, Link, MAIN_TABLE, Picture, Pod, Rule};
use super::{Findings, Law, PRIMARY_MARK, inside_addresses, pods};

/// What is marked goes by the main table.
pub(super) const MARKED: u32 = 1024;

/// The rule behind the mark.
pub(super) fn rule() -> Rule {
    Rule { mark: Some((PRIMARY_MARK, PRIMARY_MARK)), ..Rule::new(MARKED, MAIN_TABLE) }
}

/// A destination outside every VPC of the tests: of TEST-NET-3.
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// A question and the answer that is right.
struct Case {
    what: &'static str,
    flow: Flow,
    wanted: Wanted,
}

/// Which bits of a [`Fate`] matter.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    marked: Option<bool>,
    connection: Option<bool>,
    source: Option<Ipv4Addr>,
}

/// All packets whose fate the oracle wants to know of.
pub(super) fn flows(picture: &Picture) -> Vec<Flow> {
    cases(picture).into_iter().map(|case| case.flow).collect()
}

fn primary(picture: &Picture) -> Option<(&Eni, &Link)> {
    let eni = picture.cloud.enis.iter().find(|eni| eni.is_primary())?;
    Some((eni, picture.host.link_of(eni)?))
}

fn cases(picture: &Picture) -> Vec<Case> {
    // Of IPv6 nothing is translated or marked.
    let Some((eni, link)) = primary(picture).filter(|_| picture.translates()) else { return Vec::new() };
    let mut cases = Vec::new();
    let untouched = Wanted { marked: Some(false), connection: Some(false), source: None };
    for face in picture.pods.iter().flat_map(Pod::faces) {
        let (Some(host_end), Some(address)) = (pods::host_end(picture, face), face.address) else { continue };
        let by = pods::owner(picture, address).and_then(|eni| picture.host.link_of(eni));
        let flow = |to, out: &Link, connection| Flow {
            link: host_end.name.clone(),
            to,
            out: out.name.clone(),
            connection,
        };
        cases.push(Case {
            what: "the first packet out of the VPC",
            flow: flow(OUTSIDE, link, None),
            wanted: Wanted { marked: Some(true), connection: Some(true), source: Some(eni.primary) },
        });
        cases.push(Case {
            what: "a later packet out of the VPC",
            flow: flow(OUTSIDE, link, Some(PRIMARY_MARK)),
            wanted: Wanted { marked: Some(true), connection: Some(true), source: None },
        });
        for to in inside_addresses(picture) {
            for connection in [None, Some(0)] {
                let flow = flow(to, by.unwrap_or(link), connection);
                cases.push(Case { what: "a packet inside the VPC", flow, wanted: untouched });
            }
        }
        for came in BTreeSet::from([&link.name, &by.unwrap_or(link).name]) {
            let flow = Flow { link: came.clone(), to: address, out: host_end.name.clone(), connection: None };
            cases.push(Case { what: "a packet that comes to it", flow, wanted: untouched });
        }
    }
    let flow = Flow { link: link.name.clone(), to: eni.primary, out: "lo".to_owned(), connection: None };
    let wanted = Wanted { marked: None, connection: Some(true), source: None };
    cases.push(Case { what: "a packet to the node itself", flow, wanted });
    cases
}

pub(super) fn judge(picture: &Picture, found: &mut Findings) {
    let own: Vec<&Rule> =
        picture.host.rules.iter().filter(|rule| rule.mark.is_some() && rule.priority == MARKED).collect();
    let wanted = rule();
    let wanted: Vec<&Rule> = if picture.translates() { vec![&wanted] } else { Vec::new() };
    if own != wanted {
        let is: Vec<String> = own.iter().map(ToString::to_string).collect();
        found.add(Law::MarkedRule, format!("{}: rule {MARKED} for the mark is {is:?}", picture.node));
    }
    for Case { what, flow, wanted } in cases(picture) {
        let at = format!("{}: {what} ({} to {})", picture.node, flow.link, flow.to);
        let fate = match picture.host.fates.get(&flow) {
            Some(Ok(fate)) => fate,
            Some(Err(why)) => {
                found.add(Law::Unseen, format!("{at}: the packet filter is not understood: {why}"));
                continue;
            }
            None => {
                found.add(Law::Unseen, format!("{at}: nobody looked"));
                continue;
            }
        };
        one(&at, fate, wanted, found);
    }
}

fn one(at: &str, fate: &Fate, wanted: Wanted, found: &mut Findings) {
    if fate.dropped {
        found.add(Law::Filtered, format!("{at} is destroyed by the packet filter"));
        return;
    }
    for (name, mark, wanted) in [
        ("is", fate.mark, wanted.marked),
        ("belongs to a connection that is", fate.connection, wanted.connection),
    ] {
        let is = mark & PRIMARY_MARK != 0;
        if wanted.is_some_and(|wanted| wanted != is) {
            let word = if is { "marked" } else { "not marked" };
            found.add(Law::Marks, format!("{at} {name} {word} for the primary ENI"));
        }
    }
    if fate.source != wanted.source {
        let of = |source: Option<Ipv4Addr>| {
            source.map_or_else(|| "its own source".to_owned(), |source| IpAddr::V4(source).to_string())
        };
        found.add(
            Law::Translation,
            format!("{at} leaves with {}, not with {}", of(fate.source), of(wanted.source)),
        );
    }
}
