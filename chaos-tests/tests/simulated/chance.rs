//! Random lives: pods come and go, EC2 and IMDS misbehave, the disk is full, the process dies at random, the node restarts. At every
//! rest the invariants hold; at the end, with the faults gone, everything is as it should be.

use std::time::Duration;

use holdfast_engine::AddError;
use holdfast_model::invariants;
use holdfast_ports::Clock;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{Action, ErrorCode};

use crate::box_of::{one_node, warm};
use crate::clock::VirtualClock;
use crate::crash::quiet_deaths;
use crate::node::{Life, Node, Outcome};
use crate::steps::Steps;

/// How many lives are lived by default; `HOLDFAST_RANDOM_LIVES` asks for more.
const LIVES: u64 = 150;

struct Chance(VirtualClock);

impl Chance {
    fn below(&self, limit: u64) -> u64 {
        (self.0.random() as u64) % limit
    }

    fn one_in(&self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// A fault from the menu, with chance or an end, so that work goes on around it.
fn draw_fault(chance: &Chance) -> Fault {
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
    match chance.below(9) {
        0 => Fault::new(FaultKind::AnswerLost).on(action).with_permille(often),
        1 => Fault::new(FaultKind::RequestLost).on(action).with_permille(often),
        2 => Fault::new(FaultKind::Throttle).with_permille(often),
        3 => Fault::new(FaultKind::ErrorAfterEffect {
            code: ErrorCode::InternalError,
            message: "An internal error has occurred".to_owned(),
        })
        .on(action)
        .with_permille(often),
        4 => Fault::new(FaultKind::DescribeLags { by: Duration::from_secs(1 + chance.below(15)) }),
        5 => Fault::new(FaultKind::ImdsFrozen),
        6 => Fault::new(FaultKind::ImdsOmitsEni { eni: None }),
        7 => Fault::new(FaultKind::ImdsRemembers { for_: Duration::from_secs(200) }),
        _ => Fault::new(FaultKind::AnswerLate { by: Duration::from_secs(1 + chance.below(8)) })
            .on(action)
            .with_permille(often),
    }
}

/// A stretch of a runtime's work. Refusals are no failures here: EC2 may not let anything through.
async fn work(life: &Life, node: &Node, chance: &Chance, life_number: u64) {
    for round in 0..6 {
        node.disk.set_full(chance.one_in(10));
        node.disk.set_stuck(chance.one_in(10));
        for number in 0..=chance.below(4) {
            let container = format!("c{life_number}-{round}-{number}");
            // Names recur: a pod that comes back is another sandbox.
            let added = life.add(&format!("web-{}", chance.below(8)), &container).await;
            if added == Err(AddError::Stopping) {
                std::future::pending::<()>().await;
            }
        }
        for (container, pod) in node.pods() {
            if pod.address.is_none() || chance.one_in(3) {
                life.del(&container).await;
                if chance.one_in(3) {
                    life.del(&container).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(chance.below(60_000))).await;
        if let Ok(dump) = life.engine.dump().await {
            let broken = invariants::check(&dump.ledger, None);
            assert!(broken.is_empty(), "in the middle of a life: {broken:?}");
        }
    }
}

fn live(seed: u64) -> Result<(), String> {
    let chance = Chance(one_node("m5.large", warm(1, 0, 0), seed).clock);
    let targets = [(1, 0, 0), (0, 2, 0), (0, 1, 5), (0, 0, 0), (2, 0, 0)];
    let (enis, ips, minimum) = targets[chance.below(targets.len() as u64) as usize];
    let mut node = one_node("m5.large", warm(enis, ips, minimum), seed);
    for life_number in 0..=chance.below(4) {
        let faults: Vec<Fault> = (0..chance.below(3)).map(|_| draw_fault(&chance)).collect();
        let set: Vec<_> =
            faults.into_iter().map(|fault| node.shared.now(|vpc| vpc.set_fault(fault)).unwrap()).collect();
        node.cut_off = chance.one_in(10);
        let steps = Steps::dying_at(chance.one_in(2).then(|| chance.below(150) as usize));
        let outcome = node
            .live(&steps, async |life| {
                work(&life, &node, &chance, life_number).await;
            })
            .map_err(|error| format!("a life ended badly: {error:#}"))?;
        node.disk.set_full(false);
        node.disk.set_stuck(false);
        for fault in set {
            node.shared.now(|vpc| vpc.clear_fault(fault));
        }
        if outcome == Outcome::Killed && chance.one_in(3) {
            node.disk.lose_power();
            node.reboot();
        }
    }
    node.cut_off = false;
    let mut wrong = Vec::new();
    node.live(&Steps::default(), async |life| {
        for (container, pod) in node.pods() {
            if pod.deleting || pod.address.is_none() {
                life.del(&container).await;
            }
        }
        if let Err(error) = life.add("last", "last").await
            && !error.to_string().contains("m5.large")
        {
            wrong.push(format!("an ADD at the end failed: {error}"));
        }
        // Lagging views and long pauses come to an end.
        tokio::time::sleep(Duration::from_secs(900)).await;
        let ledger = life.quiet().await;
        wrong.extend(node.faults(&ledger));
    })
    .map_err(|error| format!("the last life ended badly: {error:#}"))?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

#[test]
fn random_lives_end_well() {
    quiet_deaths();
    let asked = std::env::var("HOLDFAST_RANDOM_LIVES").ok().map(|text| text.parse().unwrap());
    let lives = asked.unwrap_or(LIVES);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                scope.spawn(move || {
                    (worker..lives)
                        .step_by(2)
                        .filter_map(|seed| {
                            let result = std::panic::catch_unwind(|| live(seed))
                                .unwrap_or_else(|_| Err("panicked; see above".to_owned()));
                            result.err().map(|what| format!("seed {seed}: {what}"))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {lives} lives:\n{}", failures.len(), failures.join("\n"));
}
