use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::cloud::{
    Api, AttachmentStatus, AttachmentView, EniView, TAG_CLUSTER, TAG_CREATED_AT, TAG_INSTANCE, TAG_NO_MANAGE,
};
use holdfast_model::config::{Config, Setting};
use holdfast_model::eni::{EniKind, EniSlot};
use holdfast_model::ids::{AttachmentId, MacAddr, SubnetId};
use holdfast_model::ledger::Change;
use holdfast_model::limits::InstanceLimits;
use holdfast_model::node::NodeRecord;
use proptest::prelude::*;

use super::*;
use crate::Fault;
use crate::seen::{OWNER, TAG_OWNER};
use crate::toy::{identity, now_at};

/// EC2 as a node sees it that looks after what others have left. It lists whatever is there, as if it knew no filters.
struct World {
    config: Config,
    ledger: Ledger,
    observed: Observed,
    enis: BTreeMap<EniId, EniView>,
    instances: BTreeSet<InstanceId>,
    deleted: Vec<EniId>,
    calls: Vec<Api>,
    fault: Option<Fault>,
    now: Now,
}

const TRUE_LEAK: [(&str, &str); 4] = [
    (TAG_CLUSTER, "prod"),
    (TAG_OWNER, OWNER),
    (TAG_INSTANCE, "i-dead"),
    (TAG_CREATED_AT, "2025-01-01T00:00:00Z"),
];

impl World {
    fn new() -> Self {
        let now = now_at(1000);
        let mut ledger = Ledger::default();
        ledger.apply(&Change::PutNode(NodeRecord { identity: identity("m5.large"), boot: now.boot.clone() }));
        let mut observed = Observed { share: Share::of(0x7d00), ..Observed::default() };
        observed.leaks.begin(now.boottime);
        Self {
            config: Config {
                cluster: Setting::from_environment(Some("prod".to_owned())),
                ..Config::default()
            },
            ledger,
            observed,
            enis: BTreeMap::new(),
            instances: [InstanceId::new("i-1"), InstanceId::new("i-alive")].into(),
            deleted: Vec::new(),
            calls: Vec::new(),
            fault: None,
            now,
        }
    }

    fn put(&mut self, id: &str, tags: &[(&str, &str)]) {
        let view = EniView {
            id: EniId::new(id),
            mac: MacAddr([2, 0, 0, 0, 9, 9]),
            kind: EniKind::Standard,
            subnet: SubnetId::new("subnet-1"),
            security_groups: BTreeSet::new(),
            primary_ipv4: None,
            secondary: Vec::new(),
            prefixes: Vec::new(),
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            attachment: None,
        };
        self.enis.insert(view.id.clone(), view);
    }

    /// So many minutes, in each of which whatever is due is done.
    fn pass(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.now.boottime.0 += 60_000;
            for _ in 0..50 {
                if !self.turn() {
                    break;
                }
            }
        }
    }

    fn turn(&mut self) -> bool {
        let desired = Desired { config: &self.config, limits: InstanceLimits::of("m5.large") };
        let mut agenda = Agenda::new(&self.now);
        let Some(Step::Leak(call)) = step(&desired, &self.ledger, &self.observed, &self.now, &mut agenda)
        else {
            return false;
        };
        self.calls.push(call.api());
        let (me, began) = (InstanceId::new("i-1"), self.now.boottime);
        self.observed.leak_asked(&call, &self.now);
        if let Some(fault) = self.fault {
            self.observed.leak_failed(&call, Some(fault), "no", &self.now, 7);
            return true;
        }
        match &call {
            LeakCall::List { cluster, .. } => {
                let views: Vec<EniView> = self.enis.values().cloned().collect();
                self.observed.leaks.shown(&views, cluster, &me, began);
            }
            LeakCall::Instances { instances } => {
                let there = self.instances.intersection(instances).cloned().collect();
                self.observed.leaks.lived(&there, &me, began);
            }
            LeakCall::Delete { eni } => {
                assert!(self.enis[eni].attachment.is_none(), "{eni} is somebody's");
                self.enis.remove(eni);
                self.deleted.push(eni.clone());
                self.observed.leaks.gone(eni);
            }
        }
        true
    }

    fn there(&self) -> Vec<&str> {
        self.enis.keys().map(EniId::as_str).collect()
    }
}

#[test]
fn what_an_ended_instance_has_left_is_deleted_the_oldest_first() {
    let mut world = World::new();
    for (id, created) in [
        ("eni-b", "2025-03-01T00:00:00Z"),
        ("eni-c", "2025-01-01T00:00:00Z"),
        ("eni-a", "2025-02-01T00:00:00Z"),
    ] {
        let mut tags = TRUE_LEAK;
        tags[3].1 = created;
        world.put(id, &tags);
    }
    world.pass(110);
    assert_eq!(world.deleted, ["eni-c", "eni-a", "eni-b"].map(EniId::new), "{:?}", world.calls);
    assert_eq!(world.calls.len(), 2 + 1 + 3);
    world.calls.clear();
    world.pass(24 * 60);
    assert_eq!(world.calls.len(), 4, "at rest it looks four times a day: {:?}", world.calls);
}

#[test]
fn without_a_name_or_leave_nothing_is_even_looked_for() {
    type Off = fn(&mut Config);
    let offs: [Off; 6] = [
        |config| config.cluster.value = None,
        |config| config.cluster.value = Some(String::new()),
        |config| config.leaks_left.value = true,
        |config| config.provisioning_disabled.value = true,
        |config| config.metadata_only.value = true,
        |config| config.brake.value = holdfast_model::brake::Brake::Release,
    ];
    for off in offs {
        let mut world = World::new();
        off(&mut world.config);
        world.put("eni-a", &TRUE_LEAK);
        world.pass(24 * 60);
        assert_eq!((world.calls.as_slice(), world.there()), ([].as_slice(), vec!["eni-a"]));
    }
}

/// EC2 tells an account nothing of another one's instances.
#[test]
fn where_ec2_does_not_know_ourselves_nobody_has_ended() {
    let mut world = World::new();
    world.instances.clear();
    world.put("eni-a", &TRUE_LEAK);
    world.pass(48 * 60);
    assert_eq!(world.there(), ["eni-a"]);
    assert!(world.calls.len() <= 3 * 9, "{:?}", world.calls);
}

/// One that is attached and detached again between two looks was somebody's; one whose tag names another instance by then is.
#[test]
fn what_has_changed_hands_between_two_looks_is_left() {
    let mut world = World::new();
    world.put("eni-a", &TRUE_LEAK);
    world.pass(60);
    let mut tags = TRUE_LEAK;
    tags[2].1 = "i-other";
    world.put("eni-a", &tags);
    world.pass(60);
    assert_eq!(world.there(), ["eni-a"]);
}

#[test]
fn a_refusal_costs_a_few_calls_a_day() {
    for fault in [Fault::Denied, Fault::Rejected, Fault::Conflict, Fault::Throttled { retry_after: None }] {
        let mut world = World::new();
        world.put("eni-a", &TRUE_LEAK);
        world.pass(50);
        assert_eq!(world.calls.len(), 1);
        world.fault = Some(fault);
        let most = if matches!(fault, Fault::Throttled { .. }) { 24 * 60 * 2 } else { 10 };
        world.pass(24 * 60);
        assert!(world.calls.len() <= most, "{fault:?}: {}", world.calls.len());
        world.fault = None;
        world.pass(24 * 60);
        assert_eq!(world.there(), Vec::<&str>::new(), "{fault:?}");
    }
}

#[derive(Clone, Debug)]
struct Likeness {
    tags: [Option<u8>; 4],
    kept: bool,
    attached: bool,
    kind: bool,
}

fn likeness() -> impl Strategy<Value = Likeness> {
    let tag = || prop_oneof![1 => Just(None), 6 => (0..4_u8).prop_map(Some)];
    (
        tag(),
        tag(),
        tag(),
        tag(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(a, b, c, d, kept, attached, kind)| Likeness {
            tags: [a, b, c, d],
            kept,
            attached,
            kind,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever else is like one of them in all but one thing stays.
    #[test]
    fn only_what_is_proven_ours_and_dead_is_deleted(likenesses in proptest::collection::vec(likeness(), 1..40)) {
        let mut world = World::new();
        let values: [(&str, [&str; 4]); 4] = [
            (TAG_CLUSTER, ["prod", "prod", "prod", "prod-2"]),
            (TAG_OWNER, [OWNER, OWNER, OWNER, "somebody"]),
            (TAG_INSTANCE, ["i-dead", "i-dead-too", "i-alive", "i-1"]),
            (TAG_CREATED_AT, ["2025-01-01T00:00:00Z", "2035-01-01T00:00:00Z", "", "yesterday"]),
        ];
        let mut leaks = BTreeSet::new();
        for (number, like) in likenesses.iter().enumerate() {
            let id = format!("eni-{number:02}");
            let mut tags: Vec<(&str, &str)> = Vec::new();
            for (tag, (key, of)) in like.tags.iter().zip(values) {
                tags.extend(tag.map(|nth| (key, of[usize::from(nth)])));
            }
            if like.kept {
                tags.push((TAG_NO_MANAGE, "true"));
            }
            world.put(&id, &tags);
            let view = world.enis.get_mut(&EniId::new(&id)).unwrap();
            if like.kind {
                view.kind = EniKind::EfaOnly;
            }
            if like.attached {
                view.attachment = Some(AttachmentView {
                    id: AttachmentId::new("a"),
                    instance: InstanceId::new("i-dead"),
                    slot: EniSlot { card: 0, device: 1 },
                    delete_on_termination: false,
                    status: AttachmentStatus::Detaching,
                });
            }
            let [cluster, owner, instance, _] = like.tags;
            let proven = cluster.is_some_and(|nth| nth < 3)
                && owner.is_some_and(|nth| nth < 3)
                && instance.is_some_and(|nth| nth < 2)
                && !like.kept && !like.attached && !like.kind;
            if proven {
                leaks.insert(EniId::new(&id));
            }
        }
        world.pass(24 * 60);
        let deleted: BTreeSet<EniId> = world.deleted.iter().cloned().collect();
        prop_assert_eq!(&deleted, &leaks);
        prop_assert!(world.calls.len() <= leaks.len() + 4 * 3 + 3, "{:?}", world.calls);
    }
}
