//! Several nodes of one box in one process, on one clock: each dies alone.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_sim::vpc::Caller;
use tokio::time::{Instant, timeout};

use crate::box_of::{nodes, one_node, warm};
use crate::crash::{quiet_deaths, served};
use crate::node::{Life, Node, Outcome};
use crate::steps::Steps;

/// The longest that an ADD takes where nothing is wrong: an ENI is made, attached and set up for it.
const ADD_TAKES: Duration = Duration::from_secs(10);

/// How often an instance called EC2.
fn calls_of(node: &Node) -> usize {
    node.shared.now(|vpc| vpc.log().by(&Caller::instance(&node.instance)).count())
}

/// Pods come and go until the others are done; none waits longer than on a node that is alone.
async fn undisturbed(life: Life, done: &Cell<bool>) -> usize {
    let mut served = 0;
    while !done.get() {
        let container = format!("a{served}");
        let added = timeout(ADD_TAKES, life.add(&container, &container)).await;
        added.expect("in time").expect("served");
        if served >= 5 {
            life.del(&format!("a{}", served - 5)).await;
        }
        served += 1;
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
    served
}

/// Enough for every kind of step. What a dead life left of pods goes first: the node would be full of them.
async fn busy(node: &Node, life: Life, from: usize) {
    for container in node.pods().into_keys() {
        life.del(&container).await;
    }
    for number in from..from + 9 {
        served(life.add(&format!("b{number}"), &format!("b{number}")).await).await;
    }
    for number in from..from + 9 {
        life.del(&format!("b{number}")).await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
}

/// Dies at each of these steps, one life after another.
async fn die_and_rise(node: &Node, steps: impl Iterator<Item = usize>) -> usize {
    let mut deaths = 0;
    for (turn, step) in steps.enumerate() {
        let outcome =
            node.life(&Steps::dying_at(Some(step)), |life| busy(node, life, turn * 100)).await.unwrap();
        deaths += usize::from(outcome == Outcome::Killed);
        // What it had sent is carried out; after that nothing of it is left that could do anything.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let calls = calls_of(node);
        let disk = node.disk.ledger_after_power_cut();
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(calls_of(node), calls, "a dead node calls EC2 (step {step})");
        assert_eq!(node.disk.ledger_after_power_cut(), disk, "a dead node writes (step {step})");
    }
    deaths
}

/// What the runtime still has goes; the node comes to rest; what is wrong then.
async fn tidy(node: &Node) -> Vec<String> {
    let mut wrong = Vec::new();
    let steps = Steps::default();
    let outcome = node.life(&steps, async |life| {
        for container in node.pods().into_keys() {
            life.del(&container).await;
        }
        life.add("last", "last").await.unwrap();
        tokio::time::sleep(Duration::from_secs(300)).await;
        let ledger = life.quiet().await;
        wrong = node.faults(&ledger);
    });
    assert_eq!(outcome.await.unwrap(), Outcome::Finished);
    wrong
}

#[test]
fn nodes_die_and_start_again_while_their_neighbour_goes_on() {
    quiet_deaths();
    let on_one_stage = nodes(3, "m5.large", warm(0, 2, 0), 31);
    let [still, dying, other] = &on_one_stage[..] else { panic!("three were asked for") };
    still.on_stage(async {
        let begun = Instant::now();
        let done = Cell::new(false);
        let served = Cell::new(0);
        let steps = Steps::default();
        let still_lives = still.life(&steps, async |life| {
            served.set(undisturbed(life.clone(), &done).await);
            let ledger = life.quiet().await;
            assert_eq!(still.faults(&ledger), Vec::<String>::new());
        });
        let others_die = async {
            // Different steps for each, so that they are at different places when the other dies.
            let deaths = tokio::join!(
                die_and_rise(dying, (3..120).step_by(9)),
                die_and_rise(other, (5..120).step_by(11))
            );
            let wrong = tokio::join!(tidy(dying), tidy(other));
            done.set(true);
            (deaths, wrong)
        };
        let (outcome, (deaths, wrong)) = tokio::join!(still_lives, others_die);
        assert_eq!(outcome.unwrap(), Outcome::Finished);
        assert_eq!(wrong, (Vec::new(), Vec::new()));
        assert!(deaths.0 >= 10 && deaths.1 >= 8, "only {deaths:?} lives came to their step");
        assert!(served.get() >= 100, "only {} pods in {:?}", served.get(), begun.elapsed());
        println!("{deaths:?} deaths beside {} pods in {:?}", served.get(), begun.elapsed());
    });
    let mut all = BTreeSet::new();
    for pod in on_one_stage.iter().flat_map(|node| node.pods().into_values()) {
        assert!(all.insert(pod.address), "{:?} was given twice", pod.address);
    }
}

/// What it waits for may never come, so it would stay for ever: all of it ends with the process.
#[test]
fn nothing_that_a_dead_process_had_begun_is_left() {
    quiet_deaths();
    let node = one_node("m5.large", warm(0, 2, 0), 32);
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut deaths = 0;
    for step in (2..120).step_by(7) {
        node.on_stage(async {
            // Whoever belongs to the box has begun.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let before = alive();
            let steps = Steps::dying_at(Some(step));
            let outcome = node.life(&steps, |life| busy(&node, life, step * 100)).await.unwrap();
            deaths += usize::from(outcome == Outcome::Killed);
            // What it had sent is the box's own business, and soon carried out.
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(alive(), before, "tasks, after death at step {step}");
        });
    }
    assert!(deaths >= 10, "only {deaths} lives came to their step");
}
