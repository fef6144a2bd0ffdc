//! A hit is a change: what would have gone the same way without a fault is not counted, whatever its kind.
//!
//! Each case runs on two equal boxes, of which only one has the fault: they must differ just where a hit is counted.

use std::time::SystemTime;

use http_body_util::BodyExt as _;
use hyper::body::Bytes;

use super::*;
use crate::server::shared::{ClockMode, SharedVpc};
use crate::server::{Callers, Ec2Service, ImdsService};
use crate::vpc::request::*;

const SECOND: Duration = Duration::from_secs(1);

/// The first second of the 29th of February 2000.
const EPOCH: Duration = Duration::from_secs(951_782_400);

/// A box with all its faces at second 100, in which nothing happened for long.
struct Place {
    shared: SharedVpc,
    imds: ImdsService,
    ec2: Ec2Service,
    node: InstanceId,
    /// Attached, with two secondary addresses.
    eni: EniId,
    attachment: AttachmentId,
    address: Ipv4Addr,
    mac: Mac,
    /// Not attached.
    loose: EniId,
    subnet: SubnetId,
    elsewhere: SubnetId,
}

impl Place {
    fn new() -> Self {
        let mut bed = Bed::new();
        let (eni, attachment) = bed.attached(1);
        let address = bed.assign(&eni, 2).unwrap()[1];
        let (loose, mac) = (bed.created(), bed.eni(&eni).mac_address);
        bed.second(100);
        let slow = Timing {
            attach_takes: SECOND,
            detach_takes: SECOND,
            link_appears: SECOND,
            ..bed.vpc.config().timing.clone()
        };
        bed.vpc.set_timing(slow).unwrap();
        bed.vpc.drain_events();
        let Bed { vpc, node, subnet, elsewhere, .. } = bed;
        let shared = SharedVpc::new(vpc, ClockMode::Manual, SystemTime::UNIX_EPOCH + EPOCH);
        let imds = ImdsService::new(shared.clone(), node);
        let ec2 = Ec2Service::new(shared.clone(), Callers::Instance(node));
        Self { shared, imds, ec2, node, eni, attachment, address, mac, loose, subnet, elsewhere }
    }

    /// What a call gives and leaves.
    fn call(&self, request: impl Into<Request>) -> String {
        let request = request.into();
        self.shared.with(|vpc| {
            let reply = vpc.serve(&Caller::instance(&self.node), request);
            format!("{reply:?} {:?}", vpc.world)
        })
    }

    fn foreign<C: Call>(&self, operation: C) -> C::Output {
        self.shared.with(|vpc| vpc.foreign(operation)).unwrap()
    }

    /// Lets a second pass, and gives what there is then.
    fn second(&self) -> String {
        self.shared.advance(SECOND).unwrap();
        let (events, world) = self.shared.with(|vpc| (vpc.drain_events(), vpc.world.clone()));
        format!("{events:?} {world:?}")
    }

    fn harm(&self, path: &str) -> String {
        self.shared.with(|vpc| format!("{:?}", vpc.imds_harm(&self.node, path)))
    }

    /// What metadata shows at a path.
    fn leaf(&self, path: &str) -> String {
        let ask = |method: &str, path: String, (name, value): (&str, &str)| {
            let request = hyper::Request::builder().method(method).uri(path).header(name, value);
            let request = request.body(Bytes::new()).unwrap();
            now(async {
                let Some(answer) = self.imds.answer(request).await else { return Bytes::new() };
                answer.into_body().collect().await.unwrap().to_bytes()
            })
        };
        let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
        let token = ask("PUT", "/latest/api/token".to_owned(), ttl);
        let token = ("x-aws-ec2-metadata-token", std::str::from_utf8(&token).unwrap());
        let text = ask("GET", format!("/latest/meta-data/{path}"), token);
        String::from_utf8(text.to_vec()).unwrap()
    }

    /// What EC2 answers to a call that was signed at this instant.
    fn signed(&self, date: &str) -> String {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA1/{}/us-west-2/ec2/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=00ff",
            &date[..8]
        );
        let request = hyper::Request::post("/")
            .header("authorization", authorization)
            .header("x-amz-date", date)
            .body(Bytes::from("Action=DescribeVpcs&Version=2016-11-15"))
            .unwrap();
        now(async { format!("{:?}", self.ec2.answer(request).await) })
    }

    fn assign(&self, count: i64) -> AssignPrivateIpAddresses {
        AssignPrivateIpAddresses {
            network_interface_id: self.eni,
            secondary_private_ip_address_count: Some(count),
            ..Default::default()
        }
    }

    fn attach(&self) -> AttachNetworkInterface {
        AttachNetworkInterface {
            network_interface_id: self.loose,
            instance_id: self.node,
            device_index: 2,
            network_card_index: None,
        }
    }

    /// Takes a secondary address away.
    fn unassign(&self) {
        self.foreign(UnassignPrivateIpAddresses {
            network_interface_id: self.eni,
            private_ip_addresses: vec![self.address],
            ..Default::default()
        });
    }

    /// The addresses that metadata shows.
    fn addresses(&self) -> String {
        self.leaf(&format!("network/interfaces/macs/{}/local-ipv4s", self.mac))
    }
}

/// What is answered without waiting for anything.
fn now<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer)
}

type Step = fn(&Place) -> String;

/// A fault, something that it cannot change, and something that it changes once.
struct Case {
    fault: fn(&Place) -> Fault,
    spares: Step,
    hits: Step,
}

/// The cases, and a match over their kinds: a kind without a case does not compile.
macro_rules! cases {
    ($($kind:pat => $fault:expr, $spares:expr, $hits:expr;)*) => {
        #[test]
        fn a_fault_of_any_kind_is_hit_just_where_it_changes_something() {
            fn all(kind: &FaultKind) {
                match kind { $($kind => {})* }
            }
            $({
                let case = Case { fault: $fault, spares: $spares, hits: $hits };
                let kind = (case.fault)(&Place::new()).kind;
                all(&kind);
                assert!(matches!(kind, $kind), "a case of another kind: {kind:?}");
                run(&case);
            })*
        }
    };
}

fn run(case: &Case) {
    let (whole, harmed) = (Place::new(), Place::new());
    let fault = (case.fault)(&harmed);
    let kind = fault.kind.clone();
    let fault = harmed.shared.with(|vpc| vpc.set_fault(fault)).unwrap();
    let hits = || harmed.shared.with(|vpc| vpc.fault_hits()[&fault]);
    assert_eq!((case.spares)(&harmed), (case.spares)(&whole), "{kind:?} changes what it should spare");
    assert_eq!(hits(), 0, "{kind:?} counts what it did not change");
    assert_ne!((case.hits)(&harmed), (case.hits)(&whole), "{kind:?} changes nothing");
    assert_eq!(hits(), 1, "{kind:?} counts its change once");
}

/// Of one action, so that others are spared.
fn of_vpcs(kind: FaultKind) -> Fault {
    Fault::new(kind).on(Action::DescribeVpcs)
}

fn enis(place: &Place) -> String {
    place.call(DescribeNetworkInterfaces::default())
}

fn subnets(place: &Place) -> String {
    place.call(DescribeSubnets::default())
}

fn vpcs(place: &Place) -> String {
    place.call(DescribeVpcs::default())
}

fn unassigned_then_metadata(place: &Place) -> String {
    place.unassign();
    place.addresses()
}

fn attached(place: &Place) -> String {
    place.call(place.attach());
    place.second()
}

fn detached(place: &Place) -> String {
    place.call(Bed::detach(&place.attachment));
    place.second()
}

cases! {
    FaultKind::ImdsOmitsEni { .. } => |_| Fault::new(FaultKind::ImdsOmitsEni { eni: None }),
        |at| at.leaf("mac"),
        |at| at.leaf("network/interfaces/macs/");
    FaultKind::ImdsOmitsAddresses { .. } => |_| Fault::new(FaultKind::ImdsOmitsAddresses { eni: None }),
        |at| at.leaf("network/interfaces/macs/"),
        Place::addresses;
    FaultKind::ImdsRemembers { .. } => |_| Fault::new(FaultKind::ImdsRemembers { for_: 9 * SECOND }),
        Place::addresses,
        unassigned_then_metadata;
    FaultKind::ImdsFrozen => |_| Fault::new(FaultKind::ImdsFrozen),
        Place::addresses,
        unassigned_then_metadata;
    FaultKind::ImdsLags { .. } => |_| Fault::new(FaultKind::ImdsLags { by: 9 * SECOND }),
        Place::addresses,
        unassigned_then_metadata;
    FaultKind::ImdsAway => |_| Fault::new(FaultKind::ImdsAway),
        vpcs,
        |at| at.harm("meta-data/mac");
    FaultKind::ImdsRequestReset { .. } => |_| Fault::new(FaultKind::ImdsRequestReset { path: Some("api".to_owned()) }),
        |at| at.harm("meta-data/mac"),
        |at| at.harm("api/token");
    FaultKind::ImdsAnswerReset { .. } =>
        |_| Fault::new(FaultKind::ImdsAnswerReset { keep: 9, path: Some("api".to_owned()) }),
        |at| at.harm("meta-data/mac"),
        |at| at.harm("api/token");
    FaultKind::ImdsStatus { .. } => |_| Fault::new(FaultKind::ImdsStatus { status: 503, path: Some("api".to_owned()) }),
        |at| at.harm("meta-data/mac"),
        |at| at.harm("api/token");
    FaultKind::ImdsLate { .. } => |_| Fault::new(FaultKind::ImdsLate { by: SECOND, path: Some("api".to_owned()) }),
        |at| at.harm("meta-data/mac"),
        |at| at.harm("api/token");
    FaultKind::ImdsTokenRefused => |_| Fault::new(FaultKind::ImdsTokenRefused),
        |at| at.harm("meta-data/mac"),
        |at| at.harm("api/token");
    FaultKind::ImdsExpiredCredentials => |_| Fault::new(FaultKind::ImdsExpiredCredentials),
        |at| at.leaf("iam/security-credentials/"),
        |at| at.leaf(&format!("iam/security-credentials/{}", at.leaf("iam/security-credentials/")));
    FaultKind::DescribeLags { .. } => |_| Fault::new(FaultKind::DescribeLags { by: 9 * SECOND }),
        enis,
        |at| { at.unassign(); enis(at) };
    FaultKind::ChangesLag { .. } => |_| Fault::new(FaultKind::ChangesLag { by: 9 * SECOND }),
        |at| {
            let nothing = DeleteNetworkInterface { network_interface_id: "eni-0aaaaaaaaaaaaaaaa".into() };
            at.call(at.assign(1)) + &at.call(nothing)
        },
        |at| {
            let new = CreateNetworkInterface { subnet_id: at.subnet, ..Default::default() };
            let new = at.foreign(new).network_interface.network_interface_id;
            at.call(DeleteNetworkInterface { network_interface_id: new })
        };
    FaultKind::DescribeOmitsEni { .. } => |at| Fault::new(FaultKind::DescribeOmitsEni { eni: at.eni }),
        |at| {
            let other =
                DescribeNetworkInterfaces { network_interface_ids: vec![at.loose], ..Default::default() };
            vpcs(at) + &at.call(other)
        },
        enis;
    FaultKind::DescribeOmitsAddress { .. } =>
        |at| Fault::new(FaultKind::DescribeOmitsAddress { address: at.address }),
        |at| {
            let filters = vec![Filter::new("subnet-id", at.elsewhere.as_str())];
            vpcs(at) + &at.call(DescribeNetworkInterfaces { filters, ..Default::default() })
        },
        enis;
    FaultKind::ShortPages { .. } => |_| Fault::new(FaultKind::ShortPages { most: 3 }),
        |at| {
            let pages = DescribeVpcs { max_results: Some(5), ..Default::default() };
            at.call(pages) + &at.call(DescribeInstanceTypes::default())
        },
        |at| at.call(DescribeInstanceTypes { max_results: Some(5), ..Default::default() });
    FaultKind::AnswerLost => |_| of_vpcs(FaultKind::AnswerLost), subnets, vpcs;
    FaultKind::AnswerLate { .. } => |_| of_vpcs(FaultKind::AnswerLate { by: SECOND }), subnets, vpcs;
    FaultKind::AnswerTruncated { .. } => |_| of_vpcs(FaultKind::AnswerTruncated { keep: 9 }), subnets, vpcs;
    FaultKind::AnswerReplaced { .. } =>
        |_| of_vpcs(FaultKind::AnswerReplaced { status: 429, body: String::new() }), subnets, vpcs;
    FaultKind::RequestLost => |_| of_vpcs(FaultKind::RequestLost), subnets, vpcs;
    FaultKind::RequestReset => |_| of_vpcs(FaultKind::RequestReset), subnets, vpcs;
    FaultKind::AnswerReset { .. } => |_| of_vpcs(FaultKind::AnswerReset { keep: 9 }), subnets, vpcs;
    FaultKind::Throttle => |_| of_vpcs(FaultKind::Throttle), subnets, vpcs;
    FaultKind::ErrorInstead { .. } =>
        |_| Fault::new(FaultKind::ErrorInstead { code: ErrorCode::InternalError, message: "odd".to_owned() }),
        |at| at.call(Request { dry_run: true, operation: DescribeVpcs::default().into() }),
        vpcs;
    FaultKind::ErrorAfterEffect { .. } =>
        |_| Fault::new(FaultKind::ErrorAfterEffect {
            code: ErrorCode::DryRunOperation,
            message: "Request would have succeeded, but DryRun flag is set.".to_owned(),
        }),
        |at| at.call(Request { dry_run: true, operation: DescribeVpcs::default().into() }),
        vpcs;
    FaultKind::Deny => |_| of_vpcs(FaultKind::Deny), subnets, vpcs;
    FaultKind::FewerAddresses { .. } => |_| Fault::new(FaultKind::FewerAddresses { most: 2 }),
        |at| {
            let named = AssignPrivateIpAddresses {
                private_ip_addresses: vec![ip("10.0.0.200"), ip("10.0.0.201"), ip("10.0.0.202")],
                ..AssignPrivateIpAddresses { network_interface_id: at.eni, ..Default::default() }
            };
            vpcs(at) + &at.call(at.assign(1)) + &at.call(named)
        },
        |at| at.call(at.assign(3));
    FaultKind::TerminateBefore { .. } => |at| of_vpcs(FaultKind::TerminateBefore { instance: at.node }),
        subnets,
        // It ends once.
        |at| vpcs(at) + &vpcs(at);
    FaultKind::TerminateAfter { .. } => |at| of_vpcs(FaultKind::TerminateAfter { instance: at.node }),
        subnets,
        |at| vpcs(at) + &vpcs(at);
    FaultKind::InstanceRetires { .. } =>
        |at| Fault::new(FaultKind::InstanceRetires { after: SECOND }).of_instance(&at.node),
        |at| at.leaf("mac"),
        Place::second;
    FaultKind::AttachHangs => |_| Fault::new(FaultKind::AttachHangs), detached, attached;
    FaultKind::DetachHangs => |_| Fault::new(FaultKind::DetachHangs), attached, detached;
    FaultKind::LinkLate { .. } => |_| Fault::new(FaultKind::LinkLate { by: SECOND }), detached, attached;
    FaultKind::LinkNever => |_| Fault::new(FaultKind::LinkNever), detached, attached;
    FaultKind::ClockAhead { .. } => |_| Fault::new(FaultKind::ClockAhead { by: 240 * SECOND }),
        |at| at.signed("20000229T000140Z"),
        |at| at.signed("20000228T235900Z");
}

/// How often each of these faults is hit by one call.
fn together<const N: usize>(kinds: [FaultKind; N], request: impl Into<Request>) -> [u64; N] {
    let at = Place::new();
    let faults = kinds.map(|kind| at.shared.with(|vpc| vpc.set_fault(Fault::new(kind).times(1))).unwrap());
    at.call(request);
    faults.map(|fault| at.shared.with(|vpc| vpc.fault_hits()[&fault]))
}

#[test]
fn what_another_fault_hides_is_not_hit() {
    use FaultKind::*;
    let error = || ErrorAfterEffect { code: ErrorCode::InternalError, message: "odd".to_owned() };
    let replaced = || AnswerReplaced { status: 429, body: String::new() };
    let omits = || DescribeOmitsEni { eni: Place::new().eni };
    let assign = || Place::new().assign(3);
    let enis = DescribeNetworkInterfaces::default;
    assert_eq!(together([RequestLost, AnswerLost, Throttle, omits()], enis()), [1, 0, 0, 0]);
    assert_eq!(together([RequestLost, RequestReset, AnswerReset { keep: 5 }], enis()), [0, 1, 0]);
    assert_eq!(together([AnswerReset { keep: 0 }, AnswerLost], enis()), [1, 0]);
    assert_eq!(together([AnswerReset { keep: 9 }, AnswerReset { keep: 5 }, replaced()], enis()), [0, 1, 0]);
    assert_eq!(together([AnswerTruncated { keep: 5 }, replaced(), omits(), error()], enis()), [0, 1, 0, 0]);
    assert_eq!(together([AnswerTruncated { keep: 5 }, omits()], enis()), [1, 1]);
    assert_eq!(together([AnswerLost, omits(), error(), replaced()], enis()), [1, 0, 0, 0]);
    assert_eq!(together([error(), omits()], enis()), [1, 0]);
    assert_eq!(together([omits(), omits()], enis()), [1, 0]);
    assert_eq!(together([Throttle, Deny, error(), omits()], enis()), [1, 0, 0, 0]);
    // A read that is refused changes nothing but its answer, an Assign that is refused does.
    assert_eq!(together([Throttle, AnswerLost], enis()), [0, 1]);
    assert_eq!(together([Throttle, AnswerLost], assign()), [1, 1]);
    let fewer = |most| FewerAddresses { most };
    assert_eq!(together([fewer(2), fewer(1), fewer(2), AnswerLost], assign()), [0, 1, 0, 1]);
    assert_eq!(together([fewer(2), Deny], assign()), [0, 1]);
    let late = |seconds| AnswerLate { by: seconds * SECOND };
    assert_eq!(together([late(2), late(3), late(1)], enis()), [0, 1, 0]);
    assert_eq!(together([late(1), late(3), late(3)], enis()), [0, 1, 0]);
    let cut = || AnswerTruncated { keep: 5 };
    assert_eq!(together([cut(), cut()], enis()), [1, 0]);
}

#[test]
fn the_accounts_own_limits_leave_a_fault_nothing_to_refuse() {
    let at = Place::new();
    let none = Bucket { capacity: 0, refill_per_second: 0 };
    let actions = BTreeMap::from([(Action::DescribeVpcs, none)]);
    let fault = at.shared.with(|vpc| {
        vpc.set_request_limits(RequestLimits { actions, unfiltered: None });
        vpc.set_fault(Fault::new(FaultKind::Throttle)).unwrap()
    });
    vpcs(&at);
    assert_eq!(at.shared.with(|vpc| vpc.fault_hits()[&fault]), 0);
}

#[test]
fn a_fault_is_used_up_by_its_hits_only_and_by_one_call_alone() {
    let at = Place::new();
    let omits = Fault::new(FaultKind::DescribeOmitsEni { eni: at.eni }).times(1);
    let omits = at.shared.with(|vpc| vpc.set_fault(omits)).unwrap();
    let hits = |fault| at.shared.with(|vpc| vpc.fault_hits()[&fault]);
    let left = || at.shared.with(|vpc| vpc.faults().first().map(|(_, fault)| fault.count));
    vpcs(&at);
    assert_eq!((left(), hits(omits)), (Some(Some(1)), 0));
    enis(&at);
    enis(&at);
    assert_eq!((left(), hits(omits)), (None, 1));

    // The second call arrives while the first is carried out.
    let lost = Fault::new(FaultKind::AnswerLost).times(1);
    let lost = at.shared.with(|vpc| vpc.set_fault(lost)).unwrap();
    let caller = Caller::instance(&at.node);
    let answers = at.shared.with(|vpc| {
        let tickets = [1, 1].map(|count| vpc.send_after(SECOND, &caller, at.assign(count)));
        vpc.advance_to(vpc.now().after(SECOND));
        tickets.map(|ticket| vpc.take(ticket).unwrap().result.is_ok())
    });
    assert_eq!((answers, hits(lost)), ([false, true], 1));

    // And one that the first call did not use up is still there.
    let fewer = Fault::new(FaultKind::FewerAddresses { most: 1 }).times(1);
    let fewer = at.shared.with(|vpc| vpc.set_fault(fewer)).unwrap();
    at.shared.with(|vpc| {
        for _ in 0..2 {
            vpc.send_after(SECOND, &caller, at.assign(1));
        }
        vpc.advance_to(vpc.now().after(SECOND));
    });
    assert_eq!((left(), hits(fewer)), (Some(Some(1)), 0));
    at.call(at.assign(2));
    assert_eq!((left(), hits(fewer)), (Some(Some(0)), 1));
}

#[test]
fn metadata_that_is_away_or_reset_hides_its_other_faults() {
    let hits = |kinds: &[FaultKind], asked: Step| -> Vec<u64> {
        let at = Place::new();
        let set = |kind: &FaultKind| at.shared.with(|vpc| vpc.set_fault(Fault::new(kind.clone()))).unwrap();
        let faults: Vec<_> = kinds.iter().map(set).collect();
        asked(&at);
        faults.iter().map(|fault| at.shared.with(|vpc| vpc.fault_hits()[fault])).collect()
    };
    let away = FaultKind::ImdsAway;
    let reset = FaultKind::ImdsRequestReset { path: None };
    let late = |by: u32| FaultKind::ImdsLate { by: by * SECOND, path: None };
    let status = |status| FaultKind::ImdsStatus { status, path: None };
    let cut = |keep| FaultKind::ImdsAnswerReset { keep, path: None };
    let token: Step = |at| at.harm("api/token");
    assert_eq!(hits(&[late(1), reset.clone(), away.clone(), away], token), [0, 0, 1, 0]);
    assert_eq!(hits(&[late(1), status(503), reset.clone(), reset], token), [0, 0, 1, 0]);
    assert_eq!(
        hits(&[late(1), late(2), cut(9), cut(5), status(404), status(503)], token),
        [0, 1, 0, 1, 0, 1]
    );
    assert_eq!(hits(&[status(503), FaultKind::ImdsTokenRefused], token), [0, 1]);
    let omits = FaultKind::ImdsOmitsEni { eni: None };
    let macs: Step = |at| at.leaf("network/interfaces/macs/");
    assert_eq!(hits(&[omits.clone(), omits.clone()], macs), [1, 0]);
    let unseen = FaultKind::ImdsAnswerReset { keep: 5, path: Some("meta-data".to_owned()) };
    assert_eq!(hits(&[omits, unseen], macs), [0, 1]);
}

#[test]
fn a_link_that_never_comes_is_not_late() {
    let at = Place::new();
    let kinds = [FaultKind::LinkLate { by: SECOND }, FaultKind::LinkNever, FaultKind::LinkNever];
    let faults = kinds.map(|kind| at.shared.with(|vpc| vpc.set_fault(Fault::new(kind))).unwrap());
    attached(&at);
    assert_eq!(faults.map(|fault| at.shared.with(|vpc| vpc.fault_hits()[&fault])), [0, 1, 0]);
}

#[test]
fn what_is_detached_before_it_was_attached_does_not_hang_as_attaching() {
    let at = Place::new();
    let fault = at.shared.with(|vpc| vpc.set_fault(Fault::new(FaultKind::AttachHangs))).unwrap();
    let attachment = at.shared.with(|vpc| vpc.foreign(at.attach())).unwrap().attachment_id;
    at.foreign(Bed::detach(&attachment));
    at.second();
    assert_eq!(at.shared.with(|vpc| vpc.fault_hits()[&fault]), 0);
}
