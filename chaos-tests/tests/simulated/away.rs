//! The metadata service goes away, and with it the credentials of the node's role.

use std::time::Duration;

use holdfast_engine::Status;
use holdfast_model::refusal::Refusal;
use tokio::time::Instant;

use crate::box_of::{one_node, warm};
use crate::cloud::Away;
use crate::steps::Steps;

/// How long after the end of an outage an ADD may still be refused: the longest pause after a call that could not be
/// sent, and the call.
const SOON: Duration = Duration::from_secs(35);

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
                let Status::Short(Refusal::Unreachable { cause, .. }) = &status else {
                    panic!("{away:?}: {status:?}")
                };
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
