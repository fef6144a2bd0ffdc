//! The engine: one task that owns all live state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_model::config::Config;
use holdfast_model::host::NatSeen;
use holdfast_model::ids::MacAddr;
use holdfast_model::node::NodeIdentity;
use holdfast_model::pool::PoolKey;
use holdfast_model::sandbox::SandboxKey;
use holdfast_model::time::{BootTime, Now};
use holdfast_planner::{self as planner, Choice, Desired, Observed};
use holdfast_ports::{Clock, Spawner};
use holdfast_store::{Report, Store, Writer};
use tokio::sync::{mpsc, oneshot};

use crate::attachment::Input;
use crate::attachments::Attachments;
use crate::before_look::BeforeLook;
use crate::book::{Book, SLOW_DISK, Then, Turned};
use crate::condition::{Condition, Facts};
use crate::diversions::Diversions;
use crate::event::Event;
use crate::handle::EngineHandle;
use crate::phases::Phases;
use crate::request::Request;
use crate::rewirings::Rewirings;
use crate::tally::{Repair, Tally};
use crate::timers::{self, Timers};
use crate::unreached::Unreached;
use crate::world::{Ports, World};

/// How long a stop waits for what is under way in the kernel.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// The engine of one node.
pub struct Engine<W: World> {
    pub(crate) ports: Ports<W>,
    pub(crate) config: Arc<Config>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
    pub(crate) book: Book,
    pub(crate) observed: Observed,
    pub(crate) timers: Timers,
    /// What is under way for each sandbox, and who waits.
    pub(crate) attachments: Attachments,
    /// Whether the kernel was read once: nothing is leased or released before.
    pub(crate) looked: bool,
    /// Those of the kernel's links, as it was last read.
    pub(crate) macs: Option<BTreeSet<MacAddr>>,
    /// What there was when the look at the host's network began that is under way.
    pub(crate) before_look: BeforeLook,
    /// Pods that were answered for and that nothing reaches, and why.
    pub(crate) unreached: Unreached,
    /// What the kernel was asked of the ways of pods' packets.
    pub(crate) diversions: Diversions,
    /// Sandboxes that are being looked for since their link is gone.
    pub(crate) looked_for: BTreeSet<SandboxKey>,
    /// When pods were wired anew.
    pub(crate) rewirings: Rewirings,
    /// Whether packets that leave the VPC are translated: no pod is answered for before.
    pub(crate) nat_ready: bool,
    /// What the last look at the NAT table showed.
    pub(crate) nat_seen: NatSeen,
    /// Whether the last look showed a default route.
    pub(crate) way_out: Option<bool>,
    /// Packet filters of others that drop what is forwarded unless a rule accepts it.
    pub(crate) forward_drops: Vec<String>,
    /// Why the host's network is not as it should be, and stays so for now.
    pub(crate) host_fault: Option<String>,
    /// The kernel's setting that the last pod or ENI could not be set up for.
    pub(crate) setting_fault: Option<String>,
    /// Whether something happened since the last plan, besides changes of the ledger.
    stale: bool,
    /// The ledger that the last plan was made for.
    planned: u64,
    pub(crate) observing: bool,
    pub(crate) observe_again: bool,
    pub(crate) mending: bool,
    pub(crate) mend_again: bool,
    /// What is being mended is not what is wanted any more.
    pub(crate) mend_outdated: bool,
    pub(crate) asking_identity: bool,
    pub(crate) identity_pause: Duration,
    pub(crate) asking_hint: bool,
    /// How often the metadata service was asked for a hint.
    pub(crate) hints_asked: u32,
    /// What the metadata service said before the host's links were read.
    pub(crate) told: Option<NodeIdentity>,
    /// Whether the metadata service has confirmed who we are since the start.
    pub(crate) identified: bool,
    /// What the last plan had to say of each pool that pods are served from.
    pub(crate) reports: BTreeMap<PoolKey, planner::Report>,
    /// Cards for whose addresses it is no use to wait, by those.
    pub(crate) hopeless: BTreeSet<u8>,
    /// What ADDs spend their time on.
    pub(crate) phases: Phases,
    /// What has happened, counted.
    pub(crate) tally: Tally,
    /// What is being put right in the kernel.
    pub(crate) being_repaired: Vec<Repair>,
    began: Duration,
    /// How long it took until pods could be served, once they could.
    pub(crate) served_after: Option<Duration>,
    stopping: Option<Stopping>,
}

struct Stopping {
    replies: Vec<oneshot::Sender<()>>,
    until: BootTime,
}

impl<W: World> Engine<W> {
    /// An engine over an opened store, and a handle to it. Nothing happens until [`Engine::run`].
    pub fn new(ports: Ports<W>, config: Arc<Config>, store: Store) -> std::io::Result<(Self, EngineHandle)> {
        Self::with_writer(ports, config, store, Writer::spawn)
    }

    /// The same with a writer of the caller's making, which gives its reports to the function it is handed.
    pub fn with_writer(
        ports: Ports<W>,
        config: Arc<Config>,
        store: Store,
        writer: impl FnOnce(Store, Box<dyn Fn(Report) + Send>) -> std::io::Result<Writer>,
    ) -> std::io::Result<(Self, EngineHandle)> {
        let (events, inbox) = mpsc::unbounded_channel();
        let ledger = store.durable().map_err(std::io::Error::other)?;
        let reports = events.clone();
        let writer = writer(
            store,
            Box::new(move |report| {
                // A closed channel means the engine has ended: nobody waits any more.
                let _ended: Result<(), _> = reports.send(Event::Committed(report));
            }),
        )?;
        let handle = EngineHandle { events: events.clone() };
        let began = ports.clock.elapsed();
        let engine = Self {
            ports,
            config,
            events,
            inbox,
            book: Book::new(ledger, writer),
            observed: Observed::default(),
            timers: Timers::default(),
            attachments: Attachments::default(),
            looked: false,
            macs: None,
            before_look: BeforeLook::default(),
            unreached: Unreached::default(),
            diversions: Diversions::default(),
            looked_for: BTreeSet::new(),
            rewirings: Rewirings::default(),
            nat_ready: false,
            nat_seen: NatSeen::default(),
            way_out: None,
            forward_drops: Vec::new(),
            host_fault: None,
            setting_fault: None,
            stale: true,
            planned: 0,
            observing: false,
            observe_again: false,
            mending: false,
            mend_again: false,
            mend_outdated: false,
            asking_identity: false,
            identity_pause: timers::IDENTITY_RETRY.0,
            asking_hint: false,
            hints_asked: 0,
            told: None,
            identified: false,
            reports: BTreeMap::new(),
            hopeless: BTreeSet::new(),
            phases: Phases::default(),
            tally: Tally::default(),
            being_repaired: Vec::new(),
            began,
            served_after: None,
            stopping: None,
        };
        Ok((engine, handle))
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        self.start();
        loop {
            self.turn();
            if self.may_end() {
                break;
            }
            let event = match self.next_wake() {
                Some(wait) => tokio::time::timeout(wait, self.inbox.recv()).await.ok().flatten(),
                None => self.inbox.recv().await,
            };
            if let Some(event) = event {
                self.handle(event);
                // What has arrived meanwhile is looked at before anything is planned again. Bounded, so that a
                // flood cannot keep the plan from being made.
                for _ in 0..1024 {
                    let Ok(event) = self.inbox.try_recv() else { break };
                    self.handle(event);
                }
            }
        }
        self.end();
    }

    /// The clock.
    pub(crate) fn now(&self) -> Now {
        self.ports.clock.now()
    }

    /// The desired side of every plan.
    pub(crate) fn desired(&self) -> Desired<'_> {
        let limits = self.book.ledger().limits();
        Desired { config: &self.config, limits }
    }

    /// The addresses that can be leased, in the order in which they are.
    pub(crate) fn free_addresses(&self, pool: PoolKey, now: &Now) -> Vec<Choice> {
        planner::free_addresses(pool, &self.desired(), self.book.ledger(), &self.observed, now)
    }

    /// Whether nothing new is begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Runs a future beside the loop; its result comes back as an event.
    pub(crate) fn beside(&self, work: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        self.ports.spawner.spawn(async move {
            let event = work.await;
            // A closed channel means the engine has ended: nobody waits any more.
            let _ended: Result<(), _> = events.send(event);
        });
    }

    fn handle(&mut self, event: Event) {
        tracing::trace!(?event, "event");
        // What the disk and a pod's wiring report shows in the ledger, if it matters to the plan.
        self.stale |= !matches!(event, Event::Committed(_) | Event::Wired { .. });
        match event {
            Event::Request(request) => self.request(request),
            Event::Committed(report) => self.committed(report),
            Event::Wired { sandbox, result } => self.wired(&sandbox, result),
            Event::Verified { sandbox, ticket, verdict } => self.verified(&sandbox, ticket, verdict),
            Event::Unwired { sandbox, result } => self.unwired(&sandbox, result),
            Event::LinksRemoved { removed } => self.links_removed(removed),
            Event::Sighted { seen } => self.sighted(&seen),
            Event::WaysAsked { whose, diverted } => self.ways_asked(&whose, diverted),
            Event::Rewired { sandbox, result } => self.rewired(&sandbox, result),
            Event::Changed { intent, result } => self.cloud_changed(intent, result),
            Event::Read { read, began, result } => {
                let before = self.book.version();
                self.cloud_read(&read, began, result);
                if self.book.version() != before {
                    // Pods may have lost their address or their ENI.
                    self.observe();
                }
            }
            Event::ReadMetadata { read, began, result } => {
                let before = self.book.version();
                self.metadata_read(&read, began, result);
                if self.book.version() != before {
                    self.observe();
                }
            }
            Event::Identity(result) => self.identity(result),
            Event::Hint(result) => self.hint(result),
            Event::Leak { call, began, result } => self.leak_answered(&call, began, result),
            Event::Tagged { eni, tags, result } => self.eni_tagged(&eni, &tags, result),
            Event::Limits { instance_type, result } => self.limits_answered(instance_type, result),
            Event::EniSetUp { eni, result } => self.eni_set_up(eni, result),
            Event::HostSeen(result) => self.host_seen(result),
            Event::HostMended { nat, result } => self.host_mended(nat, result),
            Event::Drifted => self.drifted(),
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Add { request, reply } => self.add(request, reply),
            Request::Del { sandbox, reply } => self.del(&sandbox, reply),
            Request::Check { sandbox, netns, expected, reply } => {
                self.check(&sandbox, netns, &expected, reply);
            }
            // An asker that went away needs no answer, here and below.
            Request::Status { reply } => drop(reply.send(self.status())),
            Request::Gc { network, valid, reply } => self.collect(&network, &valid, reply),
            Request::Pool { reply } => drop(reply.send(self.pool_told())),
            Request::Dump { reply } => self.dump(reply),
            Request::Figures { reply } => drop(reply.send(self.figures())),
            Request::Ledger { reply } => drop(reply.send(self.book.ledger().clone())),
            Request::Pods { reply } => drop(reply.send(self.pods())),
            Request::Configure { config, said, reply } => {
                self.configure(config, said);
                reply.send(()).ok();
            }
            Request::Denial { reply } => drop(reply.send(self.observed.denial(&self.now()).cloned())),
            Request::Cordon { cordoned, reply } => {
                self.observed.cordoned = cordoned;
                reply.send(()).ok();
            }
            Request::Stop { reply } => self.stop(reply),
        }
    }

    fn committed(&mut self, report: Report) {
        match self.book.turn(report) {
            Turned::Durable(thens) => {
                self.tally.commits += 1;
                for then in thens {
                    self.go_on(then);
                }
            }
            Turned::Failed { thens, cause } => {
                tracing::error!(%cause, "the ledger cannot be written");
                self.tally.failed_commits += 1;
                for then in thens {
                    self.give_up(then, &cause);
                }
            }
            Turned::Resumed => {
                tracing::info!("the ledger is written again");
                self.resumed();
            }
            Turned::StillFailing => {
                let retry = self.now().boottime.after(timers::DISK_RETRY);
                self.book.retry_at(retry);
            }
        }
    }

    fn go_on(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Wire { sandbox, commit } => self.drive(&sandbox, Input::LeaseDurable { commit }),
            Then::Unwire { sandbox, commit } => self.drive(&sandbox, Input::ReleaseDurable { commit }),
            Then::Send(intent) => self.send(intent),
        }
    }

    fn give_up(&mut self, then: Then, cause: &str) {
        match then {
            Then::Nothing => {}
            Then::Wire { sandbox, commit } => {
                let cause = cause.to_owned();
                self.drive(&sandbox, Input::LeaseRefused { commit, cause });
            }
            Then::Unwire { sandbox, commit } => self.drive(&sandbox, Input::ReleaseRefused { commit }),
            Then::Send(intent) => self.observed.given_up(intent),
        }
    }

    /// After every batch of events: serve who waits, and plan.
    fn turn(&mut self) {
        let now = self.now();
        if self.book.retry_due().is_some_and(|at| at <= now.boottime) {
            self.book.retry();
        }
        self.timers_due(&now);
        self.book.watch(now.boottime);
        let condition = self.condition();
        if let Some(cause) = condition.disk_trouble() {
            self.go_on_without_the_disk(cause);
        }
        if condition.plans() {
            if condition == Condition::Serving {
                let elapsed = self.ports.clock.elapsed();
                self.served_after.get_or_insert(elapsed.saturating_sub(self.began));
                self.serve_waiting(&now);
            } else {
                self.count_waiting();
                self.refuse_overdue(&condition, &now);
            }
            if !self.is_stopping() && (self.stale || self.planned != self.book.version()) {
                self.stale = false;
                // What the plan itself changes in the ledger may be the start of the next step.
                self.planned = self.book.version();
                self.plan(&now);
            }
            if condition == Condition::Serving {
                if self.weigh_cards(&now) && !self.is_stopping() {
                    // Who wants one address and cannot hope for one of the first card's has another card's, or waits for it.
                    self.serve_waiting(&now);
                    self.planned = self.book.version();
                    self.plan(&now);
                    self.weigh_cards(&now);
                }
                self.refuse_hopeless(&now);
            }
            if self.book.has_lazy() && self.timers.flush.is_none() {
                self.timers.flush = Some(now.boottime.after(timers::FLUSH_AFTER));
            }
        } else {
            self.refuse_overdue(&condition, &now);
        }
        while let Some((thens, cause)) = self.book.take_refused() {
            for then in thens {
                self.give_up(then, &cause);
            }
        }
        self.book.watch(now.boottime);
    }

    /// Whether the disk has left a commit unanswered for too long.
    pub(crate) fn disk_is_stuck(&self, now: &Now) -> bool {
        self.book.stuck_at().is_some_and(|at| at <= now.boottime)
    }

    /// Whether pods can be served, and what stands in the way.
    pub(crate) fn condition(&self) -> Condition {
        let now = self.now();
        Condition::of(&Facts {
            disk_refuses: self.book.failing(),
            disk_hangs: self.disk_is_stuck(&now).then_some(SLOW_DISK.as_secs()),
            host_read: self.looked,
            node_known: self.book.ledger().node.as_ref().is_some_and(|node| node.boot == now.boot),
            nat_stands: self.nat_ready,
        })
    }

    fn timers_due(&mut self, now: &Now) {
        if timers::due(&mut self.timers.kernel_retry, now.boottime) {
            self.take_up();
        }
        if timers::due(&mut self.timers.identity, now.boottime) {
            self.ask_identity();
        }
        if timers::due(&mut self.timers.hint, now.boottime) {
            self.ask_hint();
        }
        if timers::due(&mut self.timers.observe, now.boottime) {
            self.observe();
        }
        self.stale |= timers::due(&mut self.timers.plan, now.boottime);
        if timers::due(&mut self.timers.flush, now.boottime) {
            self.book.flush();
        }
        if timers::due(&mut self.timers.nat, now.boottime) && !self.nat_ready {
            if self.book.ledger().node.is_some() {
                tracing::error!(
                    "the NAT table does not stand yet; pods are served without a way out of the VPC"
                );
            }
            self.nat_ready = true;
        }
    }

    /// When the first of those who wait has waited long enough.
    fn next_deadline(&self) -> Option<BootTime> {
        self.attachments.waiting().map(|(_, add)| add.deadline).min()
    }

    fn next_wake(&self) -> Option<Duration> {
        let stop = self.stopping.as_ref().map(|stopping| stopping.until);
        // Once it is stuck, its answer is the next thing to look at.
        let stuck = self.book.stuck_at().filter(|_| !self.disk_is_stuck(&self.now()));
        let at = [self.timers.next(), self.next_deadline(), self.book.retry_due(), stuck, stop];
        let at = at.into_iter().flatten().min()?;
        // A millisecond at least: an instant just passed must not turn the loop into a spin.
        Some(at.since(self.now().boottime).max(Duration::from_millis(1)))
    }

    fn stop(&mut self, reply: oneshot::Sender<()>) {
        let until = self.now().boottime.after(STOP_PATIENCE);
        self.stopping.get_or_insert_with(|| Stopping { replies: Vec::new(), until }).replies.push(reply);
        self.refuse_all_stopping();
    }

    fn may_end(&self) -> bool {
        let Some(stopping) = &self.stopping else { return false };
        let idle =
            !self.attachments.any_in_the_kernel() && (self.book.settled() || self.book.failing().is_some());
        idle || self.now().boottime >= stopping.until
    }

    fn end(mut self) {
        if self.disk_is_stuck(&self.now()) {
            tracing::error!("the ledger is left to a disk that does not answer; the next start recovers it");
            self.book.abandon();
        }
        if let Err(cause) = self.book.close() {
            tracing::error!(%cause, "closing the ledger failed; the next start recovers it");
        }
        for reply in self.stopping.into_iter().flat_map(|stopping| stopping.replies) {
            // An asker that went away needs no answer.
            let _gone: Result<(), ()> = reply.send(());
        }
    }
}
