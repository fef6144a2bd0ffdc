//! The admin interface: JSON over HTTP for the person or test in charge of a box.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /health` | | [`Health`] |
//! | `GET /log` | | the latest EC2 calls since the last reset: list of [`CallRecord`](crate::vpc::CallRecord) |
//! | `GET /log/counts` | | [`Counts`] |
//! | `GET /log/imds` | | per instance, reads per path |
//! | `GET /log/refusals` | | requests that the EC2 face refused by itself, as text |
//! | `POST /log/reset` | | forgets all of these |
//! | `GET /faults` | | list of [`SetFault`] |
//! | `POST /faults` | [`Fault`] | [`FaultSet`] |
//! | `DELETE /faults`, `DELETE /faults/ID` | | |
//! | `GET /faults/hits` | | how often each fault hit, the ended ones too: hits by id |
//! | `POST /foreign` | [`ForeignCall`] | [`ForeignAnswer`]: a change made by someone else (F10) |
//! | `POST /instances/ID/terminate` | | F09; and so `stop`, `start`, `reboot` |
//! | `POST /subnets/ID/occupy` | [`Occupy`] | others take addresses (F23) |
//! | `POST /subnets/ID/fragment` | | others leave no block for a prefix (F23) |
//! | `POST /subnets/ID/vacate` | | gives back what the two above took |
//! | `GET /instances/ID/imds` | | [`ImdsView`](crate::vpc::ImdsView) as it is shown now |
//! | `GET /clock` | | [`Clock`] |
//! | `POST /clock` | [`Advance`] | [`Clock`]; 409 when the clock runs by itself |
//! | `GET /timing`, `PUT /timing` | [`Timing`] | [`Timing`] |
//! | `GET /cloudwatch` | | [`Seen`](crate::cloudwatch::Seen): what CloudWatch took and refused |
//! | `PUT /cloudwatch/refuse` | [`Refuse`] or `null` | what it is to refuse from now on |
//! | `PUT /request-limits` | [`RequestLimits`] | EC2's token buckets (F07); `{}` for none |
//! | `GET /state/ec2` | | [`State`], the truth, in EC2's names |
//! | `GET /state` | | the same in plain names: `network_interface_id`, and lists and tags without EC2's wrappings |
//! | `GET /check` | | broken rules of EC2, as text; empty while the simulator is right |
//!
//! A request without an answer of its own answers `{}`. A refused one answers [`Problem`] with status 400, 404, 405
//! or 409.

mod plain;

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cloudwatch::Refuse;
use crate::fault::{Fault, FaultId};
use crate::server::http::{Handler, Reply, answer};
use crate::server::shared::{ClockMode, SharedVpc};
use crate::vpc::response::{
    NetworkInterface, Reservation, SecurityGroupDescription, SubnetDescription, VpcDescription,
};
use crate::vpc::{
    Action, ApiError, Forgotten, InstanceId, Micros, Operation, RequestLimits, Response, SimVpc, SubnetId,
    Timing,
};

/// That the box is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Always true: a box that answers is well.
    pub ok: bool,
    /// Its region.
    pub region: String,
    /// Its account.
    pub account_id: String,
    /// Its seed.
    pub seed: u64,
}

/// Counts since the last reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// EC2 calls per action.
    pub ec2: BTreeMap<Action, usize>,
    /// The same per caller name.
    pub ec2_by_caller: BTreeMap<String, BTreeMap<Action, usize>>,
    /// IMDS requests per instance, token requests included.
    pub imds: BTreeMap<InstanceId, u64>,
    /// Requests that the EC2 face refused by itself.
    pub refused: usize,
    /// What was dropped of what the box remembers, since there was too much of it.
    pub forgotten: Forgotten,
}

/// A fault in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFault {
    /// Its handle.
    pub id: FaultId,
    /// What it does.
    pub fault: Fault,
    /// How often it did.
    pub hits: u64,
}

/// A fault was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSet {
    /// Its handle.
    pub id: FaultId,
}

/// A change by someone who is not the program under test: an operator, another controller, another instance.
///
/// It is carried out at once, without faults, throttling, delay or log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignCall {
    /// What to do, such as `{"DeleteNetworkInterface": {"networkInterfaceId": "eni-…"}}`.
    pub operation: Operation,
}

/// What came of a [`ForeignCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignAnswer {
    /// The answer.
    Ok(Box<Response>),
    /// EC2's error.
    Error(ApiError),
}

/// Others take addresses of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Occupy {
    /// So many stay free, or fewer if fewer were.
    pub leave: u32,
}

/// Everything there is, without lag or fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// VPCs.
    pub vpcs: Vec<VpcDescription>,
    /// Subnets.
    pub subnets: Vec<SubnetDescription>,
    /// Security groups.
    pub security_groups: Vec<SecurityGroupDescription>,
    /// Instances, ended ones too.
    pub instances: Vec<Reservation>,
    /// ENIs, attached or not.
    pub network_interfaces: Vec<NetworkInterface>,
}

impl State {
    /// As it is, without lag or fault.
    pub fn of(vpc: &SimVpc) -> Self {
        let view = vpc.authoritative();
        Self {
            vpcs: view.vpcs(),
            subnets: view.subnets(),
            security_groups: view.security_groups(),
            instances: view.instances(),
            network_interfaces: view.network_interfaces(),
        }
    }
}

/// Where the virtual clock stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Microseconds since the box began.
    pub now_us: Micros,
    /// Whether it runs by itself.
    pub running: bool,
}

/// Moves a manual clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// By this much.
    pub by_ms: u64,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub problem: String,
}

/// The admin endpoint.
#[derive(Debug)]
pub(crate) struct AdminFace {
    shared: SharedVpc,
}

/// What a route makes of a request: a JSON text, or a refusal.
type Routed = Result<String, (StatusCode, String)>;

impl AdminFace {
    pub(crate) fn new(shared: SharedVpc) -> Self {
        Self { shared }
    }

    fn route(&self, method: &Method, path: &str, body: &[u8]) -> Routed {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let shared = &self.shared;
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["health"]) => shared.with(|vpc| {
                let config = vpc.config();
                json(&Health {
                    ok: true,
                    region: config.region.clone(),
                    account_id: config.account_id.clone(),
                    seed: config.seed,
                })
            }),
            ("GET", ["log"]) => shared.with(|vpc| json(&vpc.log().records().collect::<Vec<_>>())),
            ("GET", ["log", "counts"]) => json(&self.counts()),
            ("GET", ["log", "imds"]) => json(&shared.imds_reads()),
            ("GET", ["log", "refusals"]) => json(&shared.refusals()),
            ("POST", ["log", "reset"]) => {
                shared.reset_logs();
                Ok(nothing())
            }
            ("GET", ["faults"]) => json(&shared.with(|vpc| {
                let hits = |id| vpc.fault_hits().get(&id).copied().unwrap_or_default();
                let faults = vpc.faults().into_iter();
                faults.map(|(id, fault)| SetFault { id, fault, hits: hits(id) }).collect::<Vec<_>>()
            })),
            ("GET", ["faults", "hits"]) => {
                let hits: BTreeMap<u64, u64> =
                    shared.with(|vpc| vpc.fault_hits().iter().map(|(id, hits)| (id.0, *hits)).collect());
                json(&hits)
            }
            ("POST", ["faults"]) => {
                let fault: Fault = read(body)?;
                let id = shared
                    .with(|vpc| vpc.set_fault(fault))
                    .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
                json(&FaultSet { id })
            }
            ("DELETE", ["faults"]) => {
                shared.with(SimVpc::clear_faults);
                Ok(nothing())
            }
            ("DELETE", ["faults", id]) => {
                let id = id.parse().ok().map(FaultId).ok_or_else(|| not_found(format!("no fault {id}")))?;
                if shared.with(|vpc| vpc.clear_fault(id)) {
                    Ok(nothing())
                } else {
                    Err(not_found(format!("no fault {} is set", id.0)))
                }
            }
            ("POST", ["foreign"]) => {
                let asked: Value = read(body)?;
                let call: ForeignCall = serde_json::from_value(plain::to_ec2(asked)).map_err(bad_request)?;
                json(&match shared.with(|vpc| vpc.foreign_operation(&call.operation)) {
                    Ok(response) => ForeignAnswer::Ok(Box::new(response)),
                    Err(error) => ForeignAnswer::Error(error),
                })
            }
            ("POST", ["instances", id, what @ ("terminate" | "stop" | "start" | "reboot")]) => {
                let instance = InstanceId::new(id);
                changed(shared.with(|vpc| match *what {
                    "terminate" => vpc.terminate_instance(&instance),
                    "stop" => vpc.stop_instance(&instance),
                    "start" => vpc.start_instance(&instance),
                    _ => vpc.reboot_instance(&instance),
                }))
            }
            ("GET", ["instances", id, "imds"]) => {
                let view = shared.with(|vpc| vpc.imds_view(&InstanceId::new(id)));
                json(&view.ok_or_else(|| not_found(format!("instance {id} is unknown or over")))?)
            }
            ("GET", ["clock"]) => json(&self.clock()),
            ("POST", ["clock"]) => {
                let advance: Advance = read(body)?;
                match shared.advance(Duration::from_millis(advance.by_ms)) {
                    Some(_) => json(&self.clock()),
                    None => Err((StatusCode::CONFLICT, "the clock runs by itself".to_owned())),
                }
            }
            ("GET", ["timing"]) => shared.with(|vpc| json(&vpc.config().timing)),
            ("PUT", ["timing"]) => {
                let timing: Timing = read(body)?;
                shared.with(|vpc| {
                    vpc.set_timing(timing).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
                    json(&vpc.config().timing)
                })
            }
            ("POST", ["subnets", id, "occupy"]) => {
                let Occupy { leave } = read(body)?;
                changed(shared.with(|vpc| vpc.occupy_all_but(&SubnetId::new(id), leave)))
            }
            ("POST", ["subnets", id, "fragment"]) => {
                changed(shared.with(|vpc| vpc.fragment(&SubnetId::new(id))))
            }
            ("POST", ["subnets", id, "vacate"]) => changed(shared.with(|vpc| vpc.vacate(&SubnetId::new(id)))),
            ("PUT", ["request-limits"]) => {
                let limits: RequestLimits = read(body)?;
                shared.with(|vpc| vpc.set_request_limits(limits));
                Ok(nothing())
            }
            ("GET", ["cloudwatch"]) => json(&shared.cloudwatch(|seen| seen.clone())),
            ("PUT", ["cloudwatch", "refuse"]) => {
                let refuse: Option<Refuse> = read(body)?;
                if refuse.as_ref().is_some_and(|refuse| !(400..600).contains(&refuse.status)) {
                    return Err((StatusCode::BAD_REQUEST, "a refusal has a status of 400 to 599".to_owned()));
                }
                shared.cloudwatch(|seen| seen.refuse = refuse);
                Ok(nothing())
            }
            ("GET", ["state", "ec2"]) => json(&shared.with(|vpc| State::of(vpc))),
            ("GET", ["state"]) => {
                let state = serde_json::to_value(shared.with(|vpc| State::of(vpc))).map_err(no_json)?;
                json(&plain::of_ec2(state))
            }
            ("GET", ["check"]) => {
                let violations = shared.with(|vpc| vpc.check());
                json(&violations.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
            ("GET" | "POST" | "PUT" | "DELETE", _) => Err(not_found(format!("nothing at {method} {path}"))),
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not used here"))),
        }
    }

    fn counts(&self) -> Counts {
        let (ec2, ec2_by_caller, forgotten) = self
            .shared
            .with(|vpc| (vpc.log().counts().clone(), vpc.log().counts_by_caller().clone(), vpc.forgotten()));
        let imds = self.shared.imds_reads();
        Counts {
            ec2,
            ec2_by_caller,
            imds: imds.into_iter().map(|(instance, paths)| (instance, paths.values().sum())).collect(),
            refused: self.shared.refusals().len(),
            forgotten,
        }
    }

    fn clock(&self) -> Clock {
        let now_us = self.shared.with(|vpc| vpc.now());
        Clock { now_us, running: self.shared.clock_mode() == ClockMode::Running }
    }
}

impl Handler for AdminFace {
    async fn handle(&self, request: Request<Bytes>) -> Reply {
        let (status, body) = match self.route(request.method(), request.uri().path(), request.body()) {
            Ok(body) => (StatusCode::OK, body),
            Err((status, problem)) => {
                let body = json(&Problem { problem }).unwrap_or_else(|(_, problem)| problem);
                (status, body)
            }
        };
        Reply::Answer(answer(status, "application/json", body))
    }
}

/// The end of a change of the box itself.
fn changed(result: Result<(), ApiError>) -> Routed {
    match result {
        Ok(()) => Ok(nothing()),
        Err(error)
            if error.code.as_str().ends_with(".NotFound") || error.code.as_str().ends_with(".Malformed") =>
        {
            Err(not_found(error.to_string()))
        }
        Err(error) => Err((StatusCode::CONFLICT, error.to_string())),
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Routed {
    serde_json::to_string(value).map_err(no_json)
}

fn no_json(error: serde_json::Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn bad_request(error: serde_json::Error) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error.to_string())
}

fn nothing() -> String {
    "{}".to_owned()
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(bad_request)
}

fn not_found(problem: String) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, problem)
}
