//! One simulated EC2 shared by all faces, the fabric and the tests of a process, with a clock that drives it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cloudwatch;
use crate::vpc::{Caller, InstanceId, Micros, Reply, Request, SimVpc, Ticket, VpcEvent};

/// Most refused requests, and most different IMDS paths per instance, that are remembered.
const REMEMBERED: usize = 1000;

/// What moves the box's virtual clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockMode {
    /// It runs along with real time (tokio's: a paused test runtime pauses it).
    Running,
    /// It moves only by [`SharedVpc::advance`].
    Manual,
}

/// A handle on the one box; clones are the same box.
///
/// The lock is held for the length of one closure and never across an await.
#[derive(Debug, Clone)]
pub struct SharedVpc {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    vpc: Mutex<SimVpc>,
    region: String,
    /// `Running`: a real instant, and where the virtual clock stood then.
    clock: Option<(Instant, Micros)>,
    epoch: SystemTime,
    /// Rung after every use, for the one who waits for events.
    used: Notify,
    /// Rung whenever a manual clock moves, for those who wait for answers.
    moved: Notify,
    imds_reads: Mutex<BTreeMap<InstanceId, BTreeMap<String, u64>>>,
    refusals: Mutex<VecDeque<String>>,
    cloudwatch: Mutex<cloudwatch::Seen>,
}

impl SharedVpc {
    /// Shares `vpc`. `epoch` is the wall-clock instant that the virtual clock's zero is shown as: in attach times,
    /// launch times, and the expiry of role credentials, so clients need it near the real present.
    ///
    /// In [`ClockMode::Running`] this must be called inside a tokio runtime.
    pub fn new(vpc: SimVpc, mode: ClockMode, epoch: SystemTime) -> Self {
        let clock = match mode {
            ClockMode::Running => Some((Instant::now(), vpc.now())),
            ClockMode::Manual => None,
        };
        let region = vpc.config().region.clone();
        Self {
            inner: Arc::new(Inner {
                vpc: Mutex::new(vpc),
                region,
                clock,
                epoch,
                used: Notify::new(),
                moved: Notify::new(),
                imds_reads: Mutex::default(),
                refusals: Mutex::default(),
                cloudwatch: Mutex::default(),
            }),
        }
    }

    /// Uses the box, its clock brought up to date first.
    pub fn with<T>(&self, use_it: impl FnOnce(&mut SimVpc) -> T) -> T {
        let result = use_it(&mut self.lock());
        self.inner.used.notify_waiters();
        result
    }

    /// Sends a request and waits for its answer. Dropping the future drops the answer, never the call: what was sent
    /// arrives, and the next look at the box finds it carried out.
    pub async fn call(&self, caller: &Caller, request: impl Into<Request>) -> Reply {
        let ticket = self.with(|vpc| vpc.send(caller, request));
        let mut waiting = Waiting { shared: self, ticket: Some(ticket) };
        loop {
            let moved = self.inner.moved.notified();
            let ready = self.with(|vpc| match vpc.take(ticket) {
                Some(reply) => Ok(reply),
                None => Err(vpc.ready_at(ticket).unwrap_or_default().since(vpc.now())),
            });
            match ready {
                Ok(reply) => {
                    waiting.ticket = None;
                    return reply;
                }
                Err(left) => self.pass(left, moved).await,
            }
        }
    }

    /// Waits until so much of the box's time has passed.
    pub(crate) async fn sleep(&self, by: Duration) {
        let until = self.with(|vpc| vpc.now()).after(by);
        loop {
            let moved = self.inner.moved.notified();
            let left = until.since(self.with(|vpc| vpc.now()));
            if left.is_zero() {
                return;
            }
            self.pass(left, moved).await;
        }
    }

    /// Waits until so much of the box's time may have passed.
    async fn pass(&self, left: Duration, moved: impl Future<Output = ()>) {
        match self.inner.clock {
            // tokio counts milliseconds: less than one would come back too early.
            Some(_) => tokio::time::sleep(left.max(Duration::from_millis(1))).await,
            // Somebody else moves the clock, and rings.
            None => moved.await,
        }
    }

    /// Moves a manual clock and says where it stands then. `None`, and nothing moved, when the clock runs by itself.
    pub fn advance(&self, by: Duration) -> Option<Micros> {
        if self.inner.clock.is_some() {
            return None;
        }
        Some(self.with(|vpc| {
            let to = vpc.now().after(by);
            vpc.advance_to(to);
            self.inner.moved.notify_waiters();
            vpc.now()
        }))
    }

    /// What moves the clock.
    pub fn clock_mode(&self) -> ClockMode {
        if self.inner.clock.is_some() { ClockMode::Running } else { ClockMode::Manual }
    }

    /// Waits until the box has events for the network, and takes them. Wakes by itself for what falls due in time.
    ///
    /// For one waiter per box: with two, each event reaches only one of them.
    pub async fn next_events(&self) -> Vec<VpcEvent> {
        self.wait_for(SimVpc::drain_events).await
    }

    /// The same for the events of one instance, and for one waiter per instance.
    pub async fn next_events_of(&self, instance: &InstanceId) -> Vec<VpcEvent> {
        self.wait_for(|vpc| vpc.drain_events_of(instance)).await
    }

    async fn wait_for(&self, mut take: impl FnMut(&mut SimVpc) -> Vec<VpcEvent>) -> Vec<VpcEvent> {
        // Bounds the damage should something fall due that `next_due` did not announce.
        const LONGEST: Duration = Duration::from_secs(1);
        const SHORTEST: Duration = Duration::from_millis(1);
        loop {
            let woken = self.inner.used.notified();
            let (events, due_in) = {
                let mut vpc = self.lock();
                let due_in = vpc.next_due().map_or(LONGEST, |due| due.since(vpc.now()));
                (take(&mut vpc), due_in)
            };
            if !events.is_empty() {
                return events;
            }
            // Over or not, the next round looks.
            let _timed = tokio::time::timeout(due_in.clamp(SHORTEST, LONGEST), woken).await;
        }
    }

    /// The box's region.
    pub fn region(&self) -> String {
        self.inner.region.clone()
    }

    /// The wall-clock instant of the virtual clock's zero.
    pub fn epoch(&self) -> SystemTime {
        self.inner.epoch
    }

    /// How often each IMDS path was read, per instance, since the last reset. Paths begin with `/`; the token path
    /// is counted as `PUT /latest/api/token`.
    pub fn imds_reads(&self) -> BTreeMap<InstanceId, BTreeMap<String, u64>> {
        hold(&self.inner.imds_reads).clone()
    }

    /// What the EC2 face refused by itself since the last reset, oldest first: such requests reach no call log.
    pub fn refusals(&self) -> Vec<String> {
        hold(&self.inner.refusals).iter().cloned().collect()
    }

    /// Uses what CloudWatch has seen.
    pub fn cloudwatch<T>(&self, use_it: impl FnOnce(&mut cloudwatch::Seen) -> T) -> T {
        use_it(&mut hold(&self.inner.cloudwatch))
    }

    /// Forgets the call log, the IMDS counts, the refusals and what CloudWatch took.
    pub fn reset_logs(&self) {
        self.with(|vpc| vpc.log_mut().reset());
        hold(&self.inner.imds_reads).clear();
        hold(&self.inner.refusals).clear();
        hold(&self.inner.cloudwatch).forget();
    }

    pub(crate) fn note_imds_read(&self, instance: &InstanceId, path: &str) {
        let mut reads = hold(&self.inner.imds_reads);
        let paths = reads.entry(*instance).or_default();
        if paths.len() < REMEMBERED || paths.contains_key(path) {
            *paths.entry(path.to_owned()).or_insert(0) += 1;
        }
    }

    pub(crate) fn note_refusal(&self, refusal: String) {
        let mut refusals = hold(&self.inner.refusals);
        if refusals.len() == REMEMBERED {
            refusals.pop_front();
        }
        refusals.push_back(refusal);
    }

    fn lock(&self) -> MutexGuard<'_, SimVpc> {
        let mut vpc = hold(&self.inner.vpc);
        if let Some((since, stood)) = self.inner.clock {
            vpc.advance_to(stood.after(since.elapsed()));
        }
        vpc
    }
}

/// A caller that waits. When it stops waiting, nobody does.
struct Waiting<'a> {
    shared: &'a SharedVpc,
    ticket: Option<Ticket>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.with(|vpc| vpc.abandon(ticket));
        }
    }
}

/// Takes a lock. A panic under it was reported where it happened; the state stays open to inspection.
fn hold<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpc::request::{AttachNetworkInterface, CreateNetworkInterface};
    use crate::vpc::{BoxConfig, Caller, InstanceSpec, SubnetSpec, Tags, Timing};

    /// A box with one subnet and one instance, whose links appear a while after Attach.
    fn small(link_appears: Duration) -> (SimVpc, InstanceId, crate::vpc::SubnetId) {
        let timing = Timing { link_appears, ..Timing::default() };
        let mut sim = SimVpc::new(BoxConfig { timing, ..BoxConfig::default() });
        let vpc = sim.add_vpc(&["10.0.0.0/16".parse().unwrap()], None, Tags::new()).unwrap();
        let spec = SubnetSpec {
            vpc,
            availability_zone: "us-west-2a".to_owned(),
            ipv4: Some("10.0.0.0/24".parse().unwrap()),
            ipv6: None,
            tags: Tags::new(),
        };
        let subnet = sim.add_subnet(spec).unwrap();
        let spec = InstanceSpec {
            instance_type: "m5.large".to_owned(),
            subnet,
            security_groups: Vec::new(),
            private_ip: None,
            ipv6_address_count: 0,
            tags: Tags::new(),
        };
        let instance = sim.run_instance(spec).unwrap();
        (sim, instance, subnet)
    }

    fn attach(shared: &SharedVpc, instance: &InstanceId, subnet: &crate::vpc::SubnetId) {
        let caller = Caller::named("test");
        shared.with(|vpc| {
            let create = CreateNetworkInterface { subnet_id: *subnet, ..Default::default() };
            let eni = vpc.call(&caller, create).unwrap().network_interface.network_interface_id;
            let attach = AttachNetworkInterface {
                network_interface_id: eni,
                instance_id: *instance,
                device_index: 1,
                network_card_index: None,
            };
            vpc.call(&caller, attach).unwrap();
        });
    }

    /// The next events, which are there or about to be.
    async fn soon(shared: &SharedVpc) -> Vec<VpcEvent> {
        tokio::time::timeout(Duration::from_secs(5), shared.next_events()).await.unwrap()
    }

    #[tokio::test]
    async fn events_wake_their_waiter_when_they_fall_due() {
        let wait = Duration::from_millis(200);
        let (sim, instance, subnet) = small(wait);
        let shared = SharedVpc::new(sim, ClockMode::Running, SystemTime::now());
        // The subnet, and the primary ENI of the new instance.
        assert_eq!(soon(&shared).await.len(), 2);
        let waiter = tokio::spawn({
            let shared = shared.clone();
            async move { soon(&shared).await }
        });
        tokio::task::yield_now().await;
        let start = std::time::Instant::now();
        attach(&shared, &instance, &subnet);
        let events = waiter.await.unwrap();
        assert!(matches!(events[..], [VpcEvent::AttachmentVisible { device_index: 1, .. }]), "{events:?}");
        assert!(start.elapsed() >= wait, "{:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_millis(900), "not only found by the safety net");
    }

    #[tokio::test]
    async fn a_manual_clock_lets_things_fall_due_when_it_is_moved() {
        let (sim, instance, subnet) = small(Duration::from_secs(3600));
        let shared = SharedVpc::new(sim, ClockMode::Manual, SystemTime::UNIX_EPOCH);
        shared.advance(Duration::from_secs(3600)).unwrap();
        soon(&shared).await;
        attach(&shared, &instance, &subnet);
        let early = tokio::time::timeout(Duration::from_millis(50), shared.next_events()).await;
        assert!(early.is_err(), "{early:?}");
        assert_eq!(shared.advance(Duration::from_secs(3600)), Some(Micros(7_200_000_000)));
        let events = soon(&shared).await;
        assert!(matches!(events[..], [VpcEvent::AttachmentVisible { .. }]), "{events:?}");
    }
}
