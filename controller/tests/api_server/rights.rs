//! The rights of the chart's role are enough, and none of them is unused.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::arranged::*;
use crate::proxy::{PROXY, Proxy};
use crate::server::{ApiServer, alone};

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn each_right_is_used_and_no_other_is_needed() {
    alone(|| async {
        let server = ApiServer::start().await;
        let world = World::new(server.client("admin").unwrap());
        world.install("holdfast:1").await;
        // Without the right to make the Lease nobody leads, although it may update it.
        let mut rules = chart_rules();
        rules[2]["verbs"] = json!(["get", "update"]);
        grant(&world.client, &rules).await;
        let proxy = Proxy::start(&server).await;
        let controller = Controller::start(server.door(PROXY, "daemon"), "one", Duration::from_secs(1));
        let tries = || proxy.requests("PUT", "/leases/").len();
        while tries() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(world.holder().await, None);
        assert!(manager(&world.set().await, "Apply").is_none(), "who does not lead writes nothing");

        // With it, by name only, all goes its way.
        grant(&world.client, &chart_rules()).await;
        world.until_held_by("one").await;
        world.until_owned().await;
        let looked = |part: &str| !proxy.requests("GET", part).is_empty();
        while !looked("/daemonsets/aws-node") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut used = BTreeSet::new();
        for line in ["GET", "PUT", "PATCH", "POST", "DELETE"].iter().flat_map(|verb| proxy.requests(verb, ""))
        {
            let (method, target) = line.split_once(' ').unwrap();
            let path = target.split('?').next().unwrap();
            let (kind, one) = path
                .split_once("/namespaces/kube-system/")
                .expect(path)
                .1
                .split_once('/')
                .map_or_else(|| (path.rsplit('/').next().unwrap(), false), |(kind, _)| (kind, true));
            let verb = match (method, one, target.contains("watch=true")) {
                ("GET", true, _) => "get",
                ("GET", false, true) => "watch",
                ("GET", false, false) => "list",
                ("PUT", true, _) => "update",
                ("PATCH", true, _) => "patch",
                _ => panic!("nobody expects {line}"),
            };
            used.insert((kind.to_owned(), verb.to_owned()));
        }
        // Seen to be needed above.
        used.insert(("leases".to_owned(), "create".to_owned()));
        let rules = chart_rules();
        let granted: BTreeSet<_> = rules
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|rule| {
                let kind = rule["resources"][0].as_str().unwrap().to_owned();
                rule["verbs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(move |verb| (kind.clone(), verb.as_str().unwrap().to_owned()))
            })
            .collect();
        assert_eq!(used, granted);
        controller.stop().await;
    });
}
