//! Callers that die at a random instant of their call, for every action.
//!
//! ```text
//! dies:   unsent | before it arrives | as it arrives | before its answer | after its answer
//! ----------- send ------------- arrival ------------------- answer -------------------->
//! ```
//! Whether the call is carried out is for the seed to say, never for the death: what was sent arrives.

use super::*;
use crate::vpc::request::*;

/// When the caller dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Unsent,
    BeforeArrival,
    AtArrival,
    BeforeAnswer,
    AfterAnswer,
}

/// What becomes of the call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Arrives,
    AnswerLost,
    ErrorAfterEffect,
    RequestLost,
    Throttled,
}

const DEATHS: [Death; 5] =
    [Death::Unsent, Death::BeforeArrival, Death::AtArrival, Death::BeforeAnswer, Death::AfterAnswer];
const FATES: [Fate; 5] =
    [Fate::Arrives, Fate::AnswerLost, Fate::ErrorAfterEffect, Fate::RequestLost, Fate::Throttled];

impl Fate {
    fn fault(self) -> Option<FaultKind> {
        let code = ErrorCode::Unavailable;
        match self {
            Self::Arrives => None,
            Self::AnswerLost => Some(FaultKind::AnswerLost),
            Self::ErrorAfterEffect => {
                Some(FaultKind::ErrorAfterEffect { code, message: "try again".to_owned() })
            }
            Self::RequestLost => Some(FaultKind::RequestLost),
            Self::Throttled => Some(FaultKind::Throttle),
        }
    }

    fn is_carried_out(self) -> bool {
        matches!(self, Self::Arrives | Self::AnswerLost | Self::ErrorAfterEffect)
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Arrives => Outcome::Done,
            Self::AnswerLost => Outcome::AnswerLost,
            Self::ErrorAfterEffect => Outcome::Failed(ErrorCode::Unavailable),
            Self::RequestLost => Outcome::RequestLost,
            Self::Throttled => Outcome::Failed(ErrorCode::RequestLimitExceeded),
        }
    }
}

const TAG: &str = "of-the-dead";
const TEXT: &str = "by the dead";

/// A bed with something to do for every action, in a past that no view shows any more.
struct Scene {
    bed: Bed,
    /// Attached, with secondary addresses, an IPv6 address and a tag.
    bound: EniId,
    attachment: AttachmentId,
    secondary: Vec<Ipv4Addr>,
    ipv6: std::net::Ipv6Addr,
    /// Attached to nothing.
    free: EniId,
}

fn tags() -> Tags {
    Tags::from([(TAG.to_owned(), TEXT.to_owned())])
}

impl Scene {
    fn new() -> Self {
        let mut bed = Bed::new();
        let (bound, attachment) = bed.attached(1);
        let secondary = bed.assign(&bound, 2).unwrap();
        let one = AssignIpv6Addresses {
            network_interface_id: bound,
            ipv6_address_count: Some(1),
            ..Default::default()
        };
        let ipv6 = bed.call(one).unwrap().addresses[0];
        bed.call(CreateTags { resources: vec![bound.to_string()], tags: tags() }).unwrap();
        let free = bed.created();
        bed.second(100);
        bed.vpc.set_timing(Timing::life()).unwrap();
        Self { bed, bound, attachment, secondary, ipv6, free }
    }

    /// A request of each action that succeeds here, once.
    fn request(&self, action: Action) -> Operation {
        let (bound, free) = (self.bound, self.free);
        match action {
            Action::DescribeNetworkInterfaces => DescribeNetworkInterfaces::default().into(),
            Action::DescribeInstances => DescribeInstances::default().into(),
            Action::DescribeInstanceStatus => DescribeInstanceStatus::default().into(),
            Action::DescribeSubnets => DescribeSubnets::default().into(),
            Action::DescribeInstanceTypes => DescribeInstanceTypes::default().into(),
            Action::DescribeSecurityGroups => DescribeSecurityGroups::default().into(),
            Action::DescribeVpcs => DescribeVpcs::default().into(),
            Action::DescribeTags => DescribeTags::default().into(),
            Action::CreateNetworkInterface => {
                CreateNetworkInterface { description: Some(TEXT.to_owned()), ..self.bed.create() }.into()
            }
            Action::AttachNetworkInterface => self.bed.attach(&free, 2).into(),
            Action::DetachNetworkInterface => Bed::detach(&self.attachment).into(),
            Action::DeleteNetworkInterface => DeleteNetworkInterface { network_interface_id: free }.into(),
            Action::ModifyNetworkInterfaceAttribute => ModifyNetworkInterfaceAttribute {
                network_interface_id: bound,
                description: Some(TEXT.to_owned()),
                ..Default::default()
            }
            .into(),
            Action::AssignPrivateIpAddresses => AssignPrivateIpAddresses {
                network_interface_id: bound,
                secondary_private_ip_address_count: Some(1),
                ..Default::default()
            }
            .into(),
            Action::UnassignPrivateIpAddresses => UnassignPrivateIpAddresses {
                network_interface_id: bound,
                private_ip_addresses: self.secondary.clone(),
                ..Default::default()
            }
            .into(),
            Action::AssignIpv6Addresses => AssignIpv6Addresses {
                network_interface_id: bound,
                ipv6_address_count: Some(1),
                ..Default::default()
            }
            .into(),
            Action::UnassignIpv6Addresses => UnassignIpv6Addresses {
                network_interface_id: bound,
                ipv6_addresses: vec![self.ipv6],
                ..Default::default()
            }
            .into(),
            Action::CreateTags => CreateTags { resources: vec![free.to_string()], tags: tags() }.into(),
            Action::DeleteTags => {
                DeleteTags { resources: vec![bound.to_string()], tags: vec![(TAG.to_owned(), None)] }.into()
            }
        }
    }

    /// How often a change was carried out, by what is shown of the ENIs. `None`: the action changes nothing.
    fn times(&self, action: Action, enis: &[NetworkInterface]) -> Option<usize> {
        let of = |id: EniId| enis.iter().find(|eni| eni.network_interface_id == id);
        let (bound, free) = (of(self.bound), of(self.free));
        let tagged = |eni: Option<&NetworkInterface>| eni.is_some_and(|eni| eni.tags == tags());
        let once = |done: bool| Some(usize::from(done));
        match action {
            Action::DescribeNetworkInterfaces
            | Action::DescribeInstances
            | Action::DescribeInstanceStatus
            | Action::DescribeSubnets
            | Action::DescribeInstanceTypes
            | Action::DescribeSecurityGroups
            | Action::DescribeVpcs
            | Action::DescribeTags => None,
            Action::CreateNetworkInterface => Some(enis.iter().filter(|eni| eni.description == TEXT).count()),
            Action::AttachNetworkInterface => once(free.is_some_and(|eni| eni.attachment.is_some())),
            Action::DetachNetworkInterface => once(bound.is_some_and(|eni| eni.status.as_str() != "in-use")),
            Action::DeleteNetworkInterface => once(free.is_none()),
            Action::ModifyNetworkInterfaceAttribute => once(bound.is_some_and(|eni| eni.description == TEXT)),
            Action::AssignPrivateIpAddresses => {
                Some(bound.map_or(0, |eni| eni.secondary_ips().count() - self.secondary.len()))
            }
            Action::UnassignPrivateIpAddresses => {
                once(bound.is_some_and(|eni| eni.secondary_ips().next().is_none()))
            }
            Action::AssignIpv6Addresses => Some(bound.map_or(0, |eni| eni.ipv6_addresses.len() - 1)),
            Action::UnassignIpv6Addresses => once(bound.is_some_and(|eni| eni.ipv6_addresses.is_empty())),
            Action::CreateTags => once(tagged(free)),
            Action::DeleteTags => once(bound.is_some() && !tagged(bound)),
        }
    }

    fn truth(&self) -> Vec<NetworkInterface> {
        self.bed.vpc.authoritative().network_interfaces()
    }

    /// What another caller is shown, who asks as anybody does.
    fn shown_to_another(&mut self) -> Vec<NetworkInterface> {
        let vpc = &mut self.bed.vpc;
        let ticket = vpc.send(&Caller::named("another"), DescribeNetworkInterfaces::default());
        vpc.advance_to(vpc.ready_at(ticket).unwrap());
        let response = vpc.take(ticket).unwrap().result.unwrap();
        DescribeNetworkInterfaces::output(response).unwrap().items
    }
}

/// What came of one death.
#[derive(Debug, PartialEq)]
struct Trace {
    death: Death,
    fate: Fate,
    died: Micros,
    calls: Vec<CallRecord>,
    enis: Vec<NetworkInterface>,
}

/// A caller sends one request of this action and dies when the seed says.
fn live_and_die(action: Action, seed: u64) -> Trace {
    let mut chance = Stream::new(seed, action as u64);
    let mut any = |below: Duration| {
        Duration::from_micros(chance.below(u64::try_from(below.as_micros()).unwrap().max(1)))
    };
    let mut draw = |of: usize| usize::try_from(any(Duration::from_micros(of as u64)).as_micros()).unwrap();
    let (death, fate) = (DEATHS[draw(DEATHS.len())], FATES[draw(FATES.len())]);
    let told = format!("{action}, seed {seed}: dies {death:?}, call {fate:?}");
    let late = Duration::from_millis(1) + any(Duration::from_secs(3));

    let mut scene = Scene::new();
    let (sent, before) = (scene.bed.vpc.now(), scene.truth());
    let caller = scene.bed.caller.clone();
    let request = Request::from(scene.request(action));
    // There is an instant between arrival and answer at which one can die.
    for kind in fate.fault().into_iter().chain([FaultKind::AnswerLate { by: late }]) {
        scene.bed.vpc.set_fault(Fault::new(kind).of_instance(&scene.bed.node.clone())).unwrap();
    }
    scene.bed.vpc.log_mut().reset();
    let latency = scene.bed.vpc.config().timing.latency_of(&request);
    let (arrives, answered) = (sent.after(latency), sent.after(latency + late));
    let died = match death {
        Death::Unsent => sent,
        Death::BeforeArrival => sent.after(any(latency)),
        Death::AtArrival => arrives,
        Death::BeforeAnswer => arrives.after(any(late)),
        Death::AfterAnswer => answered.after(any(Duration::from_secs(3))),
    };
    if death != Death::Unsent {
        let vpc = &mut scene.bed.vpc;
        let ticket = vpc.send(&caller, request.clone());
        if death == Death::AfterAnswer {
            vpc.advance_to(answered);
            assert!(vpc.take(ticket).is_some(), "{told}: it lived to see the answer");
        }
        vpc.advance_to(died);
        vpc.abandon(ticket);
        assert_eq!((vpc.ready_at(ticket), vpc.take(ticket)), (None, None), "{told}: nobody waits");
        assert_eq!(vpc.under_way(), usize::from(died < arrives), "{told}: only an arrival ends the way");
    }
    scene.bed.vpc.advance_to(arrives.max(died));

    let carried_out = death != Death::Unsent && fate.is_carried_out();
    let expected = scene.times(action, &before).map(|_| usize::from(carried_out));
    let truth = scene.truth();
    assert_eq!(scene.times(action, &truth), expected, "{told}: in truth");
    if expected != Some(1) {
        assert_eq!(truth, before, "{told}: nothing changed");
    }
    // The lag is over for whoever asks so much later.
    scene.bed.vpc.advance_to(arrives.max(died).after(Duration::from_secs(1)));
    let shown = scene.shown_to_another();
    assert_eq!(scene.times(action, &shown), expected, "{told}: as shown to another");

    let log = scene.bed.vpc.log();
    let counted = log.counts_by_caller().get(&caller.name).cloned().unwrap_or_default();
    let sent_once: BTreeMap<Action, usize> =
        (death != Death::Unsent).then_some((action, 1)).into_iter().collect();
    assert_eq!(counted, sent_once, "{told}: counted");
    let calls: Vec<CallRecord> = log.by(&caller).cloned().collect();
    for call in &calls {
        assert_eq!((call.at, &call.request, &call.outcome), (arrives, &request, &fate.outcome()), "{told}");
    }
    assert_eq!(scene.bed.vpc.check(), [], "{told}");
    Trace { death, fate, died, calls, enis: shown }
}

/// Deaths of each action's caller.
const SEEDS: std::ops::Range<u64> = 0..100;

#[test]
fn every_action_is_carried_out_as_the_seed_says_whenever_its_caller_dies() {
    for action in Action::ALL {
        let mut drawn = BTreeSet::new();
        for seed in SEEDS {
            let trace = live_and_die(*action, seed);
            drawn.insert((trace.death, trace.fate));
        }
        let (deaths, fates): (BTreeSet<_>, BTreeSet<_>) = drawn.into_iter().unzip();
        assert_eq!((deaths.len(), fates.len()), (DEATHS.len(), FATES.len()), "{action}: too few seeds");
    }
}

#[test]
fn equal_seeds_give_equal_deaths() {
    for action in Action::ALL {
        for seed in SEEDS.take(5) {
            assert_eq!(live_and_die(*action, seed), live_and_die(*action, seed), "{action}, seed {seed}");
        }
    }
    assert_ne!(
        live_and_die(Action::CreateTags, 0).died,
        live_and_die(Action::CreateTags, 1).died,
        "the instant is drawn"
    );
}
