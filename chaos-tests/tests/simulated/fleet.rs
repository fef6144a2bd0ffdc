//! A fleet in virtual time: thousands of nodes, each the shipping engine, store and adapter, over one account whose buckets
//! all of them share.

mod churn;
mod full;
mod joins;
mod replaced;
pub(crate) mod restarts;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast_model::config::Config;
use holdfast_sim::vpc::request::{
    AssignPrivateIpAddresses, AttachNetworkInterface, CreateNetworkInterface, DescribeNetworkInterfaces,
};
use holdfast_sim::vpc::{
    Action, BoxConfig, Bucket, Caller, ErrorCode, InstanceSpec, Operation, RequestLimits, SecurityGroupId,
    SimVpc, SubnetId, SubnetSpec, Tags, Timing,
};
use tokio::time::Instant;

use crate::node::{Life, Node, Outcome};
use crate::shared::Stage;
use crate::steps::Steps;

/// What the account may call of each action.
const BUCKET: Bucket = Bucket { capacity: 120, refill_per_second: 20 };

/// A fleet takes gigabytes: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Nodes that share everything but themselves.
pub(crate) struct Fleet {
    /// Where they live.
    pub(crate) stage: Stage,
    subnet: SubnetId,
    group: SecurityGroupId,
    config: Config,
    seed: u64,
    /// They.
    pub(crate) nodes: Vec<Node>,
    // After the nodes: their memory is given back before the next fleet begins.
    _alone: MutexGuard<'static, ()>,
}

impl Fleet {
    /// So many nodes of type m5.large in a subnet of this range. Nobody limits their calls yet.
    pub(crate) fn new(count: usize, range: &str, config: Config, seed: u64) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut vpc = SimVpc::new(BoxConfig { seed, timing: Timing::life(), ..BoxConfig::default() });
        let net = vpc.add_vpc(&["10.0.0.0/16".parse().unwrap()], None, Tags::new()).unwrap();
        let subnet = vpc
            .add_subnet(SubnetSpec {
                vpc: net,
                availability_zone: "us-west-2a".to_owned(),
                ipv4: Some(range.parse().unwrap()),
                ipv6: None,
                tags: Tags::new(),
            })
            .unwrap();
        let group = vpc.add_security_group(&net, "nodes", Tags::new()).unwrap();
        let stage = Stage::new(vpc);
        let mut fleet = Self { stage, subnet, group, config, seed, nodes: Vec::new(), _alone: alone };
        fleet.nodes = (0..count).map(|_| fleet.another()).collect();
        fleet
    }

    /// One more node, that is not among them.
    fn another(&mut self) -> Node {
        self.seed += 1;
        let spec = InstanceSpec {
            instance_type: "m5.large".to_owned(),
            subnet: self.subnet,
            security_groups: vec![self.group],
            private_ip: None,
            ipv6_address_count: 0,
            tags: Tags::new(),
        };
        let instance = self.ec2(|vpc| vpc.run_instance(spec).unwrap());
        Node::new(&self.stage, instance, self.config.clone(), self.seed)
    }

    /// Uses the box as it stands now.
    pub(crate) fn ec2<T>(&self, work: impl FnOnce(&mut SimVpc) -> T) -> T {
        self.stage.shared.now(work)
    }

    /// From now on EC2 counts, and limits what the account calls.
    pub(crate) fn limit(&self) {
        let actions = Action::ALL.iter().map(|action| (*action, BUCKET)).collect();
        self.ec2(|vpc| {
            vpc.set_request_limits(RequestLimits { actions, ..RequestLimits::default() });
            vpc.log_mut().reset();
        });
    }

    /// Calls since, and how many of them were refused for their number.
    pub(crate) fn calls(&self) -> (usize, usize) {
        self.ec2(|vpc| (vpc.log().counts().values().sum(), vpc.log().throttled()))
    }

    fn count(&self, action: Action) -> usize {
        self.ec2(|vpc| vpc.log().count(action))
    }

    /// One life of each node, all at once.
    pub(crate) fn live<T>(&self, script: impl AsyncFn(usize, &Node, Life) -> T) -> Vec<T> {
        self.stage.block_on(self.lives(Duration::ZERO, script))
    }

    /// One life of each node, begun one after the other within this time.
    pub(crate) async fn lives<T>(
        &self,
        within: Duration,
        script: impl AsyncFn(usize, &Node, Life) -> T,
    ) -> Vec<T> {
        let script = &script;
        let apart = within / u32::try_from(self.nodes.len()).expect("a fleet is smaller");
        // A life is large, and they are many.
        let lives = (0..).zip(&self.nodes).map(|(number, node)| {
            Box::pin(async move {
                tokio::time::sleep(apart * number).await;
                lived(node, |life| script(number as usize, node, life)).await
            })
        });
        join_all(lives).await
    }

    /// Nobody was answered wrongly or too late, and no address is two pods'.
    pub(crate) fn assert_sound(&self) {
        let mut given: BTreeSet<IpAddr> = BTreeSet::new();
        for node in &self.nodes {
            assert_eq!(node.answered().faults(), Vec::<String>::new());
            for pod in node.pods().into_values() {
                let Some(address) = pod.address else { continue };
                assert!(given.insert(address), "{address} is two pods'");
            }
        }
    }
}

/// One life of a node, to its end in order.
async fn lived<T, F: Future<Output = T>>(node: &Node, script: impl FnOnce(Life) -> F) -> T {
    let (steps, told) = (Steps::default(), Cell::new(None));
    let outcome = node.life(&steps, async |life| told.set(Some(script(life).await))).await.unwrap();
    assert_eq!(outcome, Outcome::Finished);
    told.into_inner().expect("it came to its end")
}

/// Gives a pod its address, and the time that took.
pub(crate) async fn serve(life: &Life, name: &str) -> Duration {
    let begun = Instant::now();
    life.add(name, name).await.unwrap();
    begun.elapsed()
}

/// Takes ten calls a second out of each bucket that daemons call, until the nodes are through. Gives how many there were, and
/// how many of them were refused for their number.
async fn others_call(stage: &Stage, done: &Cell<bool>) -> (usize, usize) {
    let caller = Caller::named("others");
    let (mut made, mut refused) = (0, 0);
    while !done.get() {
        // None of them does anything: they name nothing that there is.
        let calls: [Operation; 4] = [
            DescribeNetworkInterfaces::default().into(),
            CreateNetworkInterface::default().into(),
            AttachNetworkInterface::default().into(),
            AssignPrivateIpAddresses::default().into(),
        ];
        for call in calls {
            made += 1;
            let answer = stage.shared.vpc().call(&caller, call).await;
            refused += usize::from(
                answer.result.is_err_and(|error| error.code() == Some(&ErrorCode::RequestLimitExceeded)),
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (made, refused)
}
