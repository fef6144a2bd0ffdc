//! Prefixes under pods that are replaced all the time: how many are held, and what that costs.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_model::config::{AddressMode, Config, Setting};

use crate::box_of::{one_node, warm};
use crate::node::Life;
use crate::prefixes::{held, writes};
use crate::steps::Steps;

fn prefixes() -> Config {
    Config { mode: Setting::default_of(AddressMode::Prefix), ..warm(1, 0, 0) }
}

/// Which pod is the next to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// As a rollout does: in ten minutes of a tenth each, everyone's turn comes once.
    Oldest,
    /// As nodes fail and jobs end.
    Any,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    DelFirst,
    AddFirst,
}

/// Pods of which a tenth is replaced each minute.
struct Churn {
    life: Life,
    pods: VecDeque<u32>,
    made: u32,
    drawn: u64,
}

impl Churn {
    fn new(life: Life, seed: u64) -> Self {
        Self { life, pods: VecDeque::new(), made: 0, drawn: seed }
    }

    async fn add(&mut self) {
        let number = self.made;
        self.made += 1;
        self.life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        self.pods.push_back(number);
    }

    async fn grow_to(&mut self, count: usize) {
        while self.pods.len() < count {
            self.add().await;
        }
    }

    fn take(&mut self, next: Next) -> u32 {
        self.drawn =
            self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = match next {
            Next::Oldest => 0,
            Next::Any => usize::try_from(self.drawn >> 33).unwrap() % self.pods.len(),
        };
        self.pods.remove(at).unwrap()
    }

    async fn del(&mut self, next: Next) {
        let number = self.take(next);
        self.life.del(&format!("c{number}")).await;
    }

    /// One minute; afterwards, how many prefixes the node has.
    async fn minute(&mut self, next: Next, order: Order) -> usize {
        let count = u32::try_from(self.pods.len().div_ceil(10)).unwrap();
        for _ in 0..count {
            if order == Order::AddFirst {
                self.add().await;
            }
            self.del(next).await;
            // By then the kernel has removed the link, and the lease is over.
            tokio::time::sleep(Duration::from_secs(1)).await;
            if order == Order::DelFirst {
                self.add().await;
            }
            tokio::time::sleep((Duration::from_secs(60) / count).saturating_sub(Duration::from_secs(1)))
                .await;
        }
        held(&self.life.engine.dump().await.unwrap().ledger).1
    }
}

/// As many as so many pods need, and the spare one.
fn wanted(pods: usize) -> usize {
    pods.div_ceil(16) + 1
}

/// The arithmetic: with `WARM_PREFIX_TARGET=1` sixteen addresses are kept beyond those that are leased, so the fewest prefixes for
/// n pods are those that n + 16 addresses take. Of a tenth a minute, resting half a minute, a twentieth rests at any time: up
/// to 320 pods that is less than the spare prefix. Pods that come before the ones that they replace have gone are pods.
#[test]
fn under_churn_there_is_one_spare_prefix_within_ten_minutes() {
    for next in [Next::Oldest, Next::Any] {
        for order in [Order::DelFirst, Order::AddFirst] {
            for (count, seed) in [(1, 1), (16, 2), (31, 3), (48, 4), (80, 5), (96, 6), (100, 7), (110, 8)] {
                let node = one_node("m5.4xlarge", prefixes(), 700 + seed);
                node.live(&Steps::default(), async |life| {
                    let mut churn = Churn::new(life, seed);
                    churn.grow_to(count).await;
                    // Once there were a few more.
                    churn.grow_to(count + 3).await;
                    for _ in 0..3 {
                        churn.del(next).await;
                    }
                    for _ in 0..10 {
                        churn.minute(next, order).await;
                    }
                    let before = writes(&node);
                    let most = count + usize::from(order == Order::AddFirst);
                    for minute in 10..30 {
                        let held = churn.minute(next, order).await;
                        let case = format!("{next:?}, {order:?}, {count} pods, minute {minute}");
                        assert!(held <= wanted(most), "{held} of {}: {case}", wanted(most));
                    }
                    let made = writes(&node) - before;
                    // One that fell empty late may go.
                    assert!(made <= 2, "{next:?}, {order:?}, {count} pods: {made} writes");
                    assert_eq!(node.broken_promises(), Vec::<String>::new());
                })
                .unwrap();
            }
        }
    }
}

/// As many as fit, and most of them gone, wherever they were: a rollout of the others, in which everyone's turn comes once, frees
/// all prefixes but those that are needed.
#[test]
fn what_was_spread_comes_together_within_ten_minutes_of_a_rollout() {
    for order in [Order::DelFirst, Order::AddFirst] {
        for (count, seed) in [(16, 2), (31, 3), (48, 4), (80, 5), (96, 6), (100, 7)] {
            let node = one_node("m5.4xlarge", prefixes(), 700 + seed);
            node.live(&Steps::default(), async |life| {
                let mut churn = Churn::new(life, seed);
                churn.grow_to(110).await;
                while churn.pods.len() > count {
                    churn.del(Next::Any).await;
                }
                let most = count + usize::from(order == Order::AddFirst);
                let mut seen = Vec::new();
                for _ in 0..12 {
                    seen.push(churn.minute(Next::Oldest, order).await);
                }
                let last = *seen.last().unwrap();
                assert!(last <= wanted(most), "{order:?}, {count} pods: {seen:?} of {}", wanted(most));
            })
            .unwrap();
        }
    }
}
