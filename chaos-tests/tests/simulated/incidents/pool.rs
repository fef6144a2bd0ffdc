//! The pool: what it counts, what it waits for, what it gives back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{Action, ErrorCode, SimVpc};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{all_are_reached, come, counted, given, go};
use crate::box_of::{one_node, warm};
use crate::custom;
use crate::node::{Life, Node};
use crate::steps::Steps;

/// An ENI is made and attached within this time.
const GROWS: Duration = Duration::from_secs(12);

/// The longest distance between two reads of an ENI that EC2 refuses to attach, each of which comes before the next try; and the try.
const TRIED_AGAIN: Duration = Duration::from_secs(330);

#[test]
pub(crate) fn cilium_11088_a_wrong_error_about_the_instance_ends_with_its_cause() {
    for code in [ErrorCode::IncorrectInstanceState, ErrorCode::IncorrectState, ErrorCode::InstanceIdNotFound]
    {
        let node = one_node("m5.large", warm(0, 1, 0), 11088);
        let message = format!("The instance '{}' is not in the 'running' state.", node.instance);
        let wrong = Fault::new(FaultKind::ErrorInstead { code: code.clone(), message });
        let wrong = wrong.on(Action::AttachNetworkInterface).of_instance(&node.instance);
        node.live(&Steps::default(), async |life| {
            come(&life, &node, "old", 8).await;
            life.quiet().await;
            let fault = node.shared.now(|vpc| vpc.set_fault(wrong)).unwrap();
            let (outage, mut told) = (Instant::now(), String::new());
            let mut number = 0;
            while outage.elapsed() < Duration::from_secs(600) {
                number += 1;
                let container = format!("held{number}");
                if let Err(refused) = life.add(&container, &container).await {
                    told = refused.to_string();
                    life.del(&container).await;
                }
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            let hits = node.shared.now(|vpc| vpc.fault_hits().get(&fault).copied()).unwrap_or(0);
            assert!((2..=20).contains(&hits), "{code:?}: it was tried {hits} times");
            assert!(told.contains("AttachNetworkInterface") || told.contains("running"), "{code:?}: {told}");
            node.shared.now(SimVpc::clear_faults);
            let back = Instant::now();
            while life.add("late", "late").await.is_err() {
                life.del("late").await;
                assert!(back.elapsed() < TRIED_AGAIN, "{code:?}: {:?}", back.elapsed());
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            println!("{code:?}: served {:?} after it was over, tried {hits} times", back.elapsed());
            all_are_reached(&node, Duration::from_secs(600)).await;
            assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new(), "{code:?}");
        })
        .unwrap();
    }
}

/// Pods come at every moment around the call that gives spare addresses back.
#[test]
pub(crate) fn cilium_13412_no_pod_gets_an_address_that_is_being_given_back() {
    let mut met = 0;
    for silent in [false, true] {
        for delay in (0..1000).step_by(40) {
            let node = one_node("m5.large", warm(0, 2, 0), 13412);
            if silent {
                let lost = Fault::new(FaultKind::AnswerLost).on(Action::UnassignPrivateIpAddresses).times(1);
                node.shared.now(|vpc| vpc.set_fault(lost)).unwrap();
            }
            let chosen = Arc::new(Notify::new());
            let tells = Arc::clone(&chosen);
            let steps = Steps::default().seen_by(move |passed| {
                if passed == "before UnassignPrivateIpAddresses" {
                    tells.notify_one();
                }
            });
            node.live(&steps, async |life| {
                come(&life, &node, "old", 9).await;
                life.quiet().await;
                go(&life, "old", 7).await;
                chosen.notified().await;
                let before = given(&node);
                tokio::time::sleep(Duration::from_millis(delay)).await;
                met += usize::from(given(&node) == before);
                let adds = (0..10).map(|number| {
                    let life = life.clone();
                    async move { life.add(&format!("new-{number}"), &format!("new{number}")).await.unwrap() }
                });
                join_all(adds).await;
                all_are_reached(&node, Duration::from_secs(60)).await;
                assert_eq!(
                    node.faults(&life.quiet().await),
                    Vec::<String>::new(),
                    "{delay} ms, silent: {silent}"
                );
            })
            .unwrap();
        }
    }
    assert!(met >= 8, "only {met} came before EC2 had carried it out");
}

#[test]
pub(crate) fn cni_pr_2042_single_addresses_beside_prefixes_are_counted_when_their_pods_end() {
    let in_mode = |mode| Config { mode: Setting::default_of(mode), ..warm(0, 2, 0) };
    let node = one_node("m5.xlarge", in_mode(AddressMode::Secondary), 2042);
    node.live(&Steps::default(), async |life| {
        come(&life, &node, "old", 14).await;
        life.quiet().await;
        life.set(&in_mode(AddressMode::Prefix)).await;
        come(&life, &node, "new", 14).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        life.quiet().await;
        let asked = |node: &Node| {
            let calls = node.calls_by_action();
            let asks = [Action::AssignPrivateIpAddresses, Action::CreateNetworkInterface];
            asks.iter().filter_map(|action| calls.get(action)).sum::<usize>()
        };
        let before = asked(&node);
        for number in 0..14 {
            life.del(&format!("old{number}")).await;
            tokio::time::sleep(Duration::from_secs(40)).await;
            let ledger = life.quiet().await;
            assert_eq!(counted(&ledger), given(&node).len(), "after {} of them", number + 1);
        }
        assert_eq!(asked(&node), before, "{:?}", node.calls_by_action());
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}

/// 19 pods and four addresses that rest: by the formula of 2 warm and 23 at least nothing is short.
#[test]
pub(crate) fn cni_2896_churn_over_resting_addresses_waits_for_ec2_and_not_for_the_rest() {
    let node = one_node("m5.xlarge", warm(0, 2, 23), 2896);
    node.live(&Steps::default(), async |life| {
        come(&life, &node, "pod", 19).await;
        life.quiet().await;
        assert_eq!(given(&node).len(), 23);
        for wave in 0..5 {
            let (from, to) = (wave * 4, wave * 4 + 19);
            for number in from..from + 4 {
                life.del(&format!("pod{number}")).await;
            }
            for number in to..to + 4 {
                let begun = Instant::now();
                life.add(&format!("pod-{number}"), &format!("pod{number}")).await.unwrap();
                assert!(begun.elapsed() < GROWS, "wave {wave}: {:?}", begun.elapsed());
            }
        }
        all_are_reached(&node, Duration::from_secs(900)).await;
        let ledger = life.quiet().await;
        assert_eq!((given(&node).len(), node.faults(&ledger)), (23, Vec::new()), "nor does it stay larger");
    })
    .unwrap();
}

#[test]
pub(crate) fn cni_pr_2954_room_on_an_eni_in_a_full_subnet_keeps_no_pod_waiting() {
    let node = custom::node("m5.xlarge", warm(0, 1, 0), 2954);
    node.live(&Steps::default(), async |life| {
        come(&life, &node, "old", 3).await;
        life.quiet().await;
        // The ENI that there is has room for ten more; its subnet has none, and the tagged one has.
        custom::fill(&node, custom::OWN, 0);
        for number in 0..20 {
            let begun = Instant::now();
            life.add(&format!("new-{number}"), &format!("new{number}")).await.unwrap();
            assert!(begun.elapsed() < GROWS, "pod {number}: {:?}", begun.elapsed());
        }
        let primary = node.shared.now(|vpc| vpc.primary_eni(&node.instance)).unwrap();
        let ledger = life.quiet().await;
        let elsewhere =
            ledger.leases.values().filter(|lease| lease.faces[0].eni.as_str() != primary.as_str());
        assert!(elsewhere.count() >= 19);
        // What is full is not asked again and again.
        let calls = node.calls_by_action();
        assert!(calls[&Action::AssignPrivateIpAddresses] <= 28, "{calls:?}");
        all_are_reached(&node, Duration::from_secs(300)).await;
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}

/// A half-open connection lives 120 s in a kernel: an operator who has clients that open many sets the rest longer than that.
const REST: Duration = Duration::from_secs(180);

/// When the address that rests is given again, if it is the only one.
async fn given_again(life: &Life, freed: (IpAddr, Instant)) -> Duration {
    for number in 0.. {
        let container = format!("again{number}");
        if let Ok(lease) = life.add(&container, &container).await {
            assert_eq!(lease.faces[0].address, freed.0);
            return freed.1.elapsed();
        }
        life.del(&container).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    unreachable!("it waits for ever");
}

/// Pods wait for it all the time, the daemon is restarted, and the setting made shorter meanwhile.
#[test]
pub(crate) fn cni_3634_a_rest_that_outlasts_half_open_connections_is_kept_in_full() {
    let mut config = warm(1, 0, 0);
    config.cooldown = Setting::from_environment(REST);
    let mut node = one_node("t3.nano", config.clone(), 3634);
    let mut freed = None;
    node.live(&Steps::default(), async |life| {
        let had = come(&life, &node, "old", 2).await;
        life.quiet().await;
        life.del("old0").await;
        freed = Some((had[0], Instant::now()));
        let refused = life.add("held", "held").await.unwrap_err().to_string();
        assert!(refused.contains("rest") || refused.contains("t3.nano"), "{refused}");
        life.del("held").await;
    })
    .unwrap();
    config.cooldown = Setting::from_environment(Duration::from_secs(10));
    node.config = config;
    node.live(&Steps::default(), async |life| {
        let after = given_again(&life, freed.unwrap()).await;
        assert!((REST..REST + Duration::from_secs(10)).contains(&after), "{after:?}");
        assert_eq!(node.faults(&life.quiet().await), Vec::<String>::new());
    })
    .unwrap();
}
