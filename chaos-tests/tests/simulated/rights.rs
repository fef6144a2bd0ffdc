//! A role that lacks one right for an hour while pods come and go: every address that EC2 has given serves, a refusal
//! names the right, EC2 is not asked in a loop, and when the right is there all is well without a restart.

use std::time::Duration;

use holdfast_model::uses::Use;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{self as sim, Action};
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

/// Its limits are not built in, so that all rights are needed. It carries 33 pods on three ENIs of twelve addresses.
const TYPE: &str = "z9.large";
const ENIS: usize = 3;

/// How many pods are wanted, one after the other: each for ten minutes.
const SCALE: [usize; 6] = [8, 30, 4, 33, 2, 20];
const EACH: Duration = Duration::from_secs(600);

/// So often the denied call may be tried in the hour.
const TRIES: u64 = 60;

/// How soon all is well again: the longest pause after a denial, and the work.
const SOON: Duration = Duration::from_secs(6 * 60);

/// How soon a runtime tries again.
const AGAIN: Duration = Duration::from_secs(5);

/// What a node cannot do without the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prevents {
    /// Growing, where there is no room on the ENIs that it has.
    NewEnis,
    /// Growing at all.
    AllGrowth,
    /// Nothing that a pod would see.
    Tidying,
}

const RIGHTS: [(Action, Prevents); 8] = [
    (Action::CreateNetworkInterface, Prevents::NewEnis),
    (Action::AttachNetworkInterface, Prevents::NewEnis),
    (Action::ModifyNetworkInterfaceAttribute, Prevents::Tidying),
    (Action::AssignPrivateIpAddresses, Prevents::AllGrowth),
    (Action::UnassignPrivateIpAddresses, Prevents::Tidying),
    (Action::DetachNetworkInterface, Prevents::Tidying),
    (Action::DeleteNetworkInterface, Prevents::Tidying),
    // What became of an attachment whose answer was lost is read, and so is what a new process finds.
    (Action::DescribeNetworkInterfaces, Prevents::NewEnis),
];

/// Addresses for pods that EC2 has on this node's ENIs.
fn given(node: &Node) -> usize {
    node.shared.cloud_of(&node.instance).usable().map(|eni| eni.secondary.len()).sum()
}

/// Pods come or go until there are so many, as far as addresses serve; gives how many there are and what the last of those
/// was told that were refused.
async fn scale(life: &Life, node: &Node, round: usize, wanted: usize) -> (usize, Option<String>) {
    let there: Vec<String> = node.pods().into_keys().collect();
    for container in there.iter().skip(wanted) {
        life.del(container).await;
    }
    let mut told = None;
    for number in there.len()..wanted {
        let container = format!("c{round}-{number}");
        if let Err(error) = life.add(&format!("web-{number}"), &container).await {
            life.del(&container).await;
            told = Some(error.to_string());
            break;
        }
    }
    (node.pods().len(), told)
}

/// What is wrong in an hour without this right, and after it.
fn an_hour_without(action: Action, prevents: Prevents, seed: u64) -> Vec<String> {
    let node = one_node(TYPE, warm(0, 2, 0), seed);
    let mut wrong = Vec::new();
    node.live(&Steps::default(), async |life| {
        for number in 0..14 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
    })
    .unwrap();
    // Begun anew, so that what a start needs is missing as well.
    node.live(&Steps::default(), async |life| {
        let denied = Fault::new(FaultKind::Deny).on(action).of_instance(&node.instance);
        let fault = node.shared.now(|vpc| vpc.set_fault(denied)).unwrap();
        let called = node.calls();
        let begun = Instant::now();
        for (round, wanted) in SCALE.into_iter().enumerate() {
            let ends = Instant::now() + EACH;
            let (mut there, mut told) = scale(&life, &node, round, wanted).await;
            if told.is_some() {
                // What rested serves now.
                tokio::time::sleep(Duration::from_secs(40)).await;
                (there, told) = scale(&life, &node, 10 + round, wanted).await;
            }
            let has = given(&node);
            if there < wanted.min(has) {
                wrong.push(format!("{there} of {wanted} pods are served with {has} addresses: {told:?}"));
            }
            let named = format!("not allowed to call ec2:{action}");
            match (&told, prevents) {
                (Some(told), Prevents::Tidying) => wrong.push(format!("an ADD was refused: {told}")),
                (Some(told), _) if !told.contains(&named) => wrong.push(format!("a false cause: {told}")),
                _ => {}
            }
            tokio::time::sleep_until(ends).await;
            wrong.extend(node.broken_promises());
            let enis = node.shared.now(|vpc| vpc.authoritative().network_interfaces()).len();
            // One that cannot be deleted is used again.
            if enis > ENIS + 1 {
                wrong.push(format!("{enis} ENIs were made"));
            }
        }
        let hour = begun.elapsed();
        let hits = node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied().unwrap_or(0));
        if hits == 0 {
            wrong.push("the right was never needed, so nothing was tried".to_owned());
        }
        if hits > TRIES {
            wrong.push(format!("it was tried {hits} times in {hour:?}"));
        }
        wrong.extend(crate::patience::too_many_calls(node.calls() - called, hour));

        node.shared.now(sim::SimVpc::clear_faults);
        let back = Instant::now();
        while scale(&life, &node, 20, 30).await.0 < 30 && back.elapsed() < SOON {
            // As a runtime does.
            tokio::time::sleep(AGAIN).await;
        }
        if node.pods().len() < 30 {
            wrong.push(format!("{SOON:?} after the right was back {} of 30 pods run", node.pods().len()));
        }
        scale(&life, &node, 30, 3).await;
        tokio::time::sleep(Duration::from_secs(900)).await;
        let ledger = life.quiet().await;
        wrong.extend(node.faults(&ledger));
        let resting = ledger.uses.values().filter(|what| matches!(what, Use::Cooling(_))).count();
        let has = given(&node);
        if resting == 0 && has != 5 {
            wrong.push(format!("in the end there are {has} addresses for 3 pods and 2 spare ones"));
        }
    })
    .unwrap();
    wrong
}

#[test]
fn a_right_that_is_missing_for_an_hour_costs_no_address_and_is_named() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mine = RIGHTS.into_iter().enumerate().skip(half).step_by(2);
                mine.flat_map(|(number, (action, prevents))| {
                    let wrong = an_hour_without(action, prevents, 200 + number as u64);
                    wrong.into_iter().map(move |wrong| format!("without {action}: {wrong}"))
                })
                .collect::<Vec<_>>()
            })
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What EC2 told of the type is in the ledger: no other process needs the right.
#[test]
fn limits_that_were_told_once_are_known_without_the_right() {
    let node = one_node(TYPE, warm(0, 2, 0), 221);
    node.live(&Steps::default(), async |life| {
        scale(&life, &node, 0, 8).await;
        life.quiet().await;
    })
    .unwrap();
    let denied = Fault::new(FaultKind::Deny).on(Action::DescribeInstanceTypes).of_instance(&node.instance);
    let fault = node.shared.now(|vpc| vpc.set_fault(denied)).unwrap();
    node.live(&Steps::default(), async |life| {
        assert_eq!(scale(&life, &node, 1, 33).await, (33, None));
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
    let hits = node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied());
    assert_eq!(hits.unwrap_or(0), 0, "it was asked again");
}

/// Without it a ledger that is new does not know what its node carries.
#[test]
fn limits_that_may_not_be_asked_for_are_named_and_known_when_they_may() {
    let node = one_node(TYPE, warm(0, 2, 0), 220);
    let action = Action::DescribeInstanceTypes;
    let denied = Fault::new(FaultKind::Deny).on(action).of_instance(&node.instance);
    node.shared.now(|vpc| vpc.set_fault(denied)).unwrap();
    node.live(&Steps::default(), async |life| {
        let (there, told) = scale(&life, &node, 0, 12).await;
        assert!(there >= given(&node).min(12), "{there} pods with {} addresses: {told:?}", given(&node));
        let told = told.unwrap_or_default();
        assert!(told.contains("not allowed to call ec2:DescribeInstanceTypes"), "{told}");
        let called = node.calls();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let asked = node.calls() - called;
        assert!(asked as u64 <= TRIES, "{asked} calls in an hour");
        node.shared.now(sim::SimVpc::clear_faults);
        let back = Instant::now();
        while scale(&life, &node, 1, 12).await.0 < 12 {
            assert!(back.elapsed() < SOON, "{} of 12 pods", node.pods().len());
            tokio::time::sleep(AGAIN).await;
        }
        tokio::time::sleep(Duration::from_secs(300)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}
