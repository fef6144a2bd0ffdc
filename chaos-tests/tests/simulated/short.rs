//! No address at once: what EC2 refuses, loses or is late with, in the way of an ADD, and what STATUS says meanwhile.

use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::cloud::Api;
use holdfast_model::refusal::Refusal;
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::{self as sim, Action};

use crate::box_of::{one_node, warm};
use crate::node::Life;
use crate::steps::Steps;

#[test]
fn a_full_subnet_holds_an_add_for_an_address_that_is_nearly_rested() {
    let node = one_node("m5.large", warm(0, 1, 0), 9);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        node.shared.now(|vpc| {
            let subnet = vpc.authoritative().subnets()[0].subnet_id;
            vpc.occupy_all_but(&subnet, 0).unwrap();
        });
        // Takes the spare one; another cannot be had.
        life.add("b", "b").await.unwrap();
        let refused = life.add("c", "c").await.unwrap_err().to_string();
        assert!(refused.contains("no free addresses"), "{refused}");
        life.del("a").await;
        life.add("d", "d").await.unwrap();
    })
    .unwrap();
}

#[test]
fn at_its_limit_of_enis_a_throttled_node_holds_an_add_and_serves_it() {
    let mut config = warm(1, 0, 0);
    config.max_enis.value = Some(1);
    let node = one_node("m5.large", config, 15);
    node.live(&Steps::default(), async |life| {
        let throttle = Fault::new(FaultKind::Throttle).on(Action::AssignPrivateIpAddresses);
        node.shared.now(|vpc| vpc.set_fault(throttle)).unwrap();
        let held = tokio::spawn({
            let life = life.clone();
            async move { life.add("a", "a").await }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!held.is_finished(), "{:?}", held.await);
        node.shared.now(sim::SimVpc::clear_faults);
        held.await.unwrap().unwrap();
    })
    .unwrap();
}

#[test]
fn an_assignment_that_is_not_answered_makes_no_eni() {
    let node = one_node("m5.large", warm(0, 1, 0), 16);
    node.live(&Steps::default(), async |life| {
        life.add("a", "a").await.unwrap();
        life.quiet().await;
        let lost = Fault::new(FaultKind::RequestLost).on(Action::AssignPrivateIpAddresses).times(3);
        node.shared.now(|vpc| vpc.set_fault(lost)).unwrap();
        life.add("b", "b").await.unwrap();
        life.add("c", "c").await.unwrap();
        life.quiet().await;
        let made = node.shared.now(|vpc| vpc.log().count(Action::CreateNetworkInterface));
        assert_eq!(made, 0, "there is room on the primary ENI");
    })
    .unwrap();
}

#[test]
fn an_eni_that_was_made_although_its_creation_was_refused_in_the_end_is_found_soon() {
    let node = one_node("m5.large", warm(0, 1, 0), 17);
    node.live(&Steps::default(), async |life| {
        for number in 0..8 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        life.quiet().await;
        let create = Action::CreateNetworkInterface;
        node.shared.now(|vpc| {
            vpc.set_fault(Fault::new(FaultKind::AnswerLost).on(create).times(1)).unwrap();
            vpc.set_fault(Fault::new(FaultKind::Throttle).on(create).skipping(1).times(1)).unwrap();
        });
        life.add("last-of-the-primary", "d").await.unwrap();
        life.add("on-another", "e").await.unwrap();
        tokio::time::sleep(Duration::from_secs(180)).await;
        let ledger = life.quiet().await;
        assert_eq!(node.faults(&ledger), Vec::<String>::new());
    })
    .unwrap();
}

#[test]
fn an_eni_whose_link_never_appears_keeps_no_pod_from_another() {
    let node = one_node("m5.large", warm(0, 1, 0), 18);
    node.live(&Steps::default(), async |life| {
        life.add("first", "first").await.unwrap();
        node.kernel.hide_new_links(true);
        for number in 0..8 {
            life.add(&format!("web-{number}"), &format!("c{number}")).await.unwrap();
        }
        // The second ENI is attached and stays without a link.
        tokio::time::sleep(Duration::from_secs(3)).await;
        node.kernel.hide_new_links(false);
        life.add("on-the-third", "d").await.unwrap();
    })
    .unwrap();
}

/// What STATUS says over this time, each change once.
async fn statuses(life: &Life, over: Duration) -> Vec<Status> {
    let mut said = Vec::new();
    for _ in 0..over.as_millis() / 50 {
        let status = life.engine.status().await.unwrap();
        if said.last() != Some(&status) {
            said.push(status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    said
}

#[test]
fn status_says_whether_an_add_would_work_and_names_what_keeps_the_pool_from_growing() {
    let node = one_node("m5.large", warm(0, 1, 0), 10);
    let api = Api::AssignPrivateIpAddresses;
    let fault = |kind| {
        let fault = Fault::new(kind).on(Action::AssignPrivateIpAddresses);
        node.shared.now(|vpc| {
            vpc.clear_faults();
            vpc.set_fault(fault).unwrap();
        });
    };
    let few_seconds = Duration::from_secs(5);
    node.live(&Steps::default(), async |life| {
        let fresh = statuses(&life, few_seconds).await;
        // It may be seen on its way.
        let known: Vec<_> = fresh.into_iter().filter(|status| *status != Status::Growing).collect();
        let awaited = [Refusal::HostNotRead, Refusal::NatAwaited].map(Status::Refusing);
        assert_eq!(known, [&awaited[..], &[Status::Ready]].concat());
        life.add("a", "a").await.unwrap();
        life.quiet().await;

        // The spare one; another cannot be had.
        fault(FaultKind::Throttle);
        life.add("b", "b").await.unwrap();
        let named = Status::Short(Refusal::Throttled { api });
        let throttled = statuses(&life, few_seconds).await;
        assert!(throttled.contains(&named), "{throttled:?}");
        // While a call is under way nothing speaks against it.
        assert!(throttled.iter().all(|status| [&named, &Status::Growing].contains(&status)), "{throttled:?}");
        let held = tokio::spawn({
            let life = life.clone();
            async move { life.add("c", "c").await }
        });
        assert!(statuses(&life, few_seconds).await.contains(&named), "an ADD that is held changes nothing");
        node.shared.now(sim::SimVpc::clear_faults);
        held.await.unwrap().unwrap();
        life.quiet().await;
        assert_eq!(statuses(&life, few_seconds).await, [Status::Ready]);

        fault(FaultKind::Deny);
        life.add("d", "d").await.unwrap();
        tokio::time::sleep(few_seconds).await;
        let told = statuses(&life, few_seconds).await;
        let [Status::Short(Refusal::Denied { api: denied, denial })] = &told[..] else { panic!("{told:?}") };
        assert!(
            *denied == api && denial.object.as_ref().is_some_and(|eni| eni.starts_with("eni-")),
            "{told:?}"
        );
        let refused = life.add("e", "e").await.unwrap_err().to_string();
        assert!(refused.contains("not allowed to call ec2:AssignPrivateIpAddresses"), "{refused}");
        // An address that rests is as good as one on its way: an ADD is held for it, and served.
        life.del("a").await;
        assert_eq!(statuses(&life, few_seconds).await, [Status::Growing]);
        life.add("f", "f").await.unwrap();
    })
    .unwrap();
}
