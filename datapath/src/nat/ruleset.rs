//! The table's content as typed JSON, and how a listing is compared with it.

use std::collections::HashSet;

use holdfast_model::host::{NatTable, PRIMARY_MARK, SourceNat};
use ipnet::Ipv4Net;
use nftables::batch::Batch;
use nftables::expr::{
    BinaryOperation, CT, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload,
    PayloadField, Prefix,
};
use nftables::schema::{Chain, NfListObject, Nftables, Rule, Table};
use nftables::stmt::{JumpTarget, Mangle, Match, NAT, NATFamily, NATFlag, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::{Map, Value};

use super::TABLE;
use crate::LINK_GROUP;

const MARK_CHAIN: &str = "prerouting-mark";
const OUTBOUND_CHAIN: &str = "prerouting-outbound";
const SNAT_MARK_CHAIN: &str = "snat-mark";
const SNAT_CHAIN: &str = "postrouting-snat";

/// The chains and rules, in order.
pub(super) struct Ruleset {
    objects: Vec<NfListObject<'static>>,
}

impl Ruleset {
    pub(super) fn new(table: &NatTable, primary_link: &str) -> Self {
        let mut set = Self { objects: Vec::new() };
        // Links of our own making bear the group from their first moment, whatever the plugin's configuration has them
        // called. Those of the incumbent's have the prefix only.
        let from_pods = || {
            [
                equals(meta(MetaKey::Iifgroup), Expression::Number(LINK_GROUP)),
                equals(meta(MetaKey::Iifname), text(format!("{}*", table.veth_prefix))),
            ]
        };

        set.chain(MARK_CHAIN, Some((NfChainType::Filter, NfHook::Prerouting, -150)));
        for from_pod in from_pods() {
            set.rule(MARK_CHAIN, vec![from_pod, connection_is_marked(), mark(meta(MetaKey::Mark))]);
        }
        if table.node_ports {
            let to_local_address_of_link = is_type(&[FibFlag::Daddr, FibFlag::Iif], Operator::EQ);
            let from_primary = equals(meta(MetaKey::Iifname), text(primary_link.to_owned()));
            set.rule(MARK_CHAIN, vec![from_primary, to_local_address_of_link, mark(connection_mark())]);
        }
        if let Some(source_nat) = &table.source_nat {
            set.mark_what_leaves_the_vpc(source_nat, from_pods);
            set.translate(source_nat);
        }
        set
    }

    /// Decided as a connection begins: its answers, and what belongs to connections that others began, keep their way.
    ///
    /// Not in a `nat` chain: of those the kernel runs none any more once one has translated the destination, and so
    /// none of ours for what goes to a Service.
    fn mark_what_leaves_the_vpc(&mut self, nat: &SourceNat, from_pods: impl Fn() -> [Statement<'static>; 2]) {
        self.chain(OUTBOUND_CHAIN, Some((NfChainType::Filter, NfHook::Prerouting, -90)));
        self.chain(SNAT_MARK_CHAIN, None);
        self.rule(OUTBOUND_CHAIN, vec![is_type(&[FibFlag::Daddr], Operator::EQ), leave()]);
        for from_pod in from_pods() {
            let jump = Statement::Jump(JumpTarget { target: SNAT_MARK_CHAIN.into() });
            self.rule(OUTBOUND_CHAIN, vec![from_pod, connection_is_new(), jump]);
        }
        for cidr in canonical(&nat.vpc_cidrs) {
            self.rule(SNAT_MARK_CHAIN, to_cidr(cidr).into_iter().chain([leave()]).collect());
        }
        self.rule(SNAT_MARK_CHAIN, vec![mark(connection_mark()), mark(meta(MetaKey::Mark))]);
    }

    fn translate(&mut self, nat: &SourceNat) {
        self.chain(SNAT_CHAIN, Some((NfChainType::NAT, NfHook::Postrouting, 101)));
        for cidr in canonical(&nat.vpc_cidrs) {
            self.rule(SNAT_CHAIN, to_cidr(cidr).into_iter().chain([leave()]).collect());
        }
        let not_to_branches = Statement::Match(Match {
            left: meta(MetaKey::Oifname),
            right: text("vlan*".to_owned()),
            op: Operator::NEQ,
        });
        let to_node = Statement::SNAT(Some(NAT {
            addr: Some(text(nat.node_ipv4.to_string())),
            family: None::<NATFamily>,
            port: None,
            flags: Some(HashSet::from([NATFlag::FullyRandom])),
        }));
        self.rule(SNAT_CHAIN, vec![not_to_branches, is_type(&[FibFlag::Daddr], Operator::NEQ), to_node]);
    }

    fn chain(&mut self, name: &'static str, base: Option<(NfChainType, NfHook, i32)>) {
        self.objects.push(NfListObject::Chain(Chain {
            family: NfFamily::IP,
            table: TABLE.into(),
            name: name.into(),
            _type: base.map(|(kind, _, _)| kind),
            hook: base.map(|(_, hook, _)| hook),
            prio: base.map(|(_, _, priority)| priority),
            policy: base.map(|_| NfChainPolicy::Accept),
            ..Chain::default()
        }));
    }

    fn rule(&mut self, chain: &'static str, statements: Vec<Statement<'static>>) {
        self.objects.push(NfListObject::Rule(Rule {
            family: NfFamily::IP,
            table: TABLE.into(),
            chain: chain.into(),
            expr: statements.into(),
            ..Rule::default()
        }));
    }

    /// Adding the table before deleting it makes the deletion succeed whether it was there or not.
    pub(super) fn into_transaction(self) -> Nftables<'static> {
        let mut batch = Batch::new();
        batch.add(table());
        batch.delete(table());
        batch.add(table());
        for object in self.objects {
            batch.add(object);
        }
        batch.to_nftables()
    }

    /// As `nft` would list it.
    pub(super) fn into_listing(self) -> Nftables<'static> {
        let mut batch = Batch::new();
        batch.add_obj(table());
        for object in self.objects {
            batch.add_obj(object);
        }
        batch.to_nftables()
    }
}

/// Sorted, truncated to their networks, and none twice: equal sets give equal tables.
fn canonical(cidrs: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let mut cidrs: Vec<_> = cidrs.iter().map(Ipv4Net::trunc).collect();
    cidrs.sort_unstable();
    cidrs.dedup();
    cidrs
}

fn table() -> NfListObject<'static> {
    NfListObject::Table(Table { family: NfFamily::IP, name: TABLE.into(), handle: None })
}

fn text(text: String) -> Expression<'static> {
    Expression::String(text.into())
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn connection_mark() -> Expression<'static> {
    Expression::Named(NamedExpression::CT(CT { key: "mark".into(), family: None, dir: None }))
}

fn equals(left: Expression<'static>, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op: Operator::EQ })
}

fn leave() -> Statement<'static> {
    Statement::Return(None)
}

/// `key |= PRIMARY_MARK`: others' bits stay.
fn mark(key: Expression<'static>) -> Statement<'static> {
    let value = BinaryOperation::OR(vec![key.clone(), Expression::Number(PRIMARY_MARK)]);
    Statement::Mangle(Mangle { key, value: Expression::BinaryOperation(Box::new(value)) })
}

/// No answer was seen yet: the packet is of the side that began.
fn connection_is_new() -> Statement<'static> {
    let state = Expression::Named(NamedExpression::CT(CT { key: "state".into(), family: None, dir: None }));
    Statement::Match(Match { left: state, right: text("new".to_owned()), op: Operator::IN })
}

fn connection_is_marked() -> Statement<'static> {
    let bit = BinaryOperation::AND(connection_mark(), Expression::Number(PRIMARY_MARK));
    equals(Expression::BinaryOperation(Box::new(bit)), Expression::Number(PRIMARY_MARK))
}

/// Whether the destination is an address of this host; with `Iif`: of the link that the packet came in by.
fn is_type(flags: &[FibFlag], op: Operator) -> Statement<'static> {
    let fib = Fib { result: FibResult::Type, flags: flags.iter().copied().collect() };
    Statement::Match(Match {
        left: Expression::Named(NamedExpression::Fib(fib)),
        right: text("local".to_owned()),
        op,
    })
}

/// The match of a destination, in the form in which the kernel gives it back: none for "everywhere".
fn to_cidr(cidr: Ipv4Net) -> Option<Statement<'static>> {
    let destination = Expression::Named(NamedExpression::Payload(Payload::PayloadField(PayloadField {
        protocol: "ip".into(),
        field: "daddr".into(),
    })));
    let address = text(cidr.addr().to_string());
    match cidr.prefix_len() {
        0 => None,
        32 => Some(equals(destination, address)),
        len => {
            let prefix = Prefix { addr: Box::new(address), len: u32::from(len) };
            Some(equals(destination, Expression::Named(NamedExpression::Prefix(prefix))))
        }
    }
}

/// Tables, chains and rules of a listing or of our own making, freed of what differs without meaning: handles,
/// counts, the order of flags, a list of one for the one, chains in whatever order.
pub(super) fn normalise(listing: &Value) -> Vec<Value> {
    let objects = listing.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (mut chains, rules): (Vec<_>, Vec<_>) = objects
        .iter()
        .filter(|object| object.get("metainfo").is_none())
        .map(clean)
        .partition(|object| object.get("rule").is_none());
    chains.sort_by_key(ToString::to_string);
    // The kernel lists rules chain by chain; only the order within a chain means anything.
    let mut by_chain = rules;
    by_chain.sort_by_key(|object| {
        object.pointer("/rule/chain").and_then(Value::as_str).unwrap_or_default().to_owned()
    });
    chains.extend(by_chain);
    chains
}

fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: Map<_, _> = map
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "handle" | "index" | "packets" | "bytes"))
                .map(|(key, value)| {
                    let value = clean(value);
                    (key.clone(), if key == "flags" { flags(value) } else { value })
                })
                .collect();
            Value::Object(kept)
        }
        Value::Array(list) => Value::Array(list.iter().map(clean).collect()),
        other => other.clone(),
    }
}

fn flags(value: Value) -> Value {
    let mut list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    list.sort_by_key(ToString::to_string);
    Value::Array(list)
}
