//! The ledger for people: by the wall clock alone, what is over left out, and each address with what it is used for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use holdfast_model::block::{Block, BlockState};
use holdfast_model::eni::{EniPhase, EniPlace, EniRecord};
use holdfast_model::intent::Intent;
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::time::{BootTime, Now};
use holdfast_model::uses::{Suspicion, Use};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// A ledger at an instant, told line by line: of a full node's there are thousands. Its boot times mean something to who runs
/// under the same boot: of another one's they are left out.
pub(crate) struct Told<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) now: &'a Now,
}

impl Serialize for Told<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ledger = self.ledger;
        let mut told = serializer.serialize_struct("Told", 8)?;
        told.serialize_field("node", &ledger.node)?;
        told.serialize_field("cluster_settings", &ledger.settings.layers)?;
        told.serialize_field("type_limits", &ledger.type_limits)?;
        told.serialize_field("enis", &Lines(|| ledger.enis.values().map(|eni| self.eni(eni))))?;
        told.serialize_field("addresses", &Lines(|| self.addresses()))?;
        told.serialize_field("leases", &Lines(|| ledger.leases.values().map(lease)))?;
        told.serialize_field("intents", &Lines(|| ledger.intents.values().map(intent)))?;
        told.serialize_field("subnets", &Lines(|| ledger.subnets.values()))?;
        told.end()
    }
}

/// A list that is made as it is written.
pub(crate) struct Lines<F>(pub(crate) F);

impl<F, I> Serialize for Lines<F>
where
    F: Fn() -> I,
    I: Iterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

impl Told<'_> {
    fn addresses(&self) -> impl Iterator<Item = Value> {
        self.ledger.blocks.values().flat_map(|block| self.block(block)).chain(self.elsewhere())
    }

    /// Zero stands for an earlier boot.
    fn at(&self, instant: BootTime) -> Option<String> {
        let same_boot = self.ledger.node.as_ref().is_some_and(|node| node.boot == self.now.boot);
        (same_boot && instant != BootTime(0)).then(|| self.now.wall_at(instant).to_string())
    }

    fn eni(&self, eni: &EniRecord) -> Value {
        let phase = match &eni.phase {
            EniPhase::Available => "available",
            EniPhase::Attached { .. } => "attached",
            EniPhase::Draining { .. } => "to be given back",
            EniPhase::Detached => "detached",
            EniPhase::Gone => "deleted",
        };
        let place = match &eni.place {
            EniPlace::Device(slot) => json!({ "card": slot.card, "device": slot.device }),
            EniPlace::Branch { trunk, vlan } => json!({ "trunk": trunk, "vlan": vlan }),
        };
        json!({
            "id": eni.id, "mac": eni.mac, "kind": eni.kind, "management": eni.management,
            "phase": phase, "since": self.at(eni.since), "attachment": eni.attachment(), "changed": self.at(eni.changed),
            "place": place, "route_table": eni.place.route_table(), "primary_ipv4": eni.primary_ipv4,
            "subnet": eni.source.subnet, "security_groups": eni.source.security_groups, "created_by": eni.created_by,
        })
    }

    /// A block in one line, or one for each of its addresses that is used.
    fn block(&self, block: &Block) -> Vec<Value> {
        let state = match block.state {
            BlockState::Held => "held",
            BlockState::Withdrawn => "taken away in EC2",
            BlockState::Leaving(_) => "being unassigned",
            BlockState::Gone(_) => "unassigned",
        };
        let line = |what: Value, used: Value| {
            let shown = self.at(block.shown);
            json!({ "address": what, "eni": block.eni, "state": state, "shown_by_ec2": shown, "use": used })
        };
        if block.is_host() {
            let ip = block.net.addr();
            return vec![line(json!(ip), self.used(ip).unwrap_or_else(|| json!("free")))];
        }
        let named = self.ledger.uses_in(block.net);
        let used = named.filter_map(|(ip, _)| Some(line(json!(ip), self.used(ip)?)));
        std::iter::once(line(json!(block.net), Value::Null)).chain(used).collect()
    }

    /// Addresses that are used and in no block: a rest is owed wherever the address has gone.
    fn elsewhere(&self) -> impl Iterator<Item = Value> {
        let used: BTreeMap<IpAddr, Value> =
            self.ledger.uses.keys().filter_map(|ip| Some((*ip, self.used(*ip)?))).collect();
        let outside = used.into_iter().filter(|(ip, _)| self.ledger.block_of(*ip).is_none());
        outside.map(|(ip, used)| json!({ "address": ip, "eni": null, "state": "not ours", "use": used }))
    }

    /// `None`: free.
    fn used(&self, ip: IpAddr) -> Option<Value> {
        match self.ledger.uses.get(&ip)? {
            Use::Leased(sandbox) => Some(json!({ "leased_by": sandbox.to_string() })),
            Use::Cooling(rest) => {
                let left = rest.remaining(self.now)?;
                Some(json!({ "cooling_until": self.now.wall_at(self.now.boottime.after(left)).to_string() }))
            }
            Use::Suspect(why) => Some(json!({ "suspect": match why {
                Suspicion::MaybeInUse => "it has traces in the kernel that no lease explains",
                Suspicion::LedgerRebuilt => "the ledger was lost, and nothing proves yet that no sandbox uses it",
            } })),
        }
    }
}

fn lease(lease: &Lease) -> Value {
    json!({
        "sandbox": lease.sandbox.to_string(), "pod": lease.pod.to_string(), "pod_uid": lease.pod.uid,
        "netns": lease.netns, "faces": lease.faces, "phase": lease.phase, "created": lease.created.to_string(),
    })
}

fn intent(intent: &Intent) -> Value {
    json!({
        "id": intent.id, "change": intent.change, "sending": intent.sending, "planned": intent.planned.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use holdfast_model::ids::{BootId, EniId, InstanceId, MacAddr, SubnetId, VpcId};
    use holdfast_model::ledger::Change;
    use holdfast_model::node::{NodeIdentity, NodeRecord};
    use holdfast_model::sandbox::{SandboxKey, SandboxNames};
    use holdfast_model::time::WallTime;
    use holdfast_model::uses::Cooldown;

    use super::*;

    const DAY: u64 = 86_400_000;

    fn now(boot: &str) -> Now {
        Now { boot: BootId::new(boot), boottime: BootTime(100_000), wall: WallTime(20_000 * DAY + 100_000) }
    }

    fn ledger(uses: &[(&str, Use)]) -> Ledger {
        let mut ledger = Ledger::default();
        for net in ["10.0.0.7/32", "10.0.0.8/32", "10.0.0.9/32", "10.0.1.16/28"] {
            let held = Block::held(net.parse().unwrap(), EniId::new("eni-1"), BootTime(40_000));
            ledger.apply(&Change::PutBlock(held));
        }
        for (ip, used) in uses {
            ledger.apply(&Change::PutUse(ip.parse().unwrap(), used.clone()));
        }
        ledger
    }

    /// As they are written.
    fn addresses(ledger: &Ledger, boot: &str) -> Vec<Value> {
        let whole = json!(Told { ledger, now: &now(boot) });
        whole["addresses"].as_array().unwrap().clone()
    }

    fn rest(period_ms: u64) -> Use {
        Use::Cooling(Cooldown { boot: BootId::new("b"), since: BootTime(80_000), period_ms })
    }

    #[test]
    fn an_address_is_told_with_what_it_is_used_for() {
        let sandbox = SandboxKey::from(SandboxNames {
            container_id: "c".into(),
            ifname: "eth0".into(),
            network: "aws-cni".into(),
        });
        let ledger = ledger(&[
            ("10.0.0.7", rest(30_000)),
            ("10.0.0.8", rest(20_000)),
            ("10.0.1.18", Use::Leased(sandbox)),
            ("10.9.9.9", rest(30_000)),
        ]);
        let told = addresses(&ledger, "b");
        let of = |address: &str| told.iter().find(|line| line["address"] == address).unwrap();
        assert_eq!(of("10.0.0.7")["use"], json!({ "cooling_until": "2024-10-04T00:01:50Z" }));
        assert_eq!(of("10.0.0.8")["use"], "free", "its rest is over at this very moment");
        assert_eq!(of("10.0.0.9")["use"], "free");
        assert_eq!(of("10.0.1.16/28")["use"], Value::Null);
        assert_eq!(of("10.0.1.18")["use"], json!({ "leased_by": "aws-cni/c/eth0" }));
        assert_eq!(of("10.9.9.9")["state"], "not ours");
        assert_eq!(told.len(), 6);
    }
    #[test]
    fn instants_of_another_boot_are_not_told() {
        let mut ledger = ledger(&[]);
        let shown = |ledger: &Ledger, boot| addresses(ledger, boot)[0]["shown_by_ec2"].clone();
        assert_eq!(shown(&ledger, "b"), Value::Null, "nobody knows whose boot it counts from");
        let identity = NodeIdentity {
            instance: InstanceId::new("i-1"),
            instance_type: "m5.large".into(),
            region: "eu-central-1".into(),
            zone: "eu-central-1a".into(),
            vpc: VpcId::new("vpc-1"),
            vpc_cidrs: Vec::new(),
            primary_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            primary_ipv4: Ipv4Addr::new(10, 0, 0, 4),
            subnet: SubnetId::new("subnet-1"),
            subnet_cidr: "10.0.0.0/24".parse().unwrap(),
            security_groups: Vec::new(),
        };
        ledger.apply(&Change::PutNode(NodeRecord { identity, boot: BootId::new("b") }));
        assert_eq!(shown(&ledger, "b"), "2024-10-04T00:00:40Z");
        assert_eq!(shown(&ledger, "c"), Value::Null);
    }
}
