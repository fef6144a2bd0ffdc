//! What all of it costs on the largest node.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::*;
use crate::server::{ApiServer, SERVER, alone};

/// As many pods as the largest instance type has addresses for.
const PODS: usize = 737;
/// Of this the daemon's whole 25 MB must leave room for the rest of it.
const MOST_KB: u64 = 12_000;

/// A pod as large as they are: environment, volumes, tolerations, and who wrote which field.
fn large_pod(name: &str) -> Value {
    let mut pod = pod(name, "node-1");
    let variables: Vec<Value> =
        (0..30).map(|place| json!({"name": format!("SETTING_{place}"), "value": "x".repeat(60)})).collect();
    let volumes: Vec<Value> =
        (0..5).map(|place| json!({"name": format!("volume-{place}"), "emptyDir": {}})).collect();
    let mounts: Vec<Value> = (0..5)
        .map(|place| json!({"name": format!("volume-{place}"), "mountPath": format!("/volume/{place}")}))
        .collect();
    let containers: Vec<Value> = ["app", "sidecar"]
        .map(|name| json!({"name": name, "image": "registry.example/team/app:1.2.3", "env": variables, "volumeMounts": mounts}))
        .into();
    pod["spec"]["containers"] = containers.into();
    pod["spec"]["volumes"] = volumes.into();
    pod["metadata"]["labels"] = json!({"app": "app", "version": "1.2.3", "team": "a-team"});
    pod["metadata"]["annotations"] = json!({"checksum/config": "a".repeat(64), "note": "n".repeat(200)});
    pod
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn the_largest_node_is_followed_in_little_memory() {
    // A release build: `cargo build --release -p holdfast-cluster --example footprint`.
    let program =
        std::env::var_os("HOLDFAST_BIN_FOOTPRINT").expect("HOLDFAST_BIN_FOOTPRINT names the program");
    alone(|| async {
        let server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        install_definitions(&client).await;
        make_node(&client, "node-1").await;
        for place in 0..PODS {
            let name = format!("application-7d4b9c-{place:03}");
            make(&pods(&client), large_pod(&name)).await;
            let status =
                json!({"status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
            pods(&client).patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        }
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&program)
            .args([
                SERVER,
                server.certificate().to_str().unwrap(),
                server.file("admin.token").to_str().unwrap(),
                "node-1",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = BufReader::new(output).lines().map(Result::unwrap);
        println!("{}", lines.next().unwrap());
        println!("{}", lines.next().unwrap());
        // Every pod changes three times, as on a node that is rolled.
        for round in 0..3 {
            for place in 0..PODS {
                let name = format!("application-7d4b9c-{place:03}");
                let status = json!({"status": {"message": format!("round {round}")}});
                pods(&client)
                    .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
                    .await
                    .unwrap();
            }
        }
        writeln!(input).unwrap();
        let last = lines.next().unwrap();
        println!("{last}");
        drop(input);
        assert!(child.wait().unwrap().success());
        assert!(last.starts_with(&format!("{PODS} pods known")), "{last}");
        let most: u64 = last.split("VmHWM: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(most < MOST_KB, "{last}");
    });
}
