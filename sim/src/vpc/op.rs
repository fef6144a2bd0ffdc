//! Carrying out the operations that change something.
//!
//! A [`Change`] becomes the present only when the whole operation succeeded: a call that fails has changed nothing.

mod assign;
mod attach;
mod create;
mod modify;
mod power;
mod tags;
mod wish;

use std::collections::HashSet;
use std::hash::Hash;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::calls::Ticket;
use super::error::{ApiError, ErrorCode};
use super::ids::{AttachmentId, EniId, InstanceId, Mac, SubnetId, VpcId};
use super::model::World;
use super::request::{Caller, Operation, Response};
use super::response::Done;
use super::rng::Stream;
use super::space::FullSubnet;
use super::time::{Micros, Timing};
use crate::fault::FaultId;

pub(super) use create::NewEni;
pub(super) use tags::check_tags;
pub(super) use wish::Wish;

/// Something that happens by itself later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A pending ENI becomes available.
    Created(EniId),
    /// An attachment is in force.
    Attached(AttachmentId),
    /// The interface appears in the instance.
    LinkAppears(AttachmentId),
    /// The ENI is free again.
    Detached(AttachmentId),
    /// The instance is over.
    Terminated(InstanceId),
    /// The instance is off.
    Stopped(InstanceId),
    /// The instance runs.
    Started(InstanceId),
    /// The network knows of a moved address.
    Reassigned(EniId),
    /// A call arrives.
    Arrives(Ticket),
    /// The retirement that a fault announced is due.
    Retires(FaultId),
}

/// What follows from a change once it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Schedule this after that long.
    Later(Duration, Due),
    /// The ENI's addresses changed.
    Addresses(EniId),
    /// The ENI's source/destination check changed.
    SourceDestCheck(EniId),
    /// The interface leaves the instance.
    Unplugged { attachment: AttachmentId, instance: InstanceId, eni: EniId, mac: Mac },
    /// The instance is over.
    InstanceOver(InstanceId),
    /// The instance is off.
    InstanceStopped(InstanceId),
    /// The instance boots.
    InstanceStarted(InstanceId),
    /// There is a new subnet.
    SubnetAdded(SubnetId),
    /// A VPC has one more block.
    CidrAdded(VpcId, Ipv4Net),
}

/// One operation under way.
pub(super) struct Change<'a> {
    pub(super) world: &'a mut World,
    pub(super) now: Micros,
    pub(super) caller: &'a Caller,
    pub(super) account: &'a str,
    pub(super) timing: &'a Timing,
    /// ENIs that the account may have in the region.
    pub(super) eni_quota: usize,
    pub(super) full_subnet: FullSubnet,
    /// An Assign by number gives no more than this.
    pub(super) gives_at_most: Option<u32>,
    /// That it gave fewer than it was asked for.
    pub(super) gave_fewer: bool,
    pub(super) ids: &'a mut Stream,
    pub(super) choice: &'a mut Stream,
    pub(super) effects: Vec<Effect>,
}

impl Change<'_> {
    /// Carries out an operation that is not a Describe.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<Response, ApiError> {
        let done = |()| Done;
        Ok(match operation {
            Operation::CreateNetworkInterface(op) => Response::CreateNetworkInterface(self.create(op)?),
            Operation::AttachNetworkInterface(op) => Response::AttachNetworkInterface(self.attach(op)?),
            Operation::DetachNetworkInterface(op) => {
                Response::DetachNetworkInterface(self.detach(op).map(done)?)
            }
            Operation::DeleteNetworkInterface(op) => {
                Response::DeleteNetworkInterface(self.delete(op).map(done)?)
            }
            Operation::ModifyNetworkInterfaceAttribute(op) => {
                Response::ModifyNetworkInterfaceAttribute(self.modify(op).map(done)?)
            }
            Operation::AssignPrivateIpAddresses(op) => {
                Response::AssignPrivateIpAddresses(self.assign_v4(op)?)
            }
            Operation::UnassignPrivateIpAddresses(op) => {
                Response::UnassignPrivateIpAddresses(self.unassign_v4(op).map(done)?)
            }
            Operation::AssignIpv6Addresses(op) => Response::AssignIpv6Addresses(self.assign_v6(op)?),
            Operation::UnassignIpv6Addresses(op) => Response::UnassignIpv6Addresses(self.unassign_v6(op)?),
            Operation::CreateTags(op) => Response::CreateTags(self.create_tags(op).map(done)?),
            Operation::DeleteTags(op) => Response::DeleteTags(self.delete_tags(op).map(done)?),
            Operation::DescribeNetworkInterfaces(_)
            | Operation::DescribeInstances(_)
            | Operation::DescribeInstanceStatus(_)
            | Operation::DescribeSubnets(_)
            | Operation::DescribeInstanceTypes(_)
            | Operation::DescribeSecurityGroups(_)
            | Operation::DescribeVpcs(_)
            | Operation::DescribeTags(_) => {
                return Err(ApiError::new(ErrorCode::InternalError, "a Describe call is not a change"));
            }
        })
    }
}

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidParameterValue, message)
}

pub(super) fn combination(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidParameterCombination, message)
}

pub(super) fn missing(parameter: &str) -> ApiError {
    ApiError::new(ErrorCode::MissingParameter, format!("The request must contain the parameter {parameter}"))
}

/// A count parameter: not negative, and not beyond what any ENI could hold.
fn count(value: i64, parameter: &str) -> Result<u32, ApiError> {
    u32::try_from(value)
        .ok()
        .filter(|count| *count <= 1000)
        .ok_or_else(|| invalid(format!("Value ( {value} ) for parameter {parameter} is invalid.")))
}

/// The same thing asked for twice in one request.
fn no_duplicates<T: Hash + Eq + std::fmt::Display>(items: &[T]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    match items.iter().find(|item| !seen.insert(*item)) {
        Some(twice) => Err(invalid(format!("{twice} is specified more than once"))),
        None => Ok(()),
    }
}
