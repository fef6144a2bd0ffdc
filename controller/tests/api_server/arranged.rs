//! A cluster as the chart leaves it, and a controller in it.

use std::time::{Duration, Instant};

use holdfast_cluster::Door;
use holdfast_controller::desired::{DAEMON_SET, DIGEST, digest};
use holdfast_controller::election::Timing;
use holdfast_controller::table::RENDER;
use holdfast_controller::{Settings, run};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::server::{PATIENCE, TestClock};

pub(crate) const NAMESPACE: &str = "kube-system";
pub(crate) const NAME: &str = "aws-node";
pub(crate) const MAP: &str = "aws-node-managed";
pub(crate) const LEASE: &str = "aws-node-controller";
pub(crate) const SELECTED: &str = "/spec/template/spec/containers/0";

/// Short ones, so that a test need not wait long for what it is about.
pub(crate) const TIMING: Timing = Timing {
    duration: Duration::from_secs(4),
    renewal: Duration::from_secs(2),
    retry: Duration::from_millis(400),
};

pub(crate) fn api(client: &Client, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// What the test does as anybody would, and looks at.
pub(crate) struct World {
    pub(crate) sets: Api<DynamicObject>,
    pub(crate) maps: Api<DynamicObject>,
    pub(crate) leases: Api<DynamicObject>,
    pub(crate) client: Client,
}

/// The DaemonSet of the plain manifests, which are generated from the chart, with this image.
pub(crate) fn rendered(image: &str) -> Value {
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/manifests/holdfast.yaml");
    let manifests = std::fs::read_to_string(manifests).unwrap();
    let found = manifests.split("\n---\n").find(|text| text.contains("\nkind: DaemonSet\n")).unwrap();
    let mut object: Value = serde_saphyr::from_str(found).unwrap();
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    object
}

/// What the chart makes of that: the DaemonSet, and the ConfigMap that speaks of it.
pub(crate) fn release(image: &str) -> (Value, Value) {
    release_of(rendered(image))
}

/// The same of another DaemonSet.
pub(crate) fn release_of(mut object: Value) -> (Value, Value) {
    let text = object.to_string();
    object["metadata"]["annotations"] = json!({ RENDER: digest(&text) });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MAP},
        "data": {DIGEST: digest(&text), DAEMON_SET: text},
    });
    (object, map)
}

impl World {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            sets: api(&client, "apps", "DaemonSet", "daemonsets"),
            maps: api(&client, "", "ConfigMap", "configmaps"),
            leases: api(&client, "coordination.k8s.io", "Lease", "leases"),
            client,
        }
    }

    /// As `helm install` leaves it, and with exactly the rights of the chart's role.
    pub(crate) async fn install(&self, image: &str) {
        self.install_one(rendered(image)).await;
    }

    pub(crate) async fn install_one(&self, object: Value) {
        grant(&self.client, &chart_rules()).await;
        let (set, map) = release_of(object);
        create(&self.maps, map).await;
        create(&self.sets, set).await;
    }

    pub(crate) async fn set(&self) -> Value {
        serde_json::to_value(self.sets.get(NAME).await.unwrap()).unwrap()
    }

    /// Somebody edits it, by a JSON patch.
    pub(crate) async fn edit(&self, steps: &Value) {
        let target =
            format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{NAME}?fieldManager=kubectl-edit");
        let request = http::Request::patch(target)
            .header("content-type", "application/json-patch+json")
            .body(steps.to_string().into_bytes())
            .unwrap();
        let edited = self.client.request::<Value>(request).await;
        edited.unwrap_or_else(|error| panic!("{steps}: {error}"));
    }

    /// Until it is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let set = self.set().await;
            if is_so(&set) {
                return set;
            }
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}: {set:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the fields are noted as the controller's.
    pub(crate) async fn until_owned(&self) -> Value {
        self.until("noted as the controller's", |set| manager(set, "Apply").is_some()).await
    }

    pub(crate) async fn holder(&self) -> Option<String> {
        let lease = self.leases.get_opt(LEASE).await.unwrap()?;
        lease.data["spec"]["holderIdentity"].as_str().map(str::to_owned)
    }

    pub(crate) async fn until_held_by(&self, wanted: &str) {
        let start = Instant::now();
        while self.holder().await.as_deref() != Some(wanted) {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {wanted:?} leads");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What is noted of the controller.
pub(crate) fn manager<'s>(set: &'s Value, operation: &str) -> Option<&'s Value> {
    let entries = set["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|entry| entry["manager"] == "holdfast" && entry["operation"] == operation)
}

/// What people see of it: without what the server counts.
pub(crate) fn told(set: &Value) -> Value {
    let mut set = set.clone();
    set.as_object_mut().unwrap().remove("status");
    for counted in ["managedFields", "resourceVersion", "generation"] {
        set["metadata"].as_object_mut().unwrap().remove(counted);
    }
    let annotations = set["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove("deprecated.daemonset.template.generation");
    set
}

pub(crate) async fn create(api: &Api<DynamicObject>, object: Value) -> DynamicObject {
    let object = serde_json::from_value(object).unwrap();
    let helm = PostParams { field_manager: Some("helm".to_owned()), ..PostParams::default() };
    api.create(&helm, &object).await.unwrap()
}

/// The rules of the chart's role: `deploy/tests/chart.py` holds that it has these.
pub(crate) fn chart_rules() -> Value {
    json!([
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [NAME], "verbs": ["get", "list", "watch", "patch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [MAP], "verbs": ["list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [LEASE], "verbs": ["get", "create", "update"]},
    ])
}

/// Gives the user `daemon` these rights in the namespace, and no others.
pub(crate) async fn grant(client: &Client, rules: &Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let role = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Role", "metadata": {"name": "controller"}, "rules": rules});
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "RoleBinding", "metadata": {"name": "controller"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "controller"},
        "subjects": [{"apiGroup": GROUP, "kind": "User", "name": "daemon"}],
    });
    let apply = PatchParams::apply("test").force();
    api(client, GROUP, "Role", "roles").patch("controller", &apply, &Patch::Apply(role)).await.unwrap();
    api(client, GROUP, "RoleBinding", "rolebindings")
        .patch("controller", &apply, &Patch::Apply(binding))
        .await
        .unwrap();
}

/// A running controller.
pub(crate) struct Controller {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Controller {
    pub(crate) fn start(door: Door, identity: &str, look_each: Duration) -> Self {
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            daemon_set: NAME.to_owned(),
            config_map: MAP.to_owned(),
            lease: LEASE.to_owned(),
            identity: identity.to_owned(),
            look_each,
            timing: TIMING,
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let ended = tokio::spawn(run(door, settings, TestClock::new(), stopped));
        Self { stop, ended }
    }

    /// In order.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.ended).await.expect("it ends").unwrap();
    }
}
