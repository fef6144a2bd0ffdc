//! Death at every step: each life of the script dies at another one, and the next life must make good what it left.
//!
//! The steps are those that a recorded run passed: before and after each durable commit, before and after the effect
//! of each EC2 call, and before, in the middle of and after each change to the kernel. None is listed by hand.

mod plot;

use std::panic::{self, RefUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use holdfast_engine::AddError;
use holdfast_model::config::{AddressMode, Config, Setting};
use holdfast_model::lease::Lease;
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::Family;
use holdfast_model::settings::ClusterSettings;
use plot::{CHANGES, Plot};
use tokio::task::JoinSet;

use crate::box_of::warm;
use crate::disk::Disk;
use crate::node::{Life, Node, Outcome};
use crate::steps::{Killed, Steps};
use crate::witness::Witness;

/// What the next life finds besides what the dead one left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The process was killed; the node goes on. The runtime repeats the ADD of the same sandbox.
    AddedAgain,
    /// The process was killed; the node goes on. The runtime deletes the sandbox and makes another.
    MadeAnew,
    /// The power went: what was not synced is lost, and so is every sandbox.
    PowerCut,
}

fn in_mode(mode: AddressMode) -> Config {
    Config { mode: Setting::default_of(mode), ..warm(0, 2, 0) }
}

fn of_ipv6() -> Config {
    Config { family: Setting::default_of(Family::V6), ..in_mode(AddressMode::Prefix) }
}

async fn add(life: &Life, number: usize) {
    served(life.add(&format!("web-{number}"), &format!("c{number}")).await).await;
}

/// ADDs that come together.
async fn add_all(life: &Life, numbers: impl Iterator<Item = usize>) {
    let mut adds = JoinSet::new();
    for number in numbers {
        let life = life.clone();
        adds.spawn(async move { add(&life, number).await });
    }
    adds.join_all().await;
}

/// DELs that come together.
async fn del_all(life: &Life, numbers: impl Iterator<Item = usize>) {
    let mut dels = JoinSet::new();
    for number in numbers {
        let life = life.clone();
        dels.spawn(async move { life.del(&format!("c{number}")).await });
    }
    dels.join_all().await;
}

async fn by_address(life: Life) {
    tokio::join!(add(&life, 0), add(&life, 1));
    add(&life, 2).await;
    // Gone before the disk was told that it had come.
    add(&life, 11).await;
    life.del("c11").await;
    // More than the primary ENI carries: an ENI is created, attached and set up while these are held.
    add_all(&life, 3..11).await;
    tokio::join!(life.del("c2"), life.del("c3"), life.del("c9"), life.del("c10"));
    for number in 4..9 {
        life.del(&format!("c{number}")).await;
    }
    // Rests end, spare addresses and the spare ENI go back.
    tokio::time::sleep(Duration::from_secs(400)).await;
    served(life.add("late", "late").await).await;
}

async fn by_prefix(life: Life) {
    tokio::join!(add(&life, 0), add(&life, 1));
    // Three prefixes are what the primary ENI carries: another is made with a fourth.
    add_all(&life, 2..48).await;
    del_all(&life, 4..48).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    served(life.add("late", "late").await).await;
}

async fn elsewhere(life: Life) {
    tokio::join!(add(&life, 0), add(&life, 1));
    // More than one ENI carries.
    add_all(&life, 2..4).await;
    del_all(&life, 1..4).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    served(life.add("late", "late").await).await;
}

async fn by_ipv6(life: Life) {
    tokio::join!(add(&life, 0), add(&life, 1));
    add(&life, 2).await;
    life.del("c2").await;
    add_all(&life, 3..9).await;
    del_all(&life, 1..6).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    served(life.add("late", "late").await).await;
}

async fn on_every_card(life: Life) {
    let both = async |number: usize| {
        served(life.add_on_every_card(&format!("web-{number}"), &format!("c{number}")).await).await;
    };
    // The ENI of the second card is made while they are held, and others are served meanwhile.
    tokio::join!(both(0), both(1), add(&life, 2));
    both(3).await;
    // Gone before the disk was told that it had come.
    both(4).await;
    life.del("c4").await;
    tokio::join!(life.del("c0"), life.del("c2"), life.del("c3"));
    // Rests end, spare addresses go back.
    tokio::time::sleep(Duration::from_secs(200)).await;
    served(life.add_on_every_card("late", "late").await).await;
}

async fn changed(life: Life, last: Config) {
    add_all(&life, 0..3).await;
    // A daemon that stops has nothing to answer.
    let _stopping = life.engine.configure(Arc::new(last), ClusterSettings::default()).await;
    add_all(&life, 3..5).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    // What they have of before goes with them.
    del_all(&life, 0..5).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    served(life.add("late", "late").await).await;
}

/// An ADD must be served; the answer of a daemon that died under it is none.
pub(crate) async fn served(answer: Result<Lease, AddError>) {
    match answer {
        Ok(_) => {}
        Err(AddError::Stopping) => std::future::pending().await,
        Err(error) => panic!("an ADD was refused: {error}"),
    }
}

fn node() -> Node {
    Plot::Addresses.node()
}

/// What the runtime does with what it had begun, and then what must hold.
async fn retry_and_check(node: &Node, life: Life, death: Death, plot: Plot) -> Vec<String> {
    if death == Death::MadeAnew {
        // This runtime is slow: what the daemon makes of a half-made pod by itself must be sound as well.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let broken = node.broken_leases(&life.engine.dump().await.expect("the daemon runs").ledger);
        if !broken.is_empty() {
            return broken;
        }
    }
    for (container, pod) in node.pods() {
        if pod.deleting {
            life.del(&container).await;
        } else if pod.address.is_none() {
            let again =
                if death == Death::MadeAnew { format!("{container}-anew") } else { container.clone() };
            let retried = if death == Death::MadeAnew {
                life.del(&container).await;
                if pod.on_every_card {
                    life.add_on_every_card(&pod.pod.name, &again).await
                } else {
                    life.add(&pod.pod.name, &again).await
                }
            } else {
                life.add_again(&again).await
            };
            if let Err(error) = retried {
                return vec![format!("the runtime's retry of {container} failed: {error}")];
            }
        }
    }
    let after = life.add("after", "after").await;
    if let Err(error) = after {
        return vec![format!("an ADD after the restart failed: {error}")];
    }
    let wrong = |ledger: &Ledger| {
        let mut faults = node.faults(ledger);
        // Once on it stays on: somebody else may count on it by now.
        faults.retain(|fault| plot != Plot::FromIpv6 || !fault.contains("ipv6/conf/all/forwarding"));
        faults
    };
    let ledger = life.quiet().await;
    if wrong(&ledger).is_empty() {
        return Vec::new();
    }
    // What the last pod of a family leaves behind goes with the next look at the host, which comes each minute.
    tokio::time::sleep(Duration::from_secs(70)).await;
    wrong(&life.quiet().await)
}

/// Kills at one step; gives what is wrong after the next start.
fn die_at(step: usize, plot: Plot, death: Death) -> Vec<String> {
    let mut node = plot.node();
    let last = plot.configs(&node).1;
    let steps = Steps::dying_at(Some(step));
    let outcome = node.live(&steps, |life| plot.script(life, last)).unwrap();
    assert_eq!(outcome, Outcome::Killed, "step {step} was passed in the recorded run");
    if death == Death::PowerCut {
        node.disk.lose_power();
        node.reboot();
    }
    plot.settle(&mut node);
    let mut wrong = Vec::new();
    let survived =
        node.live(&Steps::default(), async |life| wrong = retry_and_check(&node, life, death, plot).await);
    match survived {
        Ok(Outcome::Finished) => wrong,
        other => vec![format!("the next life ended with {other:?}")],
    }
}

/// The appointed death is no news; any other panic is.
pub(crate) fn quiet_deaths() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Killed>() {
                usual(info);
            }
        }));
    });
}

fn die_everywhere(plot: Plot, death: Death) {
    quiet_deaths();
    let recorded = Steps::default();
    let node = plot.node();
    let last = plot.configs(&node).1;
    assert_eq!(node.live(&recorded, |life| plot.script(life, last)).unwrap(), Outcome::Finished);
    let names = recorded.names();
    for action in plot.changes() {
        assert!(
            names.iter().any(|name| name.contains(action)),
            "the script never came to {action}: {names:#?}"
        );
    }
    at_each(&names, |step| die_at(step, plot, death));
    println!("died and recovered at each of {} steps ({plot:?}, {death:?})", names.len());
}

/// Tries every step; what is wrong after any is a failure.
fn at_each(names: &[String], try_at: impl Fn(usize) -> Vec<String> + Sync + RefUnwindSafe) {
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    loop {
                        let step = next.fetch_add(1, Ordering::Relaxed);
                        let Some(name) = names.get(step) else { return failures };
                        let wrong = panic::catch_unwind(|| try_at(step))
                            .unwrap_or_else(|_| vec!["panicked; see above".to_owned()]);
                        failures
                            .extend(wrong.into_iter().map(|what| format!("step {step} ({name}): {what}")));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {} steps:\n{}", failures.len(), names.len(), failures.join("\n"));
}

/// A node on which pods run and whose ledger is gone.
fn bereft() -> Node {
    let mut node = node();
    node.live(&Steps::default(), async |life| {
        for number in 0..6 {
            served(life.add(&format!("web-{number}"), &format!("c{number}")).await).await;
        }
        life.quiet().await;
    })
    .unwrap();
    node.disk = Disk::default();
    node
}

/// The daemon of a bereft node comes to rest; what is wrong then. No pod may have lost its network at any instant.
async fn rebuilt(node: &Node, life: Life) -> Vec<String> {
    let ledger = life.quiet().await;
    let mut wrong = node.faults(&ledger);
    if ledger.leases.len() != 6 {
        wrong.push(format!("{} leases were read back", ledger.leases.len()));
    }
    wrong
}

#[test]
fn killed_at_every_step_of_rebuilding_a_lost_ledger() {
    quiet_deaths();
    let recorded = Steps::default();
    let node = bereft();
    let mut wrong = Vec::new();
    node.live(&recorded, async |life| wrong = rebuilt(&node, life).await).unwrap();
    assert_eq!(wrong, Vec::<String>::new());
    let names = recorded.names();
    at_each(&names, |step| {
        let node = bereft();
        let died = node.live(&Steps::dying_at(Some(step)), async |life| drop(life.quiet().await)).unwrap();
        // Stopped in order a little earlier or later than recorded, it may not come there: that is a restart too.
        assert!(died == Outcome::Killed || step + 10 > names.len(), "step {step} was passed before");
        let mut wrong = Vec::new();
        node.live(&Steps::default(), async |life| wrong = rebuilt(&node, life).await).unwrap();
        wrong
    });
    println!("died and rebuilt at each of {} steps", names.len());
}

#[test]
fn a_lost_ledger_is_rebuilt_although_the_disk_is_full_for_a_while() {
    for begins in (0..2000).step_by(40) {
        let node = bereft();
        node.live(&Steps::default(), async |life| {
            tokio::time::sleep(Duration::from_millis(begins)).await;
            node.disk.set_full(true);
            tokio::time::sleep(Duration::from_secs(10)).await;
            node.disk.set_full(false);
            let wrong = rebuilt(&node, life).await;
            assert_eq!(wrong, Vec::<String>::new(), "full from {begins} ms on");
        })
        .unwrap();
    }
}

#[test]
fn after_a_reboot_a_full_disk_delays_and_nothing_else() {
    for begins in (0..400).step_by(20) {
        let mut node = bereft();
        node.live(&Steps::default(), async |life| drop(life.quiet().await)).unwrap();
        node.reboot();
        node.live(&Steps::default(), async |life| {
            tokio::time::sleep(Duration::from_millis(begins)).await;
            node.disk.set_full(true);
            tokio::time::sleep(Duration::from_secs(10)).await;
            node.disk.set_full(false);
            tokio::time::sleep(Duration::from_secs(5)).await;
            served(life.add("late", "late").await).await;
            let ledger = life.quiet().await;
            assert_eq!(node.faults(&ledger), Vec::<String>::new(), "full from {begins} ms on");
        })
        .unwrap();
    }
}

#[test]
fn nothing_is_done_before_the_disk_knows_of_it() {
    let mut node = node();
    node.witness = Witness::of(&node.disk);
    assert_eq!(node.live(&Steps::default(), by_address).unwrap(), Outcome::Finished);
    let (seen, faults) = node.witness.report();
    assert!(faults.is_empty(), "{} times too early, first: {}", faults.len(), faults[0]);
    let kernel = ["wiring", "unwiring", "removing a link", "an answer to ADD", "an answer to DEL"];
    for deed in CHANGES.iter().chain(&kernel) {
        assert!(seen.contains_key(*deed), "the script never came to {deed}: {seen:?}");
    }
}

#[test]
fn killed_at_every_step_and_the_add_is_repeated() {
    die_everywhere(Plot::Addresses, Death::AddedAgain);
}

#[test]
fn killed_at_every_step_and_the_sandbox_is_made_anew() {
    die_everywhere(Plot::Addresses, Death::MadeAnew);
}

#[test]
fn power_cut_at_every_step() {
    die_everywhere(Plot::Addresses, Death::PowerCut);
}

#[test]
fn killed_at_every_step_of_a_life_with_prefixes() {
    die_everywhere(Plot::Prefixes, Death::AddedAgain);
    die_everywhere(Plot::Prefixes, Death::PowerCut);
}

#[test]
fn killed_at_every_step_of_a_life_with_custom_networking() {
    die_everywhere(Plot::Custom, Death::AddedAgain);
    die_everywhere(Plot::Custom, Death::PowerCut);
}

#[test]
fn killed_at_every_step_of_switching_custom_networking_on() {
    die_everywhere(Plot::ToCustom, Death::MadeAnew);
    die_everywhere(Plot::ToCustom, Death::PowerCut);
}

#[test]
fn killed_at_every_step_of_switching_custom_networking_off() {
    die_everywhere(Plot::FromCustom, Death::AddedAgain);
    die_everywhere(Plot::FromCustom, Death::PowerCut);
}

#[test]
fn killed_at_every_step_of_going_over_to_another_eni_config() {
    die_everywhere(Plot::ToAnother, Death::AddedAgain);
}

#[test]
fn killed_at_every_step_of_a_life_in_a_discovered_subnet() {
    die_everywhere(Plot::Discovered, Death::AddedAgain);
}

#[test]
fn killed_at_every_step_of_a_switch_to_prefixes() {
    for death in [Death::AddedAgain, Death::MadeAnew, Death::PowerCut] {
        die_everywhere(Plot::ToPrefixes, death);
    }
}

#[test]
fn killed_at_every_step_of_a_life_with_ipv6() {
    for death in [Death::AddedAgain, Death::MadeAnew, Death::PowerCut] {
        die_everywhere(Plot::Ipv6, death);
    }
}

#[test]
fn killed_at_every_step_of_a_switch_to_ipv6_and_back() {
    for plot in [Plot::ToIpv6, Plot::FromIpv6] {
        die_everywhere(plot, Death::AddedAgain);
        die_everywhere(plot, Death::PowerCut);
    }
}

#[test]
fn killed_at_every_step_of_a_switch_to_single_addresses() {
    for death in [Death::AddedAgain, Death::MadeAnew, Death::PowerCut] {
        die_everywhere(Plot::ToAddresses, death);
    }
}

/// An address on each card or on none, wherever it died.
#[test]
fn killed_at_every_step_of_a_life_on_every_card() {
    for death in [Death::AddedAgain, Death::MadeAnew, Death::PowerCut] {
        die_everywhere(Plot::EveryCard, death);
    }
}
