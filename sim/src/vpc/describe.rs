//! The Describe calls: ids, filters, pages.

use std::collections::BTreeSet;

use super::error::{ApiError, ErrorCode};
use super::filter::{Filterable, check_filters, matches_all};
use super::ids::{EniId, InstanceId, SecurityGroupId, SubnetId, VpcId};
use super::limits::{InstanceType, instance_types};
use super::op::{combination, invalid};
use super::request::{
    Action, DescribeInstanceStatus, DescribeInstances, DescribeNetworkInterfaces, Filter, Operation, Response,
};
use super::response::{
    InstanceState, InstanceStatus, NetworkInterface, Page, Reservation, SecurityGroupDescription,
    SubnetDescription, TagDescription, VpcDescription,
};
use super::view::View;

/// What these calls have in common.
struct Query<'a> {
    action: Action,
    filters: &'a [Filter],
    max_results: Option<i64>,
    next_token: Option<&'a str>,
    /// Results of a page at most, by a fault.
    page: Option<u32>,
}

/// Ids of one kind, and how EC2 words their absence.
struct Ids<'a> {
    wanted: Vec<&'a str>,
    /// "The {noun} '…' does not exist".
    noun: &'static str,
    /// What an id starts with; empty where the form is free.
    well_formed: fn(&str) -> bool,
    malformed: ErrorCode,
    missing: ErrorCode,
}

/// A result with the text that identifies and orders it.
trait Identified {
    fn id(&self) -> String;
}

macro_rules! identified {
    ($($type:ty: $item:ident => $id:expr),* $(,)?) => {
        $(impl Identified for $type {
            fn id(&self) -> String {
                let $item = self;
                $id.to_string()
            }
        })*
    };
}

identified! {
    NetworkInterface: x => x.network_interface_id,
    Reservation: x => x.instance.instance_id,
    InstanceStatus: x => x.instance_id,
    SubnetDescription: x => x.subnet_id,
    InstanceType: x => x.name,
    SecurityGroupDescription: x => x.group_id,
    VpcDescription: x => x.vpc_id,
    TagDescription: x => format!("{} {}", x.resource_id, x.key),
}

impl View<'_> {
    /// Answers a Describe call from this state; `None` for any other operation. An account with more ENIs than
    /// `large` is not listed at once.
    pub(super) fn describe(&self, operation: &Operation, large: usize) -> Option<Result<Response, ApiError>> {
        macro_rules! query {
            ($op:ident) => {
                Query {
                    action: operation.action(),
                    filters: &$op.filters,
                    max_results: $op.max_results,
                    next_token: $op.next_token.as_deref(),
                    page: self.page,
                }
            };
        }
        macro_rules! ids {
            ($list:expr, $noun:literal, $form:expr, $malformed:ident, $missing:ident) => {
                Some(Ids {
                    wanted: $list.iter().map(AsRef::as_ref).collect(),
                    noun: $noun,
                    well_formed: $form,
                    malformed: ErrorCode::$malformed,
                    missing: ErrorCode::$missing,
                })
            };
        }
        Some(match operation {
            Operation::DescribeNetworkInterfaces(op) => {
                self.describe_enis(op, &query!(op), large).map(Response::DescribeNetworkInterfaces)
            }
            Operation::DescribeInstances(op) => {
                self.describe_instances(op, &query!(op)).map(Response::DescribeInstances)
            }
            Operation::DescribeInstanceStatus(op) => {
                self.describe_instance_status(op, &query!(op)).map(Response::DescribeInstanceStatus)
            }
            Operation::DescribeSubnets(op) => {
                let ids = ids!(
                    op.subnet_ids,
                    "subnet ID",
                    |id| SubnetId::from(id).is_well_formed(),
                    SubnetIdMalformed,
                    SubnetIdNotFound
                );
                answer(self.subnets(), &query!(op), ids).map(Response::DescribeSubnets)
            }
            Operation::DescribeInstanceTypes(op) => {
                let ids = ids!(
                    op.instance_types,
                    "instance type",
                    |_| true,
                    InvalidInstanceType,
                    InvalidInstanceType
                );
                answer(instance_types(), &query!(op), ids).map(Response::DescribeInstanceTypes)
            }
            Operation::DescribeSecurityGroups(op) => {
                let ids = ids!(
                    op.group_ids,
                    "security group",
                    |id| SecurityGroupId::from(id).is_well_formed(),
                    GroupIdMalformed,
                    GroupNotFound
                );
                answer(self.security_groups(), &query!(op), ids).map(Response::DescribeSecurityGroups)
            }
            Operation::DescribeVpcs(op) => {
                let ids = ids!(
                    op.vpc_ids,
                    "vpc ID",
                    |id| VpcId::from(id).is_well_formed(),
                    VpcIdMalformed,
                    VpcIdNotFound
                );
                answer(self.vpcs(), &query!(op), ids).map(Response::DescribeVpcs)
            }
            Operation::DescribeTags(op) => answer(self.tags(), &query!(op), None).map(Response::DescribeTags),
            _ => return None,
        })
    }

    /// Looks at the ENIs that the ids or the filters leave only, one page of them.
    fn describe_enis(
        &self,
        op: &DescribeNetworkInterfaces,
        query: &Query<'_>,
        large: usize,
    ) -> Result<Page<NetworkInterface>, ApiError> {
        check_filters::<NetworkInterface>(query.filters, true)?;
        let wanted = &op.network_interface_ids;
        let limit = page_size(query, !wanted.is_empty())?;
        let after = query.next_token.map(|token| read_token(query.action, token)).transpose()?;
        let after = after.map(EniId::from);
        if let Some(bad) = wanted.iter().find(|id| !id.is_well_formed()) {
            return Err(ApiError::new(
                ErrorCode::NetworkInterfaceIdMalformed,
                format!("Invalid id: \"{bad}\""),
            ));
        }
        let ids: Box<dyn Iterator<Item = EniId>> = if wanted.is_empty() {
            let narrowed = query.filters.iter().any(|filter| UNPAGED_FILTERS.contains(&filter.name.as_str()));
            if query.max_results.is_none() && !narrowed && self.world.enis.len() > large {
                // EC2 documents that this fails, not how.
                return Err(ApiError::new(
                    ErrorCode::OperationNotPermitted,
                    format!(
                        "There are too many network interfaces to describe at once: use pagination or one of the \
                         filters {}.",
                        UNPAGED_FILTERS.join(", ")
                    ),
                ));
            }
            match self.world.index.candidates(query.filters) {
                Some(ids) => {
                    Box::new(ids.into_iter().filter(move |id| after.is_none_or(|after| *id > after)))
                }
                None => self.eni_ids(after),
            }
        } else {
            // EC2 names the first one that it does not know, and only that (amazon-vpc-cni-k8s#1011).
            if let Some(unknown) = wanted.iter().find(|id| self.seen_eni(**id).is_none()) {
                return Err(ApiError::new(
                    ErrorCode::NetworkInterfaceIdNotFound,
                    format!("The networkInterface ID '{unknown}' does not exist"),
                ));
            }
            let ids: BTreeSet<EniId> = wanted.iter().copied().collect();
            Box::new(ids.into_iter())
        };
        let matching = ids.filter_map(|id| self.seen_eni(id)).filter(|eni| matches_all(eni, query.filters));
        Ok(page_of(matching, limit, query.action))
    }

    fn describe_instances(
        &self,
        op: &DescribeInstances,
        query: &Query<'_>,
    ) -> Result<Page<Reservation>, ApiError> {
        check_filters::<Reservation>(query.filters, true)?;
        let (limit, ids) = self.instances_asked_for(&op.instance_ids, query)?;
        let matching = ids
            .filter_map(|id| self.seen_instance(id))
            .filter(|instance| matches_all(instance, query.filters));
        Ok(page_of(matching, limit, query.action))
    }

    fn describe_instance_status(
        &self,
        op: &DescribeInstanceStatus,
        query: &Query<'_>,
    ) -> Result<Page<InstanceStatus>, ApiError> {
        check_filters::<InstanceStatus>(query.filters, false)?;
        let (limit, ids) = self.instances_asked_for(&op.instance_ids, query)?;
        let all = op.include_all_instances == Some(true);
        let matching = ids
            .filter_map(|id| self.seen_instance_status(id))
            .filter(|status| all || status.state == InstanceState::Running)
            .filter(|status| matches_all(status, query.filters));
        Ok(page_of(matching, limit, query.action))
    }

    /// How many a page may hold, and which instances may be on it.
    fn instances_asked_for(
        &self,
        wanted: &[InstanceId],
        query: &Query<'_>,
    ) -> Result<(usize, Box<dyn Iterator<Item = InstanceId> + '_>), ApiError> {
        let limit = page_size(query, !wanted.is_empty())?;
        let after = query.next_token.map(|token| read_token(query.action, token)).transpose()?;
        let after = after.map(InstanceId::from);
        if let Some(bad) = wanted.iter().find(|id| !id.is_well_formed()) {
            return Err(ApiError::new(ErrorCode::InstanceIdMalformed, format!("Invalid id: \"{bad}\"")));
        }
        let unknown: Vec<&str> =
            wanted.iter().filter(|id| self.seen_instance(**id).is_none()).map(InstanceId::as_str).collect();
        if !unknown.is_empty() {
            return Err(not_found(ErrorCode::InstanceIdNotFound, "instance ID", &unknown));
        }
        if wanted.is_empty() {
            return Ok((limit, self.instance_ids(after)));
        }
        let ids: BTreeSet<InstanceId> = wanted.iter().copied().collect();
        Ok((limit, Box::new(ids.into_iter())))
    }
}

/// With one of these a large account may be asked without pages. Fact: EC2's documentation of
/// DescribeNetworkInterfaces, which also names `private-dns-name`, a filter that the box does not have.
const UNPAGED_FILTERS: [&str; 7] = [
    "attachment.instance-id",
    "group-id",
    "mac-address",
    "private-ip-address",
    "addresses.private-ip-address",
    "subnet-id",
    "vpc-id",
];

fn not_found(code: ErrorCode, noun: &str, unknown: &[&str]) -> ApiError {
    match unknown {
        [one] => ApiError::new(code, format!("The {noun} '{one}' does not exist")),
        _ => ApiError::new(code, format!("The {noun}s '{}' do not exist", unknown.join(", "))),
    }
}

/// The first `limit` items, and where to go on.
fn page_of<T: Identified>(items: impl Iterator<Item = T>, limit: usize, action: Action) -> Page<T> {
    let mut page: Vec<T> = items.take(limit.saturating_add(1)).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next_token = page.last().filter(|_| more).map(|last| write_token(action, &last.id()));
    Page { items: page, next_token }
}

/// `items` are in the order of their ids.
fn answer<T: Filterable + Identified>(
    items: Vec<T>,
    query: &Query<'_>,
    ids: Option<Ids<'_>>,
) -> Result<Page<T>, ApiError> {
    let has_tags = !matches!(query.action, Action::DescribeInstanceTypes | Action::DescribeTags);
    check_filters::<T>(query.filters, has_tags)?;
    let limit = page_size(query, false)?;
    let after = query.next_token.map(|token| read_token(query.action, token)).transpose()?;
    let wanted = ids.map(|ids| ids.existing(&items)).transpose()?.unwrap_or_default();
    let matching = items
        .into_iter()
        .filter(|item| wanted.is_empty() || wanted.contains(&item.id()))
        .filter(|item| after.as_ref().is_none_or(|last| item.id() > *last))
        .filter(|item| matches_all(item, query.filters));
    Ok(page_of(matching, limit, query.action))
}

impl Ids<'_> {
    /// The wanted ids, all of which exist.
    fn existing<T: Identified>(self, items: &[T]) -> Result<Vec<String>, ApiError> {
        if let Some(bad) = self.wanted.iter().find(|id| !(self.well_formed)(id)) {
            return Err(ApiError::new(self.malformed, format!("Invalid id: \"{bad}\"")));
        }
        let known: Vec<String> = items.iter().map(Identified::id).collect();
        let unknown: Vec<&str> =
            self.wanted.iter().copied().filter(|id| !known.iter().any(|have| have == id)).collect();
        if unknown.is_empty() {
            return Ok(self.wanted.iter().map(ToString::to_string).collect());
        }
        Err(not_found(self.missing, self.noun, &unknown))
    }
}

/// Items per page, fewer where a fault shortens them; unlimited where the caller asks for no pages.
fn page_size(query: &Query<'_>, names_ids: bool) -> Result<usize, ApiError> {
    let shortest = query.page.map_or(usize::MAX, |most| most as usize);
    let Some(wanted) = query.max_results else { return Ok(usize::MAX) };
    if names_ids {
        return Err(combination("You cannot specify maxResults and resource IDs in the same request."));
    }
    let most: i64 = if query.action == Action::DescribeInstanceTypes { 100 } else { 1000 };
    let error = |bound: String| {
        invalid(format!("Value ( {wanted} ) for parameter maxResults is invalid. Expecting a value {bound}."))
    };
    match wanted {
        ..5 => Err(error("greater than or equal to 5".to_owned())),
        _ if wanted > most => Err(error(format!("less than or equal to {most}"))),
        _ => Ok(usize::try_from(wanted).expect("it lies between 5 and 1000").min(shortest)),
    }
}

/// Opaque to callers: the action and the last id shown, in hexadecimal.
fn write_token(action: Action, last: &str) -> String {
    use std::fmt::Write;
    format!("{action}|{last}").bytes().fold(String::new(), |mut token, byte| {
        write!(token, "{byte:02x}").expect("writing to a string does not fail");
        token
    })
}

fn read_token(action: Action, token: &str) -> Result<String, ApiError> {
    let bytes: Option<Vec<u8>> = token
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| Some(text.strip_prefix(action.name())?.strip_prefix('|')?.to_owned()))
        .ok_or_else(|| {
            invalid(format!("Value ( {token} ) for parameter NextToken is invalid. The token is invalid."))
        })
}
