//! The metadata service goes away, and with it the credentials of the node's role.

use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::refusal::{CredentialsFault, Refusal};
use holdfast_sim::fault::{Fault, FaultKind};
use holdfast_sim::vpc::SimVpc;
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::cloud::Away;
use crate::steps::Steps;

/// How long after the end of an outage an ADD may still be refused: the longest pause after a call that could not be
/// sent, and the call.
const SOON: Duration = Duration::from_secs(16);

#[test]
fn metadata_away_when_credentials_are_first_needed_is_no_missing_right_and_over_when_it_is_back() {
    for away in [Away::Refused, Away::Silent] {
        for outage in [20, 215] {
            let node = one_node("m5.large", warm(0, 1, 0), 24);
            node.live(&Steps::default(), async |life| {
                life.add("a", "a").await.unwrap();
                life.quiet().await;
            })
            .unwrap();
            // A new process has no credentials yet. It knows who it is from its ledger.
            node.metadata.set(Some(away));
            node.live(&Steps::default(), async |life| {
                let begun = Instant::now();
                life.add("b", "b").await.expect("the spare one is served");
                // Another needs EC2, and that needs credentials.
                tokio::time::sleep(Duration::from_secs(18)).await;
                let status = life.engine.status().await.unwrap();
                let Status::Short(Refusal::Credentials { fault, cause, .. }) = &status else {
                    panic!("{away:?}: {status:?}")
                };
                assert_eq!(*fault, CredentialsFault::Missing, "{away:?}: {cause}");
                assert!(cause.contains("could not communicate with IMDS"), "{away:?}: {cause}");
                tokio::time::sleep_until(begun + Duration::from_secs(outage)).await;
                node.metadata.set(None);
                let back = Instant::now();
                while life.add("c", "c").await.is_err() {
                    assert!(
                        back.elapsed() < SOON,
                        "{away:?} for {outage} s: refused {:?} later",
                        back.elapsed()
                    );
                }
                assert!(back.elapsed() < SOON, "{away:?} for {outage} s: {:?}", back.elapsed());
                let ledger = life.quiet().await;
                assert_eq!(node.faults(&ledger), Vec::<String>::new());
            })
            .unwrap();
        }
    }
}

/// The role's credentials are over, or the node's clock is off: said so, and over as soon as it is.
#[test]
fn credentials_that_ec2_does_not_accept_are_no_missing_right_and_newer_ones_are_used_at_once() {
    let hour = Duration::from_secs(3600);
    for (kind, wanted) in [
        (FaultKind::ImdsExpiredCredentials, CredentialsFault::Expired),
        (FaultKind::ClockAhead { by: hour }, CredentialsFault::ClockOff),
    ] {
        let node = one_node("m5.large", warm(0, 1, 0), 25);
        node.live(&Steps::default(), async |life| {
            life.add("a", "a").await.unwrap();
            life.quiet().await;
        })
        .unwrap();
        node.shared.now(|vpc| vpc.set_fault(Fault::new(kind.clone()))).unwrap();
        // A new process asks for credentials of its own.
        node.live(&Steps::default(), async |life| {
            life.add("b", "b").await.expect("the spare one is served");
            tokio::time::sleep(Duration::from_secs(60)).await;
            let status = life.engine.status().await.unwrap();
            let Status::Short(Refusal::Credentials { fault, .. }) = &status else {
                panic!("{kind:?}: {status:?}")
            };
            assert_eq!(*fault, wanted, "{status:?}");
            node.shared.now(SimVpc::clear_faults);
            let back = Instant::now();
            while life.add("c", "c").await.is_err() {
                assert!(back.elapsed() < hour, "{kind:?}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let most = if wanted == CredentialsFault::ClockOff { 32 } else { 8 };
            assert!(back.elapsed() < Duration::from_secs(most), "{kind:?}: {:?}", back.elapsed());
        })
        .unwrap();
    }
}

/// Of every node of a fleet, all the time.
#[test]
fn at_rest_the_metadata_service_is_asked_little() {
    let node = one_node("m5.large", warm(1, 0, 0), 27);
    node.live(&Steps::default(), async |life| {
        for number in 0..12 {
            life.add(&format!("a{number}"), &format!("a{number}")).await.unwrap();
        }
        life.quiet().await;
        let asked = node.metadata.asked();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let asked = node.metadata.asked() - asked;
        assert!((100..=330).contains(&asked), "{asked} requests in an hour");
    })
    .unwrap();
}
