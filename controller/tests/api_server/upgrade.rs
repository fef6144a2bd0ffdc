//! Upgrades under the controller, in whatever order the two objects arrive.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::arranged::*;
use crate::proxy::{PROXY, Proxy};
use crate::server::{ApiServer, alone};

fn image(set: &Value) -> &Value {
    set.pointer(&format!("{SELECTED}/image")).unwrap()
}

fn helm3() -> PatchParams {
    PatchParams { field_manager: Some("helm".to_owned()), ..PatchParams::default() }
}

/// As Helm 3 does it: what differs between two renders.
fn difference(set: &Value) -> Value {
    json!({
        "metadata": {"annotations": set["metadata"]["annotations"]},
        "spec": {"template": {"spec": {"containers": [{"name": "aws-node", "image": image(set), "env": [{"name": "WARM_IP_TARGET", "value": "9"}]}]}}},
    })
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn an_upgrade_is_not_taken_back_in_either_order() {
    alone(|| async {
        let server = ApiServer::start().await;
        let world = World::new(server.client("admin").unwrap());
        world.install("holdfast:1").await;
        let proxy = Proxy::start(&server).await;
        let controller = Controller::start(server.door(PROXY, "daemon"), "one", Duration::from_secs(1));
        let before = world.until_owned().await;
        let generation = |set: &Value| set["metadata"]["generation"].as_i64().unwrap();

        // The DaemonSet first. What it was changed to is never changed back, which the server counts.
        let (set, map) = release("holdfast:2");
        let changed = world.sets.patch(NAME, &helm3(), &Patch::Strategic(difference(&set))).await.unwrap();
        let changed = serde_json::to_value(changed).unwrap();
        assert_eq!(generation(&changed), generation(&before) + 1);
        // It has looked at it since, and more than once.
        let looks = || proxy.requests("GET", "/daemonsets/aws-node").len();
        let before_that = looks();
        let left = world.until("looked at", |_| looks() > before_that + 2).await;
        assert_eq!((image(&left), generation(&left)), (&json!("holdfast:2"), generation(&changed)));
        world.maps.patch(MAP, &helm3(), &Patch::Merge(map)).await.unwrap();
        let digest = set["metadata"]["annotations"]["holdfast/render"].clone();
        let owned = world
            .until("taken over", |set| {
                manager(set, "Apply").is_some_and(|entry| entry["fieldsV1"].to_string().contains("f:image"))
                    && proxy.requests("PATCH", "/daemonsets/").len() >= 2
            })
            .await;
        assert_eq!(
            (image(&owned), &owned["metadata"]["annotations"]["holdfast/render"]),
            (&json!("holdfast:2"), &digest)
        );
        assert_eq!(generation(&owned), generation(&changed), "it was one rollout");

        // The ConfigMap first: the controller carries the upgrade on, and Helm finds its work done.
        let (set, map) = release("holdfast:3");
        world.maps.patch(MAP, &helm3(), &Patch::Merge(map)).await.unwrap();
        let carried = world.until("carried on", |set| image(set) == "holdfast:3").await;
        assert_eq!(generation(&carried), generation(&owned) + 1);
        let mut same = difference(&set);
        let env = same.pointer_mut("/spec/template/spec/containers/0").unwrap();
        env.as_object_mut().unwrap().remove("env");
        let done = world.sets.patch(NAME, &helm3(), &Patch::Strategic(same)).await.unwrap();
        assert_eq!(done.metadata.generation, carried["metadata"]["generation"].as_i64());

        // By server-side apply without force, as Helm 4 does it: no conflict once it was carried on.
        let (mut set, map) = release("holdfast:4");
        world.maps.patch(MAP, &helm3(), &Patch::Merge(map)).await.unwrap();
        world.until("carried on", |set| image(set) == "holdfast:4").await;
        set["metadata"]["managedFields"] = Value::Null;
        world.sets.patch(NAME, &PatchParams::apply("helm4"), &Patch::Apply(&set)).await.unwrap();
        // And one before that: it is told whose the field is, and nothing is broken by trying again later.
        let (set, map) = release("holdfast:5");
        let refused = world.sets.patch(NAME, &PatchParams::apply("helm4"), &Patch::Apply(&set)).await;
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("holdfast"), "{words}");
        world.maps.patch(MAP, &helm3(), &Patch::Merge(map)).await.unwrap();
        world.until("carried on", |set| image(set) == "holdfast:5").await;
        world.sets.patch(NAME, &PatchParams::apply("helm4"), &Patch::Apply(&set)).await.unwrap();

        // And what one drops and the other holds is gone once both have dropped it.
        let args = format!("{SELECTED}/args");
        let mut fewer = rendered("holdfast:6");
        fewer.pointer_mut(SELECTED).unwrap().as_object_mut().unwrap().remove("args");
        let text = fewer.to_string();
        let digest = holdfast_controller::desired::digest(&text);
        fewer["metadata"]["annotations"] = json!({"holdfast/render": digest});
        let map = json!({"data": {"render": digest, "daemonset.json": text}});
        world.maps.patch(MAP, &helm3(), &Patch::Merge(map)).await.unwrap();
        world.until("carried on", |set| image(set) == "holdfast:6" && set.pointer(&args).is_none()).await;
        world.sets.patch(NAME, &PatchParams::apply("helm4"), &Patch::Apply(&fewer)).await.unwrap();
        assert_eq!(world.set().await.pointer(&args), None);
        controller.stop().await;
    });
}
