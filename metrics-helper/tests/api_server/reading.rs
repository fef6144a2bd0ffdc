//! Pages of daemons that answer, hang, lie and are away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_cluster::daemons::DaemonPod;
use holdfast_metrics_helper::daemons::{ByApiServer, Daemons as _, Read, one_for_each_node, read};
use holdfast_metrics_helper::table::TABLE;
use holdfast_metrics_helper::turns::Turns;
use holdfast_metrics_helper::{Publisher, run};
use holdfast_ports::cloud::CloudError;
use holdfast_ports::monitoring::{Data, InstanceTags, Monitoring};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pods::*;
use crate::server::{ApiServer, PATIENCE, SERVER, TestClock, alone};

fn daemons(server: &ApiServer) -> ByApiServer {
    ByApiServer { door: server.door(SERVER, "daemon"), namespace: NAMESPACE.to_owned() }
}

async fn read_all(daemons: &ByApiServer) -> (Vec<DaemonPod>, Read) {
    let pods = one_for_each_node(daemons.pods().await.unwrap());
    let read = read(daemons, &pods, &mut Turns::default(), Instant::now() + Duration::from_secs(60)).await;
    (pods, read)
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn only_whole_pages_count_and_no_daemon_costs_the_others_anything() {
    alone(|| async {
        let server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        grant(&client, &chart_rules()).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nawscni_eni_max 3\n";
        let endless = "awscni_eni_max 3\n".repeat(400_000);
        let _answering = [
            answer("192.0.2.11", page("awscni_eni_max 3\nawscni_add_ip_req_count 7\n")).await,
            answer("192.0.2.12", None).await,
            answer("192.0.2.13", head.to_vec()).await,
            answer("192.0.2.14", page(&endless)).await,
            answer("192.0.2.15", page("<html>not here</html>\n")).await,
            answer("192.0.2.16", b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n".to_vec()).await,
            answer(
                "192.0.2.17",
                b"HTTP/1.1 302 x\r\nlocation: http://192.0.2.11:61678/metrics\r\ncontent-length: 0\r\n\r\n"
                    .to_vec(),
            )
            .await,
        ];
        let good = make(&client, "good", "node-1", Some("192.0.2.11")).await;
        for (name, address) in [
            ("hangs", Some("192.0.2.12")),
            ("breaks-off", Some("192.0.2.13")),
            ("endless", Some("192.0.2.14")),
            ("of-another", Some("192.0.2.15")),
            ("starting", Some("192.0.2.16")),
            ("elsewhere", Some("192.0.2.17")),
            ("nobody", Some("192.0.2.99")),
            ("no-address", None),
        ] {
            make(&client, name, name, address).await;
        }
        // More than one page of the list, all on a node that has one already, and older than that one's.
        for at in 0..110 {
            make(&client, &format!("a-{at}"), "node-1", Some("192.0.2.11")).await;
        }
        let newest = make(&client, "z-newest", "node-1", Some("192.0.2.11")).await;

        let begun = Instant::now();
        let (pods, read) = read_all(&daemons(&server)).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(pods.len(), 9, "one for each node: {pods:?}");
        let read: Vec<&String> = read.pages.iter().map(|(uid, _)| uid).collect();
        assert_eq!(read, [&newest], "not {good}, which has the same address");
    });
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn a_right_that_lacks_is_named_although_others_are_away() {
    alone(|| async {
        let server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        let _answering = answer("192.0.2.11", page("awscni_eni_max 3\n")).await;
        make(&client, "good", "node-1", Some("192.0.2.11")).await;
        grant(&client, &json!([chart_rules()[0]])).await;
        let daemons = daemons(&server);
        let (pods, read) = read_all(&daemons).await;
        let (_, why) = read.missing.unwrap();
        assert_eq!((pods.len(), read.pages.len()), (1, 0));
        assert!(why.words.contains("add the verb get on pods/proxy"), "{why:?}");

        grant(&client, &json!([chart_rules()[1]])).await;
        let refused = daemons.pods().await.unwrap_err();
        assert!(refused.to_string().contains("add the verb list on pods"), "{refused}");
    });
}

/// Keeps what is published.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Data>>>);

impl Monitoring for Kept {
    async fn publish(&self, data: &Data) -> Result<(), CloudError> {
        self.0.lock().unwrap().push(data.clone());
        Ok(())
    }
}

impl InstanceTags for Kept {
    async fn tags(&self, _keys: &[&str]) -> Result<BTreeMap<String, String>, CloudError> {
        Ok(BTreeMap::new())
    }
}

#[test]
#[ignore = "needs a built API server: see the head of this test"]
fn while_the_api_server_is_away_nothing_is_published_and_then_it_goes_on() {
    alone(|| async {
        let mut server = ApiServer::start().await;
        let client = server.client("admin").unwrap();
        grant(&client, &chart_rules()).await;
        let every = TABLE.iter().filter(|row| row.of_every_node);
        let told: Vec<String> = every.map(|row| format!("{} 3\n", row.metric)).collect();
        let _answering = answer("192.0.2.11", page(&told.concat())).await;
        make(&client, "good", "node-1", Some("192.0.2.11")).await;
        let kept = Kept::default();
        let publisher = Publisher::new(kept.clone(), kept.clone(), None);
        let latest = watch::Sender::default();
        let mut shown = latest.subscribe();
        let each = Duration::from_millis(300);
        let looking =
            run(daemons(&server), Some(publisher), latest, each, TestClock::new(), std::future::pending());
        let looking = tokio::spawn(looking);
        let mut until = async |what: &str, is_so: fn(bool) -> bool| {
            let waited = tokio::time::timeout(PATIENCE, shown.wait_for(|round| is_so(round.is_some()))).await;
            drop(waited.expect(what).unwrap());
        };
        until("a round", |seen| seen).await;
        server.stop_server();
        until("nothing to be seen", |seen| !seen).await;
        let published = kept.0.lock().unwrap().len();
        // A round of which nothing is known is none of zeros.
        tokio::time::sleep(each * 4).await;
        assert_eq!(kept.0.lock().unwrap().len(), published);
        server.start_server().await;
        until("a round again", |seen| seen).await;
        let data = kept.0.lock().unwrap().last().unwrap().clone();
        assert_eq!(data.dimension, ("CLUSTER_ID", "k8s-cluster".to_owned()));
        let told = data.figures.iter().find(|figure| figure.name == "eniMaxAvailable").unwrap();
        assert!((told.value - 3.0).abs() < f64::EPSILON, "{told:?}");
        looking.abort();
    });
}
