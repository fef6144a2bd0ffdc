//! Figures as CloudWatch gets them: the real SDK at the simulated service, which refuses what CloudWatch would.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use holdfast_model::refusal::CredentialsFault;
use holdfast_model::time::WallTime;
use holdfast_ports::cloud::{CloudError, CloudFault};
use holdfast_ports::monitoring::{Data, Datum, Monitoring as _};
use holdfast_sim::cloudwatch::Refuse;
use holdfast_sim::server::{Callers, ClockMode, SharedVpc, serve_ec2};
use holdfast_sim::vpc::{BoxConfig, SimVpc};

use super::DEADLINE;
use crate::cloudwatch::{CloudWatch, CloudWatchSettings};

const KEY: &str = "AKIAOPERATOR00000000";

/// CloudWatch of a box, and a client of it.
struct World {
    shared: SharedVpc,
    client: CloudWatch,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn client(endpoint: String, region: &str, key: &str) -> CloudWatch {
    let keys = Credentials::new(key, "secret", None, None, "test");
    let settings = CloudWatchSettings {
        endpoint: Some(endpoint),
        deadline: DEADLINE,
        ..CloudWatchSettings::new(region, "test")
    };
    CloudWatch::with_credentials(settings, Some(SharedCredentialsProvider::new(keys))).await
}

impl World {
    async fn new(key: &str) -> Self {
        let vpc = SimVpc::new(BoxConfig::default());
        let region = vpc.config().region.clone();
        let shared = SharedVpc::new(vpc, ClockMode::Running, SystemTime::now());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(serve_ec2(shared.clone(), listener, Callers::ByAccessKey));
        Self { shared, client: client(endpoint, &region, key).await, serving }
    }

    fn refuse(&self, code: &str, status: u16) {
        let refuse = Refuse { code: code.to_owned(), status, count: None };
        self.shared.cloudwatch(|seen| seen.refuse = Some(refuse));
    }
}

fn data(figures: usize) -> Data {
    const NAMES: [&str; 3] = ["assignIPAddresses", "eniAllocated", "addReqCount"];
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let figure = |at: usize| Datum { name: NAMES[at % 3], value: 1.5 };
    Data {
        namespace: "Kubernetes",
        dimension: ("CLUSTER_ID", "prod".to_owned()),
        at: WallTime(u64::try_from(wall.as_millis()).unwrap()),
        figures: (0..figures).map(figure).collect(),
    }
}

#[tokio::test]
async fn figures_arrive_as_they_are() {
    let world = World::new(KEY).await;
    let sent = data(3);
    world.client.publish(&sent).await.unwrap();
    let taken = world.shared.cloudwatch(|seen| seen.taken.clone());
    assert_eq!(taken.len(), 1);
    let put = &taken[0];
    assert_eq!((put.caller.as_str(), put.namespace.as_str()), (KEY, "Kubernetes"));
    let names: Vec<_> = put.data.iter().map(|datum| datum.name.as_str()).collect();
    assert_eq!(names, ["assignIPAddresses", "eniAllocated", "addReqCount"]);
    for datum in &put.data {
        assert_eq!(datum.dimensions, BTreeMap::from([("CLUSTER_ID".to_owned(), "prod".to_owned())]));
        assert_eq!((datum.value, datum.unit.as_str()), (1.5, "Count"));
        // On the wire it is a number of seconds, which has a millisecond's digits and no more.
        let at = Duration::from_secs_f64(datum.timestamp + 0.0005);
        assert_eq!(at.as_millis(), u128::from(sent.at.0));
    }
}

/// Beyond ten kilobytes the SDK packs what it sends.
#[tokio::test]
async fn a_large_request_arrives_and_one_that_is_too_large_is_refused_for_itself() {
    let world = World::new(KEY).await;
    world.client.publish(&data(1000)).await.unwrap();
    assert_eq!(world.shared.cloudwatch(|seen| seen.taken[0].data.len()), 1000);
    let refused = world.client.publish(&data(1001)).await.unwrap_err();
    assert_eq!((refused.fault, &*refused.code), (CloudFault::Rejected, "InvalidParameterValue"), "{refused}");
    let values = Data { figures: vec![Datum { name: "x", value: f64::NAN }], ..data(0) };
    assert_eq!(world.client.publish(&values).await.unwrap_err().fault, CloudFault::Rejected);
}

#[tokio::test]
async fn refusals_are_told_by_what_can_be_done() {
    let world = World::new(KEY).await;
    for (code, status, fault) in [
        ("Throttling", 400, CloudFault::Throttled { retry_after: None }),
        ("ThrottlingException", 400, CloudFault::Throttled { retry_after: None }),
        ("AccessDenied", 403, CloudFault::Denied),
        ("AccessDeniedException", 403, CloudFault::Denied),
        ("ExpiredToken", 403, CloudFault::Credentials(CredentialsFault::Expired)),
        ("InvalidClientTokenId", 403, CloudFault::Credentials(CredentialsFault::NotValid)),
        ("InternalServiceError", 500, CloudFault::Unknown),
        ("ServiceUnavailable", 503, CloudFault::Unknown),
        ("InvalidParameterValue", 400, CloudFault::Rejected),
        ("SomethingNew", 400, CloudFault::Rejected),
    ] {
        world.refuse(code, status);
        let CloudError { fault: told, code: word, .. } = world.client.publish(&data(1)).await.unwrap_err();
        assert_eq!((told, &*word), (fault, code));
    }
    let tries: u64 = world.shared.cloudwatch(|seen| seen.refused.values().sum());
    assert_eq!(tries, 10, "each is tried once");
}

#[tokio::test]
async fn a_key_that_is_not_known_is_no_lack_of_rights() {
    let world = World::new("AKIANOBODY").await;
    let refused = world.client.publish(&data(1)).await.unwrap_err();
    assert_eq!(refused.fault, CloudFault::Credentials(CredentialsFault::NotValid), "{refused}");
}

#[tokio::test]
async fn what_never_left_is_told_from_what_was_not_answered() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let away = client(format!("http://{address}"), "eu-test-1", KEY).await;
    assert_eq!(away.publish(&data(1)).await.unwrap_err().fault, CloudFault::NotSent);
    // Connections wait in the kernel's queue, and nobody takes them.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", hangs.local_addr().unwrap());
    let settings = CloudWatchSettings {
        endpoint: Some(endpoint),
        deadline: Duration::from_millis(300),
        ..CloudWatchSettings::new("eu-test-1", "test")
    };
    let keys = Credentials::new(KEY, "secret", None, None, "test");
    let silent = CloudWatch::with_credentials(settings, Some(SharedCredentialsProvider::new(keys))).await;
    let error = silent.publish(&data(1)).await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::Unknown, "DeadlineExceeded"), "{error}");
}
