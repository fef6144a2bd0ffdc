//! What a packet filter as `nft -j` lists it makes of a packet. Understands what CNIs write; what it does not
//! understand it says, rather than guess.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::oracle::picture::{Fate, Flow, Kernel};

/// The tables by family and name, each with its content line by line, without what changes with every packet.
pub(super) fn tables(listing: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in listing {
        let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else { continue };
        let Some(family) = body["family"].as_str() else { continue };
        let name = if kind == "table" { &body["name"] } else { &body["table"] };
        let lines = tables.entry(format!("{family} {}", name.as_str().unwrap_or_default())).or_default();
        lines.push(format!("{kind} {}", without_counts(body)));
    }
    tables
}

/// What the chains of each table are hooked to; flow tables, too.
pub(super) fn hooks(listing: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut hooks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for body in listing.iter().filter_map(Value::as_object).flat_map(|object| object.values()) {
        if let (Some(family), Some(table), Some(hook)) =
            (body["family"].as_str(), body["table"].as_str(), body["hook"].as_str())
        {
            hooks.entry(format!("{family} {table}")).or_default().insert(hook.to_owned());
        }
    }
    hooks
}

fn without_counts(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "handle" | "packets" | "bytes"))
            .map(|(key, value)| (key.clone(), without_counts(value)))
            .collect(),
        Value::Array(list) => list.iter().map(without_counts).collect(),
        other => other.clone(),
    }
}

/// Sends a packet through all that it would meet on its way through the host.
pub(super) fn fate(listing: &[Value], host: &Kernel, flow: &Flow) -> Result<Fate, String> {
    let link = host.link(&flow.link);
    let of_link = |index: Option<u32>| -> BTreeSet<IpAddr> {
        let addresses = host.addresses.iter().filter(|at| index.is_none_or(|index| at.link == index));
        addresses.map(|at| at.net.addr()).collect()
    };
    let mut packet = Packet {
        listing,
        flow,
        group: link.map_or(0, |link| link.group),
        local: of_link(None),
        local_of_link: of_link(link.map(|link| link.index)),
        fate: Fate { connection: flow.connection.unwrap_or(0), ..Fate::default() },
    };
    for hook in ["prerouting", "forward", "postrouting"] {
        if hook == "forward" && packet.local.contains(&IpAddr::V4(flow.to)) {
            // It has arrived.
            break;
        }
        let mut chains: Vec<&Value> = listing
            .iter()
            .filter_map(|object| object.get("chain"))
            .filter(|chain| chain["hook"] == hook && matches!(chain["family"].as_str(), Some("ip" | "inet")))
            // Translation is decided once for a connection.
            .filter(|chain| chain["type"] != "nat" || flow.connection.is_none())
            .collect();
        chains.sort_by_key(|chain| chain["prio"].as_i64());
        for chain in chains {
            let verdict = packet.run(chain, 0)?;
            let dropped = match verdict {
                Verdict::Drop => true,
                Verdict::Accept => false,
                Verdict::End => chain["policy"] == "drop",
            };
            if dropped {
                packet.fate.dropped = true;
                return Ok(packet.fate);
            }
        }
    }
    Ok(packet.fate)
}

/// How a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The packet may go on.
    Accept,
    /// It is destroyed.
    Drop,
    /// The chain was over, or was left.
    End,
}

struct Packet<'p> {
    listing: &'p [Value],
    flow: &'p Flow,
    group: u32,
    local: BTreeSet<IpAddr>,
    local_of_link: BTreeSet<IpAddr>,
    fate: Fate,
}

impl Packet<'_> {
    fn run(&mut self, chain: &Value, depth: usize) -> Result<Verdict, String> {
        if depth > 16 {
            return Err("chains call each other without an end".to_owned());
        }
        let listing = self.listing;
        let rules = listing.iter().filter_map(|object| object.get("rule")).filter(|rule| {
            rule["family"] == chain["family"]
                && rule["table"] == chain["table"]
                && rule["chain"] == chain["name"]
        });
        'rules: for rule in rules {
            for statement in rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let Some((kind, body)) = statement.as_object().and_then(|map| map.iter().next()) else {
                    return Err(format!("statement {statement}"));
                };
                match kind.as_str() {
                    "match" => {
                        if !self.matches(body)? {
                            continue 'rules;
                        }
                    }
                    "counter" | "log" | "comment" | "notrack" => {}
                    "mangle" => self.mangle(body)?,
                    "snat" => {
                        let to = body["addr"].as_str().and_then(|addr| addr.parse().ok());
                        self.fate.source = Some(to.ok_or_else(|| format!("translation {body}"))?);
                        return Ok(Verdict::Accept);
                    }
                    "accept" => return Ok(Verdict::Accept),
                    "drop" | "reject" => return Ok(Verdict::Drop),
                    "return" => return Ok(Verdict::End),
                    "jump" | "goto" => {
                        let called = listing.iter().filter_map(|object| object.get("chain")).find(|other| {
                            other["family"] == chain["family"]
                                && other["table"] == chain["table"]
                                && other["name"] == body["target"]
                        });
                        let called = called.ok_or_else(|| format!("no chain {}", body["target"]))?;
                        match self.run(called, depth + 1)? {
                            Verdict::End if kind == "jump" => {}
                            verdict => return Ok(verdict),
                        }
                    }
                    _ => return Err(format!("statement {statement}")),
                }
            }
        }
        Ok(Verdict::End)
    }

    fn matches(&self, body: &Value) -> Result<bool, String> {
        let left = self.value(&body["left"])?;
        let right = &body["right"];
        let equal = match (&left, right) {
            (Term::Number(left), Value::Number(right)) => Some(u64::from(*left)) == right.as_u64(),
            (Term::Text(left), Value::String(right)) => match right.strip_suffix('*') {
                Some(start) => left.starts_with(start),
                None => left == right,
            },
            (Term::Address(left), Value::String(right)) => right.parse() == Ok(*left),
            (Term::Address(left), Value::Object(_)) => prefix(right)?.contains(left),
            _ => return Err(format!("match {body}")),
        };
        match body["op"].as_str() {
            Some("==" | "in") => Ok(equal),
            Some("!=") => Ok(!equal),
            _ => Err(format!("match {body}")),
        }
    }

    fn mangle(&mut self, body: &Value) -> Result<(), String> {
        let Term::Number(value) = self.value(&body["value"])? else { return Err(format!("mangle {body}")) };
        if body["key"]["meta"]["key"] == "mark" {
            self.fate.mark = value;
        } else if body["key"]["ct"]["key"] == "mark" {
            self.fate.connection = value;
        } else {
            return Err(format!("mangle {body}"));
        }
        Ok(())
    }

    fn value(&self, value: &Value) -> Result<Term, String> {
        let unknown = || Err(format!("expression {value}"));
        if let Some(number) = value.as_u64() {
            return Ok(Term::Number(u32::try_from(number).map_err(|_long| format!("number {number}"))?));
        }
        let Some((kind, body)) = value.as_object().and_then(|map| map.iter().next()) else {
            return unknown();
        };
        let of = |key: &str| body[key].as_str().unwrap_or_default();
        Ok(match (kind.as_str(), of("key")) {
            ("meta", "mark") => Term::Number(self.fate.mark),
            ("meta", "iifgroup") => Term::Number(self.group),
            ("meta", "iifname") => Term::Text(self.flow.link.clone()),
            ("meta", "oifname") => Term::Text(self.flow.out.clone()),
            ("ct", "mark") => Term::Number(self.fate.connection),
            ("ct", "state") => {
                Term::Text(if self.flow.connection.is_none() { "new" } else { "established" }.to_owned())
            }
            ("payload", _) if of("protocol") == "ip" && of("field") == "daddr" => Term::Address(self.flow.to),
            ("fib", _) if of("result") == "type" => {
                let flags = body["flags"].to_string();
                let local = if flags.contains("iif") { &self.local_of_link } else { &self.local };
                if !flags.contains("daddr") {
                    return unknown();
                }
                let is = local.contains(&IpAddr::V4(self.flow.to));
                Term::Text(if is { "local" } else { "unicast" }.to_owned())
            }
            ("&" | "|" | "^", _) => {
                let [left, right] = [&body[0], &body[1]].map(|side| self.value(side));
                let (Term::Number(left), Term::Number(right)) = (left?, right?) else { return unknown() };
                Term::Number(match kind.as_str() {
                    "&" => left & right,
                    "|" => left | right,
                    _ => left ^ right,
                })
            }
            _ => return unknown(),
        })
    }
}

/// What an expression gives.
enum Term {
    Number(u32),
    Text(String),
    Address(Ipv4Addr),
}

fn prefix(value: &Value) -> Result<Ipv4Net, String> {
    let prefix = &value["prefix"];
    let address = prefix["addr"].as_str().and_then(|addr| addr.parse().ok());
    let length = prefix["len"].as_u64().and_then(|len| u8::try_from(len).ok());
    match (address, length) {
        (Some(address), Some(length)) => {
            Ipv4Net::new(address, length).map_err(|_long| format!("prefix {value}"))
        }
        _ => Err(format!("prefix {value}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oracle::picture::{Address, Link};

    /// One chain of each kind, and a table of somebody else's.
    fn listing() -> Vec<Value> {
        let chain = |name: &str, kind: &str, hook: &str, prio: i64| {
            json!({ "chain": { "family": "ip", "table": "t", "name": name, "handle": 3, "type": kind, "hook": hook,
                "prio": prio, "policy": "accept" } })
        };
        let rule = |chain: &str, expr: Value| json!({ "rule": { "family": "ip", "table": "t", "chain": chain, "handle": 9, "expr": expr } });
        let from_pod =
            json!({ "match": { "op": "==", "left": { "meta": { "key": "iifname" } }, "right": "eni*" } });
        let mark = |key: Value| json!({ "mangle": { "key": key.clone(), "value": { "|": [key, 128] } } });
        let ct = json!({ "ct": { "key": "mark" } });
        let to_vpc = json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "daddr" } },
            "right": { "prefix": { "addr": "10.0.0.0", "len": 16 } } } });
        let is_local = |op: &str| {
            json!({ "match": { "op": op, "left": { "fib": { "result": "type", "flags": ["daddr"] } },
                "right": "local" } })
        };
        let marked = json!({ "match": { "op": "==", "left": { "&": [ct, 128] }, "right": 128 } });
        vec![
            json!({ "metainfo": { "version": "1.0.6" } }),
            json!({ "table": { "family": "ip", "name": "t", "handle": 1 } }),
            chain("later", "filter", "prerouting", -150),
            chain("first", "nat", "prerouting", -90),
            json!({ "chain": { "family": "ip", "table": "t", "name": "outside", "handle": 2 } }),
            chain("out", "nat", "postrouting", 101),
            rule("later", json!([from_pod, marked, mark(json!({ "meta": { "key": "mark" } }))])),
            rule("first", json!([is_local("=="), { "return": null }])),
            rule(
                "first",
                json!([from_pod, { "counter": { "packets": 7, "bytes": 8 } }, { "jump": { "target": "outside" } }]),
            ),
            rule("first", json!([from_pod, marked, mark(json!({ "meta": { "key": "mark" } }))])),
            rule("outside", json!([to_vpc, { "return": null }])),
            rule("outside", json!([mark(ct.clone())])),
            rule("out", json!([to_vpc, { "return": null }])),
            rule("out", json!([is_local("!="), { "snat": { "addr": "10.0.0.5", "flags": "fully-random" } }])),
        ]
    }

    fn host() -> Kernel {
        let link = |index, name: &str| Link {
            index,
            name: name.to_owned(),
            mac: None,
            mtu: 9001,
            up: true,
            veth: true,
            peer: None,
            group: 0,
        };
        Kernel {
            links: vec![link(2, "ens5"), link(9, "eni123")],
            addresses: vec![Address { link: 2, net: "10.0.0.5/20".parse().unwrap() }],
            ..Kernel::default()
        }
    }

    fn fate_of(listing: &[Value], link: &str, to: &str, connection: Option<u32>) -> Result<Fate, String> {
        let flow =
            Flow { link: link.to_owned(), to: to.parse().unwrap(), out: "ens5".to_owned(), connection };
        fate(listing, &host(), &flow)
    }

    #[test]
    fn packets_meet_chains_in_order_and_translation_once() {
        let listing = listing();
        let first = fate_of(&listing, "eni123", "198.51.100.1", None).unwrap();
        let source = Some("10.0.0.5".parse().unwrap());
        assert_eq!(first, Fate { mark: 128, connection: 128, source, dropped: false });
        let later = fate_of(&listing, "eni123", "198.51.100.1", Some(128)).unwrap();
        assert_eq!(later, Fate { mark: 128, connection: 128, source: None, dropped: false });
        assert_eq!(fate_of(&listing, "eni123", "10.0.3.3", None), Ok(Fate::default()));
        assert_eq!(fate_of(&listing, "eni123", "10.0.0.5", None), Ok(Fate::default()), "to the host itself");
        let others = fate_of(&listing, "ens5", "198.51.100.1", None).unwrap();
        assert_eq!((others.mark, others.connection), (0, 0), "not from a pod");
    }

    #[test]
    fn a_rule_for_new_connections_is_not_met_by_their_later_packets() {
        let mut listing = listing();
        let new = json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": "new" } });
        listing.push(json!({ "chain": { "family": "ip", "table": "t", "name": "new", "type": "filter",
            "hook": "prerouting", "prio": -80, "policy": "accept" } }));
        listing.push(json!({ "rule": { "family": "ip", "table": "t", "chain": "new",
            "expr": [new, { "drop": null }] } }));
        assert!(fate_of(&listing, "eni123", "10.0.3.3", None).unwrap().dropped);
        assert!(!fate_of(&listing, "eni123", "10.0.3.3", Some(0)).unwrap().dropped);
    }

    #[test]
    fn what_destroys_and_what_is_not_understood_is_told() {
        let mut dropping = listing();
        dropping.push(json!({ "chain": { "family": "inet", "table": "u", "name": "f", "type": "filter",
            "hook": "forward", "prio": 0, "policy": "drop" } }));
        assert!(fate_of(&dropping, "eni123", "10.0.3.3", None).unwrap().dropped);
        assert!(!fate_of(&dropping, "ens5", "10.0.0.5", None).unwrap().dropped, "it is not forwarded");
        let mut strange = listing();
        strange.push(json!({ "rule": { "family": "ip", "table": "t", "chain": "first",
            "expr": [{ "xt": { "type": "match" } }] } }));
        let why = fate_of(&strange, "ens5", "10.0.3.3", None).unwrap_err();
        assert!(why.contains("xt"), "{why}");
    }

    #[test]
    fn hooks_are_told_of_chains_and_flow_tables() {
        let mut listing = listing();
        let wanted = ["postrouting", "prerouting"].map(str::to_owned);
        assert_eq!(hooks(&listing), BTreeMap::from([("ip t".to_owned(), BTreeSet::from(wanted))]));
        listing.push(json!({ "flowtable": { "family": "ip", "name": "f", "table": "t", "handle": 4,
            "hook": "ingress", "prio": 0, "dev": "ens5" } }));
        assert!(hooks(&listing)["ip t"].contains("ingress"));
    }

    #[test]
    fn tables_are_listed_without_counts() {
        let tables = tables(&listing());
        assert_eq!(tables.keys().collect::<Vec<_>>(), ["ip t"]);
        let all = tables["ip t"].join("\n");
        assert!(all.contains("198") || all.contains("10.0.0.5"), "{all}");
        assert!(!all.contains("handle") && !all.contains("packets"), "{all}");
    }
}
