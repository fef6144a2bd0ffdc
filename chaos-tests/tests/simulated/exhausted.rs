//! Whatever there is too little of, in each address mode: the ADD that cannot be served is refused with the true cause before its
//! deadline, and when the cause is gone pods are served again, without a restart.

use std::time::Duration;

use holdfast_model::config::{AddressMode, Setting};
use holdfast_model::pool::Family;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{Action, SimVpc};
use tokio::time::Instant;

use crate::box_of::{one_node, one_node_of_both, warm};
use crate::custom;
use crate::node::{Life, Node};
use crate::steps::Steps;

/// 27 addresses for pods, 18 of them on ENIs that have to be made.
const TYPE: &str = "m5.large";
/// More than any mode serves before it runs into what is short.
const MOST: usize = 440;
/// The daemon's part of the time that a runtime gives an ADD.
const DEADLINE: Duration = Duration::from_secs(60);
/// As kubelet asks again.
const AGAIN: Duration = Duration::from_secs(10);
/// Every pause has ended by then, that of a full subnet above all.
const SOON: Duration = Duration::from_secs(150);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Secondary,
    Prefix,
    Custom,
    Ipv6,
}

impl Mode {
    fn node(self, seed: u64) -> Node {
        let mut config = warm(0, 1, 0);
        if matches!(self, Self::Prefix | Self::Ipv6) {
            config.mode = Setting::from_environment(AddressMode::Prefix);
        }
        match self {
            Self::Secondary | Self::Prefix => return one_node(TYPE, config, seed),
            Self::Ipv6 => {
                config.family = Setting::from_environment(Family::V6);
                return one_node_of_both(TYPE, config, seed);
            }
            // With discovery another subnet serves.
            Self::Custom => config.subnet_discovery = Setting::from_environment(false),
        }
        let mut node = custom::node(TYPE, config.clone(), seed);
        node.config = custom::applied(&node, config, custom::PODS);
        node
    }

    /// The subnet that ENIs are made in.
    fn subnet(self) -> &'static str {
        if self == Self::Custom { custom::PODS } else { custom::OWN }
    }

    fn assigns(self) -> Action {
        if self == Self::Ipv6 { Action::AssignIpv6Addresses } else { Action::AssignPrivateIpAddresses }
    }
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// No free address.
    Subnet,
    /// Three free addresses.
    SubnetNearly,
    /// Addresses, but no block of them that is free, and single ones for four.
    Blocks,
    Slots,
    Account,
    RightToMake,
    RightToAssign,
}

impl Short {
    fn brought_about(self, mode: Mode, node: &Node) {
        let left = match self {
            Self::Subnet => 0,
            Self::SubnetNearly => 3,
            _ => u32::MAX,
        };
        let deny = |action| Fault::new(FaultKind::Deny).on(action).of_instance(&node.instance);
        match self {
            Self::Subnet | Self::SubnetNearly => custom::fill(node, mode.subnet(), left),
            Self::Blocks => {
                node.shared.now(|vpc| vpc.fragment(&custom::subnet_id(vpc, mode.subnet()))).unwrap();
                custom::fill(node, mode.subnet(), 4);
            }
            Self::Slots => {}
            Self::Account => node.shared.now(|vpc| vpc.set_eni_quota(1)),
            Self::RightToMake => {
                drop(node.shared.now(|vpc| vpc.set_fault(deny(Action::CreateNetworkInterface))));
            }
            Self::RightToAssign => drop(node.shared.now(|vpc| vpc.set_fault(deny(mode.assigns())))),
        }
    }

    async fn ended(self, mode: Mode, node: &Node, life: &Life) {
        node.shared.now(SimVpc::clear_faults);
        node.shared.now(|vpc| vpc.set_eni_quota(5000));
        custom::vacate(node, mode.subnet());
        if self == Self::Slots {
            life.del("c0").await;
        }
    }

    fn cause(self) -> &'static str {
        match self {
            Self::Subnet | Self::SubnetNearly | Self::Blocks => "has no free addresses",
            Self::Slots => "pod addresses that a m5.large can carry are in use",
            Self::Account => "the account's quota of network interfaces in this region is used up",
            Self::RightToMake => "not allowed to call ec2:CreateNetworkInterface",
            Self::RightToAssign => "not allowed to call ec2:Assign",
        }
    }
}

/// What is wrong with how it was said and outlived.
fn run_short(mode: Mode, short: Short, seed: u64) -> Vec<String> {
    let node = mode.node(seed);
    let mut wrong = Vec::new();
    node.live(&Steps::default(), async |life| {
        short.brought_about(mode, &node);
        let mut refused = None;
        for number in 0..MOST {
            let begun = Instant::now();
            let answer = life.add(&format!("web-{number}"), &format!("c{number}")).await;
            if begun.elapsed() > DEADLINE {
                wrong.push(format!("ADD {number} was answered after {:?}", begun.elapsed()));
            }
            if let Err(error) = answer {
                refused = Some((number, error.to_string()));
                break;
            }
        }
        let Some((number, told)) = refused else {
            wrong.push(format!("{MOST} pods are served"));
            return;
        };
        if !told.contains(short.cause()) {
            wrong.push(format!("ADD {number} was refused for another cause: {told}"));
        }
        short.ended(mode, &node, &life).await;
        let back = Instant::now();
        while let Err(error) = life.add_again(&format!("c{number}")).await {
            if back.elapsed() > SOON {
                wrong.push(format!("{:?} later: {error}", back.elapsed()));
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
        let ledger = life.quiet().await;
        wrong.extend(node.faults(&ledger));
    })
    .unwrap();
    wrong.into_iter().map(|what| format!("{mode:?}, {short:?}: {what}")).collect()
}

#[test]
fn the_true_cause_is_told_before_the_deadline_and_service_resumes() {
    use Mode::{Custom, Ipv6, Prefix, Secondary};
    let all = [Secondary, Prefix, Custom, Ipv6];
    let makes_enis = [Secondary, Prefix, Custom];
    let cases: Vec<(Mode, Short)> = [
        (&all[..3], Short::Subnet),
        (&all[..3], Short::SubnetNearly),
        (&[Prefix], Short::Blocks),
        (&makes_enis, Short::Slots),
        (&makes_enis, Short::Account),
        (&makes_enis, Short::RightToMake),
        (&all, Short::RightToAssign),
    ]
    .into_iter()
    .flat_map(|(modes, short)| modes.iter().map(move |mode| (*mode, short)))
    .collect();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let mine: Vec<_> = cases.iter().copied().enumerate().skip(half).step_by(2).collect();
            scope.spawn(move || {
                mine.into_iter()
                    .flat_map(|(number, (mode, short))| run_short(mode, short, 300 + number as u64))
                    .collect::<Vec<_>>()
            })
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
