//! How calls end, what it means, and for how long similar calls rest when it was not well.

use std::time::Duration;

use holdfast_model::cloud::{Api, CloudAnswer, CloudRead};
use holdfast_model::denial::Denial;
use holdfast_model::eni::EniSlot;
use holdfast_model::ids::{EniId, SubnetId};
use holdfast_model::ledger::Change;
use holdfast_model::refusal::{CredentialsFault, Refusal};

/// How far a pause reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseScope {
    /// Every call of that API.
    Api,
    /// Calls of that API about this ENI.
    Eni(EniId),
    /// Calls that take addresses from this subnet, by whatever API.
    Subnet(SubnetId),
    /// Creations of ENIs in this subnet, whatever its addresses.
    MadeIn(SubnetId),
    /// Those that take prefixes from this subnet; single addresses may be had.
    Prefixes(SubnetId),
    /// Calls that bring the node another ENI, by whatever API, after others took one away. That one is attached again says
    /// nothing about whether it stays.
    Others,
}

/// How a change that was sent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// EC2 carried it out and answered.
    Answered(CloudAnswer),
    /// EC2 said that it did not carry it out.
    NotCarriedOut {
        /// What may be done about it.
        fault: Fault,
        /// EC2's words.
        cause: String,
    },
    /// It may or may not have been carried out.
    Unknown {
        /// What was seen.
        cause: String,
    },
}

/// Why a change was not carried out. Mirrors the classes of the cloud port, the unknown outcome excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many calls.
    Throttled {
        /// How long EC2 asked to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// The subnet has no free address.
    SubnetFull,
    /// The subnet has no wholly free block for a prefix.
    NoFreeBlock,
    /// The ENI carries as many addresses as it can.
    AddressLimit,
    /// The instance has as many ENIs as it can.
    AttachmentLimit,
    /// Something that we do not know of sits in the slot.
    SlotTaken,
    /// The account has as many ENIs in the region as it may.
    EniQuota,
    /// The object does not exist.
    NotFound,
    /// The object is in a state that forbids it.
    Conflict,
    /// The token was used for another creation.
    TokenMismatch,
    /// The role lacks the right.
    Denied,
    /// EC2 cannot tell who calls; where there were no credentials the request never left.
    Credentials(CredentialsFault),
    /// The request itself is refused.
    Rejected,
    /// The request never left.
    NotSent,
}

/// What an outcome means: for the ledger, to be committed; and for the running process, to be noted by
/// [`crate::Observed::settled`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The ENI that the call was about, when there was one.
    pub eni: Option<EniId>,
    /// The ledger's changes, to be committed together.
    pub changes: Vec<Change>,
    /// What went wrong; `None` after success.
    pub setback: Option<Setback>,
    /// Read this before trusting the ledger about it again.
    pub doubt: Option<CloudRead>,
    /// So many addresses or prefixes are more than fit on that ENI, or on a new one.
    pub too_many: Option<(Option<EniId>, u32)>,
    /// That subnet has not given so many prefixes at once.
    pub no_blocks: Option<(SubnetId, u32)>,
    /// That subnet has given prefixes.
    pub gave_prefixes: Option<SubnetId>,
    /// Nothing can be attached there, whatever the ledger says.
    pub taken: Option<EniSlot>,
}

/// Something went wrong with a call, and similar calls rest for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setback {
    /// The call.
    pub api: Api,
    /// How far the rest reaches.
    pub scope: PauseScope,
    /// The cause, for people.
    pub cause: Refusal,
    /// The first rest; it doubles with each setback in a row, up to `longest`.
    pub first: Duration,
    /// The longest rest.
    pub longest: Duration,
    /// What EC2 asked for, which no rest undercuts.
    pub at_least: Duration,
}

impl Fault {
    /// Whether the request provably never left this node.
    pub(crate) fn never_left(self) -> bool {
        matches!(self, Self::NotSent | Self::Credentials(CredentialsFault::Missing))
    }
}

impl Setback {
    /// Somebody else took an ENI of ours away: undone at once the first time, and ever later while it goes on. What
    /// does so again and again has its reasons, and would have us call for as long as it runs.
    pub(crate) fn taken(eni: &EniId) -> Self {
        Self {
            api: Api::AttachNetworkInterface,
            scope: PauseScope::Others,
            cause: Refusal::EniTaken { eni: eni.clone() },
            first: Duration::from_secs(1),
            longest: Duration::from_secs(3600),
            at_least: Duration::ZERO,
        }
    }

    /// The rest that a fault calls for; `None` stands for an unknown outcome. `subnet` is where the call takes
    /// addresses from.
    pub(crate) fn of(
        api: Api,
        scope: PauseScope,
        fault: Option<&Fault>,
        words: &str,
        subnet: Option<&SubnetId>,
    ) -> Self {
        let cause = words.to_owned();
        let seconds = Duration::from_secs;
        let of = |scope, cause, first, longest| Self {
            api,
            scope,
            cause,
            first,
            longest,
            at_least: Duration::ZERO,
        };
        if let (PauseScope::Prefixes(subnet), Some(Fault::SubnetFull | Fault::NoFreeBlock)) = (&scope, fault)
        {
            // Single addresses are asked for meanwhile, and a whole fleet asks: this may rest long.
            let cause = Refusal::SubnetFragmented { subnet: subnet.clone() };
            return of(scope, cause, seconds(10), seconds(1800));
        }
        // Of IPv6 the ENI asks for one, and what keeps EC2 from giving it passes when somebody makes room.
        if let (Api::AssignIpv6Addresses, PauseScope::Eni(eni)) = (api, &scope) {
            let lacking = match (fault, subnet) {
                (Some(Fault::SubnetFull | Fault::NoFreeBlock), Some(subnet)) => {
                    Some(Refusal::NoIpv6Prefix { subnet: subnet.clone() })
                }
                (Some(Fault::AddressLimit), _) => Some(Refusal::NoRoomForIpv6 { eni: eni.clone() }),
                _ => None,
            };
            if let Some(cause) = lacking {
                return of(scope, cause, seconds(2), seconds(120));
            }
        }
        match fault {
            // Throttling is about the account's rate of this action, so all such calls slow down together.
            Some(Fault::Throttled { retry_after }) => Self {
                at_least: retry_after.unwrap_or_default(),
                ..of(PauseScope::Api, Refusal::Throttled { api }, Duration::from_millis(500), seconds(60))
            },
            // Upstream rests 120 s from the start. Here the next call asks for less, so it may come sooner.
            Some(Fault::SubnetFull | Fault::NoFreeBlock) => match subnet {
                Some(subnet) => of(
                    PauseScope::Subnet(subnet.clone()),
                    Refusal::SubnetFull { subnet: subnet.clone() },
                    seconds(2),
                    seconds(120),
                ),
                None => of(scope, Refusal::Rejected { api, cause }, seconds(30), seconds(120)),
            },
            // The whole account's, and gone only when somebody acts: asking often would only cost the account's rate.
            Some(Fault::EniQuota) => of(PauseScope::Api, Refusal::EniQuota, seconds(60), seconds(600)),
            Some(Fault::Denied) => {
                let about = match &scope {
                    PauseScope::Eni(eni) => Some(eni.to_string()),
                    _ => subnet.map(ToString::to_string),
                };
                let denial = Denial::read(api, words, about);
                // Nobody waits for these, and a role without the right is likely meant so.
                let longest = if matches!(api, Api::CreateTags | Api::DescribeInstances) {
                    seconds(4 * 3600)
                } else {
                    seconds(300)
                };
                of(PauseScope::Api, Refusal::Denied { api, denial }, seconds(30), longest)
            }
            // Asking for new credentials costs a request to the host's own metadata service.
            Some(Fault::Credentials(fault)) => {
                let longest = match fault {
                    CredentialsFault::Missing | CredentialsFault::Expired => seconds(5),
                    CredentialsFault::ClockOff | CredentialsFault::NotValid => seconds(30),
                };
                let refusal = Refusal::Credentials { api, fault: *fault, cause };
                of(PauseScope::Api, refusal, seconds(1), longest)
            }
            // Describes lag: what is there and was not shown yet comes with the read that follows.
            Some(Fault::AttachmentLimit) => {
                of(scope, Refusal::Miscounted { api, cause }, seconds(10), seconds(600))
            }
            // The ENI has more addresses than this instance's type can carry, which asking again does not change.
            Some(Fault::AddressLimit) if api == Api::AttachNetworkInterface => {
                of(scope, Refusal::Rejected { api, cause }, seconds(2), seconds(600))
            }
            // The next call asks for less, down to nothing, or for another slot, so it may come soon.
            Some(Fault::AddressLimit | Fault::SlotTaken) => {
                of(scope, Refusal::Miscounted { api, cause }, Duration::from_millis(500), seconds(10))
            }
            // Most likely the type does none, and will not for as long as the instance runs.
            Some(Fault::Rejected) if matches!(scope, PauseScope::Prefixes(_)) => {
                of(scope, Refusal::Rejected { api, cause }, seconds(10), seconds(4 * 3600))
            }
            Some(Fault::TokenMismatch | Fault::Rejected) => {
                of(scope, Refusal::Rejected { api, cause }, seconds(10), seconds(600))
            }
            // Eventual consistency, or a detachment that is not finished: soon over.
            Some(Fault::NotFound | Fault::Conflict) => {
                // Where it is not over soon, somebody else had a hand in it: a full read will tell, and it
                // believes absence only when the last call is half a minute old.
                let soon = matches!(api, Api::AttachNetworkInterface | Api::DeleteNetworkInterface);
                let longest = if soon { seconds(60) } else { seconds(600) };
                of(scope, Refusal::Rejected { api, cause }, seconds(2), longest)
            }
            // No call gets through, whatever it is about.
            Some(Fault::NotSent) => of(
                PauseScope::Api,
                Refusal::Unreachable { api, cause },
                Duration::from_millis(500),
                seconds(30),
            ),
            None => of(scope, Refusal::Unreachable { api, cause }, Duration::from_millis(500), seconds(30)),
        }
    }
}
