//! The operator's brake, a cordon and a ban on provisioning, each put on and taken off under running pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::brake::Brake;
use holdfast_model::config::Config;
use holdfast_model::settings::ClusterSettings;
use holdfast_sim::vpc::{Action, Caller};

use crate::box_of::{one_node, warm};
use crate::node::{Life, Node};
use crate::steps::Steps;

const HOUR: Duration = Duration::from_secs(3600);

/// Those that give something back.
const GIVE_BACK: [Action; 3] =
    [Action::UnassignPrivateIpAddresses, Action::DetachNetworkInterface, Action::DeleteNetworkInterface];

impl Node {
    /// How often this node has called each action up to now.
    pub(crate) fn calls_by_action(&self) -> BTreeMap<Action, usize> {
        let caller = Caller::instance(&self.instance);
        let mut counted = BTreeMap::new();
        self.shared.now(|vpc| {
            for call in vpc.log().by(&caller) {
                *counted.entry(call.action).or_default() += 1;
            }
        });
        counted
    }

    fn gave_back(&self) -> usize {
        let counted = self.calls_by_action();
        GIVE_BACK.iter().filter_map(|action| counted.get(action)).sum()
    }
}

impl Life {
    /// The settings are changed while the daemon runs.
    pub(crate) async fn set(&self, config: &Config) {
        self.engine.configure(Arc::new(config.clone()), ClusterSettings::default()).await.unwrap();
    }
}

fn braked(base: &Config, brake: Brake) -> Config {
    let mut config = base.clone();
    config.brake.value = brake;
    config
}

/// Thirty pods, and room for as many again that was theirs a moment ago.
async fn thirty_pods(life: &Life) {
    for number in 0..60 {
        life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
    }
    life.quiet().await;
    for number in 30..60 {
        life.del(&format!("c{number}")).await;
    }
}

#[test]
fn with_the_brake_on_nothing_is_given_back_or_nobody_called_and_no_pod_loses_anything() {
    for (number, brake) in [Brake::Release, Brake::All].into_iter().enumerate() {
        let base = warm(0, 2, 0);
        let node = one_node("m5.4xlarge", base.clone(), 300 + number as u64);
        node.live(&Steps::default(), async |life| {
            thirty_pods(&life).await;
            life.set(&braked(&base, brake)).await;
            let (called, gave_back) = (node.calls(), node.gave_back());
            tokio::time::sleep(2 * HOUR).await;
            let calls = node.calls() - called;
            // One that was under way when it came ends.
            assert!(node.gave_back() <= gave_back + 1, "{brake}: {:?}", node.calls_by_action());
            assert!(calls <= if brake == Brake::All { 1 } else { 2 }, "{brake}: {calls} calls");
            assert_eq!(node.broken_promises(), Vec::<String>::new(), "{brake}");
            // What was given serves: thirty that had pods, and two to spare.
            for number in 60..90 {
                life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
            }
            if brake == Brake::All {
                let mut told = String::new();
                for number in 90..95 {
                    if let Err(error) = life.add(&format!("web-{number}"), &format!("c{number}")).await {
                        life.del(&format!("c{number}")).await;
                        told = error.to_string();
                    }
                }
                assert!(told.contains("HOLDFAST_BRAKE=all"), "{told}");
                assert!(node.calls() - called <= 1, "{:?}", node.calls_by_action());
            }
            life.set(&base).await;
            life.add("late", "late").await.unwrap();
            tokio::time::sleep(Duration::from_secs(600)).await;
            let ledger = life.quiet().await;
            assert_eq!(node.faults(&ledger), Vec::<String>::new(), "{brake}");
        })
        .unwrap();
    }
}

/// A process that starts under the brake reads nothing, and serves from its ledger.
#[test]
fn a_start_under_the_whole_brake_calls_nobody() {
    let base = warm(0, 5, 0);
    let mut node = one_node("m5.large", base.clone(), 310);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
    })
    .unwrap();
    node.config = braked(&base, Brake::All);
    let called = node.calls();
    node.live(&Steps::default(), async |life| {
        life.add("b", "b").await.unwrap();
        life.del("a").await;
        tokio::time::sleep(HOUR).await;
        assert_eq!(node.calls(), called);
        assert_eq!(node.broken_promises(), Vec::<String>::new());
        life.set(&base).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// Drained, and then not ended after all.
#[test]
fn a_cordoned_node_detaches_nothing_and_grows_when_it_is_schedulable_again() {
    let node = one_node("m5.large", warm(0, 2, 0), 320);
    node.live(&Steps::default(), async |life| {
        for number in 0..15 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        life.engine.cordon(true).await.unwrap();
        let before = node.calls_by_action();
        for number in 0..15 {
            life.del(&format!("c{number}")).await;
        }
        tokio::time::sleep(HOUR).await;
        let after = node.calls_by_action();
        for action in
            [Action::DetachNetworkInterface, Action::DeleteNetworkInterface, Action::CreateNetworkInterface]
        {
            assert_eq!(before.get(&action), after.get(&action), "{action}");
        }
        // Two are spare, and no third is asked for.
        let mut told = String::new();
        for number in 20..24 {
            match life.add(&format!("web-{number}"), &format!("d{number}")).await {
                Ok(_) => {}
                Err(error) => {
                    life.del(&format!("d{number}")).await;
                    told = error.to_string();
                }
            }
        }
        assert!(told.contains("cordoned"), "{told}");
        life.engine.cordon(false).await.unwrap();
        life.add("late", "late").await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

/// Each is flipped under thirty pods, at a moment when the pool wants to change.
#[test]
fn flips_under_thirty_pods_cost_no_pod_its_address() {
    let base = warm(0, 2, 0);
    let node = one_node("m5.4xlarge", base.clone(), 330);
    let mut banned = base.clone();
    banned.provisioning_disabled.value = true;
    node.live(&Steps::default(), async |life| {
        thirty_pods(&life).await;
        let addresses = |node: &Node| -> BTreeMap<String, _> {
            node.pods()
                .into_iter()
                .filter(|(name, _)| name.len() <= 3)
                .map(|(name, pod)| (name, pod.address))
                .collect()
        };
        let had = addresses(&node);
        assert_eq!(had.len(), 30);
        for (round, config) in
            [&braked(&base, Brake::All), &base, &banned, &braked(&base, Brake::Release), &base]
                .into_iter()
                .enumerate()
        {
            for number in 0..8 {
                // Refused where nothing may be asked for.
                if life.add("come", &format!("come{round}-{number}")).await.is_err() {
                    life.del(&format!("come{round}-{number}")).await;
                }
            }
            life.set(config).await;
            life.engine.cordon(round % 2 == 0).await.unwrap();
            for number in 0..8 {
                life.del(&format!("come{round}-{number}")).await;
            }
            tokio::time::sleep(Duration::from_secs(300)).await;
            assert_eq!(node.broken_promises(), Vec::<String>::new(), "round {round}");
            assert_eq!(addresses(&node), had, "round {round}");
        }
        life.engine.cordon(false).await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
        // At rest: two reads in six hours, and a pod that is replaced costs none.
        let called = node.calls();
        life.del("c0").await;
        life.add("web-0", "e0").await.unwrap();
        tokio::time::sleep(HOUR * 3 / 4).await;
        assert!(node.calls() - called <= 1, "{:?}", node.calls_by_action());
    })
    .unwrap();
}
