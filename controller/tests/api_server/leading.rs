//! One of several acts.

use std::time::{Duration, Instant};

use holdfast_controller::Settings;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::json;

use crate::arranged::*;
use crate::proxy::{PROXY, Proxy};
use crate::server::{ApiServer, PATIENCE, SERVER, alone};

/// Of the day.
fn second(lease: &DynamicObject, name: &str) -> f64 {
    let text = lease.data["spec"][name].as_str().unwrap();
    let clock = text.split_once('T').unwrap().1.trim_end_matches('Z');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn one_leads_and_another_takes_over() {
    alone(|| async {
        let server = ApiServer::start().await;
        let world = World::new(server.client("admin").unwrap());
        world.install("holdfast:1").await;
        let mut proxy = Proxy::start(&server).await;
        let one = Controller::start(server.door(PROXY, "daemon"), "one", Settings::LOOK_EACH);
        world.until_held_by("one").await;
        world.until_owned().await;
        let two = Controller::start(server.door(SERVER, "daemon"), "two", Settings::LOOK_EACH);
        let image = format!("{SELECTED}/image");
        let evil = json!([{"op": "replace", "path": image, "value": "evil:1"}]);

        // While it renews it stays the leader, and it alone writes.
        let start = Instant::now();
        while start.elapsed() < 2 * TIMING.duration {
            assert_eq!(world.holder().await.as_deref(), Some("one"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let writes = proxy.requests("PATCH", "/daemonsets/").len();
        world.edit(&evil).await;
        world.until("restored", |set| set.pointer(&image) == Some(&json!("holdfast:1"))).await;
        assert_eq!(proxy.requests("PATCH", "/daemonsets/").len(), writes + 1, "by the one that leads");

        // It cannot be heard of any more: not before its time is over is it another's turn.
        proxy.close().await;
        let renewed = world.leases.get(LEASE).await.unwrap();
        world.until_held_by("two").await;
        let lease = world.leases.get(LEASE).await.unwrap();
        assert_eq!(lease.data["spec"]["leaseTransitions"], 1, "{renewed:?} {lease:?}");
        // Both wrote down when they sent it, by the clock of this one machine.
        let after = second(&lease, "acquireTime") - second(&renewed, "renewTime");
        println!("the other one led {after} s after the last renewal");
        assert!(after >= TIMING.duration.as_secs_f64(), "{after}");
        let edited = Instant::now();
        world.edit(&evil).await;
        world
            .until("restored by the other one", |set| set.pointer(&image) == Some(&json!("holdfast:1")))
            .await;
        println!("and restored after {:?}", edited.elapsed());

        // It is back, and follows; the other one ends in order, and gives the lease back.
        proxy.open().await;
        let start = Instant::now();
        while start.elapsed() < 2 * TIMING.renewal {
            assert_eq!(world.holder().await.as_deref(), Some("two"));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        two.stop().await;
        let given_back = Instant::now();
        world.until_held_by("one").await;
        println!("handed over in {:?}", given_back.elapsed());

        // A lease that somebody deletes is made anew; one that somebody else writes himself into is his.
        world.leases.delete(LEASE, &kube::api::DeleteParams::default()).await.unwrap();
        let start = Instant::now();
        while world.holder().await.as_deref() != Some("one") {
            assert!(start.elapsed() < PATIENCE, "it is made anew");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let theirs = json!({"spec": {"holderIdentity": "three", "leaseDurationSeconds": 6}, "metadata": {"labels": {"kept": "yes"}}});
        world.leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(theirs)).await.unwrap();
        let taken = Instant::now();
        world.until_held_by("one").await;
        assert!(taken.elapsed() >= Duration::from_secs(5), "its whole time: {:?}", taken.elapsed());
        let lease = world.leases.get(LEASE).await.unwrap();
        assert_eq!(lease.metadata.labels.unwrap()["kept"], "yes", "what else is in it stays");
        one.stop().await;
        assert_eq!(world.holder().await.as_deref(), Some(""), "given back");
    });
}
