//! Random lives: pods come and go, several at once, EC2, IMDS and the kernel misbehave, the disk is full, the process dies
//! at random, the node restarts. At every rest the invariants hold; at the end, with the faults gone, everything is as it
//! should be.

mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_ports::Clock;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{self as sim, Action, ErrorCode, Micros};

use crate::box_of::{one_node, warm};
use crate::clock::VirtualClock;
use crate::crash::quiet_deaths;
use crate::gc;
use crate::kernel::{LINGERS, Step};
use crate::node::{Life, Node, Outcome};
use crate::patience::{Waits, too_many_calls};
use crate::steps::Steps;
use crate::tasks::words;
use work::{Deeds, work};

/// How many lives are lived by default; `HOLDFAST_RANDOM_LIVES` asks for more, `HOLDFAST_RANDOM_FIRST` for others.
const LIVES: u64 = 300;

/// The instance types of the lives: from the smallest to one with many ENIs. Of the last the daemon must ask EC2.
const TYPES: [&str; 14] = [
    "t3.nano",
    "t3.small",
    "t3.medium",
    "t3.xlarge",
    "t4g.micro",
    "c5.large",
    "m4.4xlarge",
    "m5.large",
    "m5.xlarge",
    "m5.2xlarge",
    "m5.4xlarge",
    "m5.24xlarge",
    "m7g.large",
    "z9.large",
];

/// The longest that an ADD takes once nothing is in the way: all addresses may rest.
const REST_TAKES: Duration = Duration::from_secs(32);

/// How often an ADD may be refused then: a node that was full has not reaped yet what its dead life left.
const REFUSED: u32 = 2;

/// In so many of all lives each kind of fault must hit.
const HIT_IN: usize = 3;

struct Chance(VirtualClock);

impl Chance {
    fn below(&self, limit: u64) -> u64 {
        (self.0.random() as u64) % limit
    }

    fn one_in(&self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// How many kinds of faults the menu has.
const KINDS: usize = 14;

/// A fault from the menu, with chance or an end, so that work goes on around it.
fn draw_fault(chance: &Chance, now: Micros) -> Fault {
    const CHANGES: &[Action] = &[
        Action::CreateNetworkInterface,
        Action::AttachNetworkInterface,
        Action::ModifyNetworkInterfaceAttribute,
        Action::AssignPrivateIpAddresses,
        Action::UnassignPrivateIpAddresses,
        Action::DetachNetworkInterface,
        Action::DeleteNetworkInterface,
        Action::DescribeNetworkInterfaces,
    ];
    let action = CHANGES[chance.below(CHANGES.len() as u64) as usize];
    let often = 100 + chance.below(500) as u32;
    match chance.below(KINDS as u64) {
        0 => Fault::new(FaultKind::AnswerLost).on(action).with_permille(often),
        1 => Fault::new(FaultKind::RequestLost).on(action).with_permille(often),
        2 => Fault::new(FaultKind::Throttle).with_permille(often),
        3 => Fault::new(FaultKind::ErrorAfterEffect {
            code: ErrorCode::InternalError,
            message: "An internal error has occurred".to_owned(),
        })
        .on(action)
        .with_permille(often),
        4 => Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(10 + chance.below(80)) }),
        5 => Fault::new(FaultKind::ImdsFrozen),
        6 => Fault::new(FaultKind::ImdsOmitsEni { eni: None }),
        7 => Fault::new(FaultKind::ImdsRemembers { for_: Duration::from_secs(200) }),
        8 => Fault::new(FaultKind::LinkLate { by: Duration::from_secs(1 + chance.below(9)) }),
        // With it go the role's credentials.
        9 => Fault::new(FaultKind::ImdsAway).until(now.after(Duration::from_secs(30 + chance.below(300)))),
        10 => Fault::new(FaultKind::AnswerTruncated { keep: chance.below(400) as u32 })
            .on(action)
            .with_permille(often),
        11 => {
            let body = "<html><body>please try again</body></html>".to_owned();
            let status = if chance.one_in(2) { 200 } else { 503 };
            Fault::new(FaultKind::AnswerReplaced { status, body }).on(action).with_permille(often)
        }
        12 => Fault::new(FaultKind::FewerAddresses { most: chance.below(2) as u32 }).with_permille(often),
        _ => Fault::new(FaultKind::AnswerLate { by: Duration::from_secs(1 + chance.below(8)) })
            .on(action)
            .with_permille(often),
    }
}

/// What a life was like.
#[derive(Debug)]
struct Told {
    /// Kinds of faults, and how often they hit.
    hits: BTreeMap<String, u64>,
    /// How often the runtime did what is not just one ADD or DEL.
    deeds: Deeds,
    /// The ADDs while EC2, disk and metadata misbehaved.
    adds: Waits,
    wrong: Vec<String>,
}

/// Which changes of the kernel fail in a life, and how often in a thousand: none in every second.
fn draw_trouble(chance: &Chance) -> BTreeMap<Step, u32> {
    let steps = if chance.one_in(2) { 1 + chance.below(3) } else { 0 };
    let draw = |_| (Step::ALL[chance.below(Step::ALL.len() as u64) as usize], 50 + chance.below(400) as u32);
    (0..steps).map(draw).collect()
}

/// A word for a kind of fault.
fn kind_of(fault: &Fault) -> String {
    let words = format!("{:?}", fault.kind);
    words.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
}

fn live(seed: u64) -> Result<Told, String> {
    let chance = Chance(one_node("m5.large", warm(1, 0, 0), seed).clock);
    let targets = [(1, 0, 0), (0, 2, 0), (0, 1, 5), (0, 0, 0), (2, 0, 0)];
    let (enis, ips, minimum) = targets[chance.below(targets.len() as u64) as usize];
    let instance_type = TYPES[(seed % TYPES.len() as u64) as usize];
    let mut node = one_node(instance_type, warm(enis, ips, minimum), seed);
    let limits = sim::limits::instance_type(instance_type).unwrap();
    let is_kept = chance.one_in(3);
    if is_kept {
        node.attach_kept(limits.max_enis - 1, (limits.ipv4_per_eni - 1).min(3));
    }
    let room = (limits.max_enis - u32::from(is_kept)) * (limits.ipv4_per_eni - 1) / 2;
    let (mut hits, mut deeds, mut wrong) = (BTreeMap::new(), Deeds::default(), Vec::new());
    for life_number in 0..=chance.below(4) {
        let faults: Vec<Fault> =
            (0..chance.below(3)).map(|_| draw_fault(&chance, node.shared.now(|vpc| vpc.now()))).collect();
        let set: Vec<_> = faults
            .into_iter()
            .map(|fault| (kind_of(&fault), node.shared.now(|vpc| vpc.set_fault(fault)).unwrap()))
            .collect();
        node.cut_off = chance.one_in(10);
        node.kernel.set_trouble(draw_trouble(&chance), chance.below(u64::MAX));
        let (began, called) = (node.shared.elapsed(), node.calls());
        let steps = Steps::dying_at(chance.one_in(2).then(|| chance.below(150) as usize));
        let outcome = node
            .live(&steps, async |life| {
                work(&life, &node, &chance, life_number, &mut deeds).await;
            })
            .map_err(|error| format!("a life ended badly: {error:#}"))?;
        node.disk.set_full(false);
        node.disk.set_stuck(false);
        node.kernel.set_trouble(BTreeMap::new(), 0);
        wrong.extend(too_many_calls(node.calls() - called, node.shared.elapsed().saturating_sub(began)));
        let told = node.shared.now(|vpc| vpc.fault_hits().clone());
        for (kind, fault) in set {
            *hits.entry(kind).or_default() += told.get(&fault).copied().unwrap_or(0);
            node.shared.now(|vpc| vpc.clear_fault(fault));
        }
        for (step, failed) in node.kernel.take_trouble() {
            *hits.entry(format!("{step:?}")).or_default() += failed;
        }
        if outcome == Outcome::Killed && chance.one_in(3) {
            node.disk.lose_power();
            node.reboot();
        }
    }
    node.cut_off = false;
    wrong.extend(node.answered().faults());
    let adds = node.answered().take_adds();
    node.live(&Steps::default(), async |life| {
        end_well(&life, &node, room as usize, &mut wrong).await;
    })
    .map_err(|error| format!("the last life ended badly: {error:#}"))?;
    let longest = node.answered().take_adds().longest;
    if longest > REST_TAKES {
        wrong.push(format!("with nothing in the way an ADD was answered after {longest:?}"));
    }
    wrong.sort();
    wrong.dedup();
    Ok(Told { hits, deeds, adds, wrong })
}

/// Nothing is in the way any more. So many pods live on at most: others need room.
async fn end_well(life: &Life, node: &Node, room: usize, wrong: &mut Vec<String>) {
    let mut live = 0;
    for (container, pod) in node.pods() {
        if pod.deleting || pod.address.is_none() || live == room {
            life.del(&container).await;
        } else {
            live += 1;
        }
    }
    // One that did not want to go may be about to.
    tokio::time::sleep(LINGERS).await;
    wrong.extend(gc::collect(life, node).await);
    let mut answer = life.add("last", "last").await;
    for _ in 0..REFUSED {
        if answer.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        answer = life.add_again("last").await;
    }
    if let Err(error) = answer {
        wrong.push(format!("an ADD at the end failed: {error}"));
    }
    // Lagging views and long pauses come to an end.
    tokio::time::sleep(Duration::from_secs(900)).await;
    let ledger = life.quiet().await;
    wrong.extend(node.faults(&ledger));
}

#[test]
fn random_lives_end_well() {
    quiet_deaths();
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let lives = asked("HOLDFAST_RANDOM_LIVES").unwrap_or(LIVES);
    let first = asked("HOLDFAST_RANDOM_FIRST").unwrap_or(0);
    let told: Vec<(u64, Result<Told, String>)> = std::thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            scope.spawn(move || {
                let seeds = (first + worker..first + lives).step_by(2);
                let lived = seeds.map(|seed| {
                    let life = std::panic::catch_unwind(|| live(seed));
                    (seed, life.unwrap_or_else(|payload| Err(format!("panicked: {}", words(&*payload)))))
                });
                lived.collect::<Vec<_>>()
            })
        });
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let failures: Vec<String> = told
        .iter()
        .flat_map(|(seed, told)| {
            let (wrong, hits) = match told {
                Ok(told) => (told.wrong.clone(), format!(", hit by {:?}", told.hits)),
                Err(wrong) => (vec![wrong.clone()], String::new()),
            };
            wrong.into_iter().map(move |wrong| format!("seed {seed}: {wrong}{hits}"))
        })
        .collect();
    assert!(failures.is_empty(), "{} in {lives} lives:\n{}", failures.len(), failures.join("\n"));
    if lives >= LIVES {
        let told: Vec<&Told> = told.iter().filter_map(|(_, told)| told.as_ref().ok()).collect();
        let mut hit_in: BTreeMap<&str, usize> = BTreeMap::new();
        for (kind, hits) in told.iter().flat_map(|told| &told.hits) {
            *hit_in.entry(kind).or_default() += usize::from(*hits > 0);
        }
        let of = |count: fn(&Waits) -> u32| told.iter().map(|told| count(&told.adds)).sum::<u32>();
        let (served, refused) = (of(|adds| adds.served), of(|adds| adds.refused));
        println!(
            "{served} ADDs served and {refused} refused in {lives} lives; faults hit in so many: {hit_in:?}"
        );
        let deeds: Deeds = told.iter().map(|told| told.deeds).sum();
        println!("the runtime's deeds: {deeds:?}");
        assert!(deeds.all_done(), "{deeds:?}");
        assert!(served > refused, "{refused} ADDs were refused, {served} served");
        assert_eq!(hit_in.len(), KINDS + Step::ALL.len(), "{hit_in:?}");
        assert!(hit_in.values().all(|lives| *lives >= HIT_IN), "a fault that hits nothing: {hit_in:?}");
    }
}
