//! What is followed, and the definitions.

use holdfast_cluster::watch::objects::{
    self as followed, CniNodeObject, ConfigMapObject, EniConfigObject, NodeObject, PodObject,
};
use holdfast_cluster::{Cause, request::Selection};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::objects::*;
use crate::server::{ApiServer, SERVER, alone};

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn objects_are_followed_and_the_definitions_taken() {
    alone(|| async {
        let server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        grant(&client).await;
        let door = server.door(SERVER, "daemon");

        // A kind that is not there yet is no empty list.
        let mut enis = followed::<EniConfigObject>(&door, followed::eni_configs());
        until(&mut enis, "the kind is missed", |view| {
            view.stale.as_ref().is_some_and(|stale| stale.fault.cause == Cause::NotServed)
        })
        .await;
        assert!(!enis.borrow().complete);

        install_definitions(&client).await;
        until(&mut enis, "its objects are listed once it is there", |view| {
            view.complete && view.stale.is_none()
        })
        .await;
        let note = json!({"apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": "zone-a"},
                          "spec": {"subnet": "subnet-1", "securityGroups": ["sg-1"]}, "note": {"by": "people"}});
        let made = make(&eni_configs(&client), note).await;
        assert_eq!(made.data["note"], json!({"by": "people"}), "unknown fields are kept, as they were");
        let wrong = json!({"apiVersion": "crd.k8s.amazonaws.com/v1alpha1", "kind": "ENIConfig", "metadata": {"name": "x"}, "spec": {}});
        let refused = eni_configs(&client)
            .create(&kube::api::PostParams::default(), &serde_json::from_value(wrong).unwrap())
            .await;
        assert!(refused.unwrap_err().to_string().contains("spec.subnet"), "one without a subnet is refused");
        until(&mut enis, "the configuration", |view| {
            view.only()
                .is_some_and(|view| view.source.as_ref().is_ok_and(|source| source.subnet == "subnet-1"))
        })
        .await;

        make_node(&client, "node-1").await;
        make_node(&client, "node-2").await;
        let mut node = followed::<NodeObject>(&door, followed::own_node("node-1"));
        until(&mut node, "the node", |view| view.only().is_some_and(|node| node.capacity_pods == Some(110)))
            .await;
        nodes(&client)
            .patch("node-1", &PatchParams::default(), &Patch::Merge(json!({"spec": {"unschedulable": true}})))
            .await
            .unwrap();
        until(&mut node, "it is cordoned", |view| view.only().is_some_and(|node| node.unschedulable)).await;
        assert_eq!(names(&node.borrow()), ["node-1"]);

        let mut cni_node = followed::<CniNodeObject>(&door, followed::own_cni_node("node-1"));
        let status = json!({"trunkInterface": {"id": "eni-1", "more": {"than": "is known"}}});
        let made = make(&cni_nodes(&client), json!({"apiVersion": "vpcresources.k8s.aws/v1alpha1", "kind": "CNINode", "metadata": {"name": "node-1"},
                        "spec": {"features": [{"name": "Other"}], "managedBy": "vpc-resource-controller"}})).await;
        assert_eq!(made.data["spec"]["features"][0]["name"], "Other");
        let patched = cni_nodes(&client)
            .patch_status("node-1", &PatchParams::default(), &Patch::Merge(json!({"status": status})))
            .await
            .unwrap();
        assert_eq!(patched.data["status"], status, "a newer owner's status is kept whole");
        until(&mut cni_node, "its CNINode", |view| {
            view.only().is_some_and(|view| view.features.as_ref().unwrap()[0].name == "Other")
        })
        .await;

        let mut settings =
            followed::<ConfigMapObject>(&door, followed::config_map("kube-system", "aws-node"));
        until(&mut settings, "surely none", |view| view.complete).await;
        let maps = api(&client, "", "v1", "ConfigMap", "configmaps", Some("kube-system"));
        make(&maps, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})).await;
        make(&maps, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-node"}, "data": {"WARM_IP_TARGET": "2"}})).await;
        until(&mut settings, "the settings", |view| {
            view.only().is_some_and(|map| map.data["WARM_IP_TARGET"] == "2")
        })
        .await;
        assert_eq!(settings.borrow().objects.len(), 1);

        // More than a page, and others' among them.
        for place in 0..60 {
            make(&pods(&client), pod(&format!("own-{place:02}"), "node-1")).await;
            if place % 10 == 0 {
                make(&pods(&client), pod(&format!("other-{place:02}"), "node-2")).await;
            }
        }
        let mut local = followed::<PodObject>(&door, followed::local_pods("node-1"));
        until(&mut local, "all pods of this node", |view| view.complete).await;
        assert_eq!(local.borrow().objects.len(), 60);
        assert!(names(&local.borrow()).iter().all(|name| name.starts_with("own-")));
        pods(&client).delete("own-07", &DeleteParams::default()).await.unwrap();
        until(&mut local, "one is deleted", |view| !names(view).contains(&"own-07")).await;
        let annotated = json!({"metadata": {"annotations": {"vpc.amazonaws.com/pod-eni": "[]"}}});
        pods(&client).patch("own-08", &PatchParams::default(), &Patch::Merge(annotated)).await.unwrap();
        until(&mut local, "one is annotated", |view| view.objects.values().any(|pod| pod.pod_eni.is_some()))
            .await;

        // Who may not read is told what lacks.
        let nobody = server.door(SERVER, "nobody");
        let mut hidden = followed::<PodObject>(&nobody, followed::local_pods("node-1"));
        until(&mut hidden, "it is forbidden", |view| view.stale.is_some()).await;
        let words = hidden.borrow().stale.as_ref().unwrap().fault.to_string();
        assert!(words.starts_with("not allowed to list pods (spec.nodeName=node-1): "), "{words}");
        assert!(words.contains(r#"add the verb list on pods of the API group """#), "{words}");

        // A field that the server does not pick by is no empty list either.
        let wrong =
            Selection { fields: Some("spec.nonsense=1".to_owned()), ..followed::local_pods("node-1") };
        let mut wrong = followed::<PodObject>(&door, wrong);
        until(&mut wrong, "it is refused", |view| {
            view.stale.as_ref().is_some_and(|stale| matches!(stale.fault.cause, Cause::Refused(_)))
        })
        .await;
        assert!(!wrong.borrow().complete);
    });
}
