//! Publishing: rounds wait in the [`Backlog`] and go out in their order, under the cluster's name.

use holdfast_model::refusal::CredentialsFault;
use holdfast_ports::cloud::{CloudError, CloudFault};
use holdfast_ports::monitoring::{Data, InstanceTags, Monitoring};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::backlog::{Backlog, Fate};
use crate::losses::Losses;
use crate::name;
use crate::round::Round;
use crate::told::Told;

/// The namespace of all figures.
const NAMESPACE: &str = "Kubernetes";
/// The code of a [`CloudError`] that says that it is not known whose CloudWatch is to be told.
pub const NO_REGION: &str = "NoRegion";

/// Publishes rounds.
pub struct Publisher<M, T> {
    monitoring: M,
    tags: T,
    /// What the cluster is called; `None` while that is not known: then nothing is published under any name.
    cluster_id: Option<String>,
    backlog: Backlog,
    told: Told,
    told_of_name: Told,
    losses: Losses,
}

impl<M: Monitoring, T: InstanceTags> Publisher<M, T> {
    /// `cluster_id`: what was set; without it the instance's tags are asked.
    pub fn new(monitoring: M, tags: T, cluster_id: Option<String>) -> Self {
        let (told, told_of_name) = (Told::default(), Told::default());
        let (backlog, losses) = (Backlog::default(), Losses::default());
        Self { monitoring, tags, cluster_id, backlog, told, told_of_name, losses }
    }

    /// Takes a round in, and sends what waits until something fails: what comes behind it would fare the same. So a round costs
    /// at most one deadline beyond what works. After `until` no further request is begun: what waits can wait, and the next look
    /// at the cluster cannot.
    pub async fn publish(&mut self, round: &Round, until: Instant) {
        let dropped = self.backlog.push(round);
        if self.losses.more(dropped) {
            warn!(
                "the oldest figures that waited for CloudWatch are dropped, and so are others until it takes them"
            );
        }
        let Some(cluster_id) = self.cluster_id().await else { return };
        while let Some(next) = self.backlog.next() {
            let data = Data {
                namespace: NAMESPACE,
                dimension: (name::DIMENSION, cluster_id.clone()),
                at: next.at,
                figures: next.figures.clone(),
            };
            match self.monitoring.publish(&data).await {
                Ok(()) => {
                    debug!(at = %data.at, figures = data.figures.len(), "published");
                    self.backlog.taken();
                    let (failed, lost) = (self.told.worked(), self.losses.end());
                    if failed || lost > 0 {
                        info!(requests_lost = lost, "CloudWatch takes figures again");
                    }
                }
                Err(error) => {
                    let fate = self.backlog.failed(error.fault);
                    let cause = format!("{:?}/{}", std::mem::discriminant(&error.fault), error.code);
                    let lost_first = fate == Fate::GivenUp && self.losses.more(1);
                    if self.told.failed(cause) || lost_first {
                        let (remedy, becomes) = (remedy(&error), becomes(error.fault, fate));
                        warn!(%error, remedy, at = %data.at, becomes, "publishing to CloudWatch failed");
                    }
                    if fate == Fate::Kept {
                        return;
                    }
                }
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// As the Amazon VPC CNI's helper finds it. Tags that could not be read say nothing, least of all that there are none.
    async fn cluster_id(&mut self) -> Option<String> {
        if let Some(known) = &self.cluster_id {
            return Some(known.clone());
        }
        let id = match self.tags.tags(name::TAGS).await {
            Ok(tags) => name::of_tags(&tags),
            // That will not change by itself, and there the figures are looked for.
            Err(error) if error.fault == CloudFault::Denied => {
                warn!(
                    %error,
                    name = name::NOBODY_SAYS,
                    "what the cluster is called cannot be read from the instance's tags: set AWS_CLUSTER_ID, or allow \
                     ec2:DescribeTags"
                );
                name::NOBODY_SAYS.to_owned()
            }
            Err(error) => {
                if self.told_of_name.failed(error.code.clone()) {
                    warn!(
                        %error,
                        "what the cluster is called is not known, so nothing is published yet: set AWS_CLUSTER_ID, or see that \
                         instance metadata and EC2 can be reached"
                    );
                }
                return None;
            }
        };
        info!(cluster_id = id, "figures are published under this name");
        self.cluster_id = Some(id.clone());
        Some(id)
    }
}

/// What becomes of the figures.
fn becomes(fault: CloudFault, fate: Fate) -> &'static str {
    match (fate, fault) {
        (Fate::GivenUp, _) => "these figures are given up",
        (Fate::Kept, CloudFault::Unknown) => "they are sent once more",
        (Fate::Kept, _) => "they are sent again each round",
    }
}

/// What an operator can do.
fn remedy(error: &CloudError) -> &'static str {
    match error.fault {
        _ if error.code == NO_REGION => "set AWS_REGION, or give pods instance metadata: a hop limit of 2",
        CloudFault::Denied => "allow cloudwatch:PutMetricData to the role that this process has",
        CloudFault::Credentials(CredentialsFault::Missing) => {
            "give this process a role: IAM roles for service accounts, EKS Pod Identity, or the instance's, which a pod gets with a \
             metadata hop limit of 2 only"
        }
        CloudFault::Credentials(CredentialsFault::ClockOff) => "set the clock of this process's node right",
        CloudFault::Credentials(CredentialsFault::Expired | CredentialsFault::NotValid) => {
            "see that this process gets new credentials, and that they are of a role that is there"
        }
        CloudFault::Throttled { .. } => "a longer METRIC_UPDATE_INTERVAL makes fewer requests",
        CloudFault::NotSent => "see that CloudWatch's endpoint can be reached from pods",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use holdfast_model::time::WallTime;

    #[derive(Clone, Default)]
    struct Fake {
        answers: Arc<Mutex<VecDeque<CloudFault>>>,
        taken: Arc<Mutex<Vec<Data>>>,
        tries: Arc<Mutex<usize>>,
        tags: Arc<Mutex<VecDeque<Result<&'static str, CloudFault>>>>,
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn failed(fault: CloudFault) -> CloudError {
        CloudError { fault, code: "Code".to_owned(), message: "words".to_owned() }
    }

    impl Monitoring for Fake {
        async fn publish(&self, data: &Data) -> Result<(), CloudError> {
            *self.tries.lock().unwrap() += 1;
            if let Some(fault) = self.answers.lock().unwrap().pop_front() {
                return Err(failed(fault));
            }
            self.taken.lock().unwrap().push(data.clone());
            Ok(())
        }
    }

    impl InstanceTags for Fake {
        async fn tags(&self, keys: &[&str]) -> Result<BTreeMap<String, String>, CloudError> {
            assert_eq!(keys, ["eks:cluster-name", "CLUSTER_ID", "Name"]);
            let told = self.tags.lock().unwrap().pop_front().expect("not asked so often");
            told.map(|name| BTreeMap::from([("Name".to_owned(), name.to_owned())])).map_err(failed)
        }
    }

    impl Fake {
        fn publisher(&self, id: Option<&str>) -> Publisher<Self, Self> {
            Publisher::new(self.clone(), self.clone(), id.map(str::to_owned))
        }

        fn taken(&self) -> Vec<u64> {
            self.taken.lock().unwrap().iter().map(|data| data.at.0).collect()
        }

        fn answers(&self, faults: impl IntoIterator<Item = CloudFault>) {
            self.answers.lock().unwrap().extend(faults);
        }
    }

    fn round(at: u64) -> Round {
        let figures = [("eniAllocated", 2.0)].into();
        Round { at: WallTime(at), nodes: 2, read: 1, figures }
    }

    #[tokio::test]
    async fn figures_go_out_under_the_clusters_name() {
        let fake = Fake::default();
        fake.publisher(Some("prod")).publish(&round(5), soon()).await;
        let taken = fake.taken.lock().unwrap().clone();
        let [data] = &taken[..] else { panic!("{taken:?}") };
        assert_eq!((data.namespace, &data.dimension), ("Kubernetes", &("CLUSTER_ID", "prod".to_owned())));
        let figures: Vec<_> = data.figures.iter().map(|datum| (datum.name, datum.value)).collect();
        assert_eq!(figures, [("eniAllocated", 2.0), ("holdfastNodes", 2.0), ("holdfastNodesRead", 1.0)]);
    }

    #[tokio::test]
    async fn what_failed_goes_out_later_in_its_order() {
        let fake = Fake::default();
        fake.answers([CloudFault::Denied, CloudFault::Throttled { retry_after: None }]);
        let mut publisher = fake.publisher(Some("prod"));
        publisher.publish(&round(1), soon()).await;
        assert_eq!(*fake.tries.lock().unwrap(), 1, "what comes behind would fare the same");
        for at in 2..=3 {
            publisher.publish(&round(at), soon()).await;
        }
        assert_eq!(
            (fake.taken(), *fake.tries.lock().unwrap()),
            (vec![1, 2, 3], 5),
            "one try a round while it fails"
        );
    }

    #[tokio::test]
    async fn what_is_refused_for_itself_holds_nothing_up() {
        let fake = Fake::default();
        fake.answers([CloudFault::NotSent, CloudFault::Rejected]);
        let mut publisher = fake.publisher(Some("prod"));
        publisher.publish(&round(1), soon()).await;
        publisher.publish(&round(2), soon()).await;
        assert_eq!(fake.taken(), [2]);
    }

    #[tokio::test]
    async fn nothing_is_published_under_a_name_that_is_not_known() {
        let fake = Fake::default();
        fake.tags.lock().unwrap().extend([Err(CloudFault::NotSent), Ok("from-tags")]);
        let mut publisher = fake.publisher(None);
        publisher.publish(&round(1), soon()).await;
        assert!(fake.taken().is_empty());
        publisher.publish(&round(2), soon()).await;
        publisher.publish(&round(3), soon()).await;
        assert_eq!(fake.taken(), [1, 2, 3], "what waited is not lost");
        assert!(fake.taken.lock().unwrap().iter().all(|data| data.dimension.1 == "from-tags"));
    }

    #[tokio::test]
    async fn without_the_right_to_read_tags_the_name_is_the_incumbents() {
        let fake = Fake::default();
        fake.tags.lock().unwrap().push_back(Err(CloudFault::Denied));
        fake.publisher(None).publish(&round(1), soon()).await;
        assert_eq!(fake.taken.lock().unwrap()[0].dimension.1, "k8s-cluster");
    }

    #[test]
    fn an_operator_is_told_what_helps_and_not_what_does_not() {
        let credentials = |fault| remedy(&failed(CloudFault::Credentials(fault)));
        for (said, word) in [
            (remedy(&failed(CloudFault::Denied)), "cloudwatch:PutMetricData"),
            (remedy(&failed(CloudFault::NotSent)), "endpoint"),
            (remedy(&failed(CloudFault::Throttled { retry_after: None })), "METRIC_UPDATE_INTERVAL"),
            (remedy(&CloudError { code: NO_REGION.to_owned(), ..failed(CloudFault::NotSent) }), "AWS_REGION"),
            (credentials(CredentialsFault::Missing), "a role"),
            (credentials(CredentialsFault::ClockOff), "clock"),
            (credentials(CredentialsFault::Expired), "new credentials"),
            (credentials(CredentialsFault::NotValid), "new credentials"),
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(remedy(&failed(CloudFault::Rejected)), "");
    }

    #[test]
    fn what_becomes_of_figures_is_said_as_it_is() {
        assert_eq!(becomes(CloudFault::Unknown, Fate::Kept), "they are sent once more");
        assert_eq!(becomes(CloudFault::Denied, Fate::Kept), "they are sent again each round");
        assert_eq!(becomes(CloudFault::Unknown, Fate::GivenUp), "these figures are given up");
    }
}
