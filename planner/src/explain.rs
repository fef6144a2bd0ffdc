//! What a pool aims at, and why: for people.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_model::block::Unit;
use holdfast_model::ids::SubnetId;
use holdfast_model::ledger::Ledger;
use holdfast_model::pool::PoolKey;
use holdfast_model::time::Now;

use crate::cards;
use crate::desired::Desired;
use crate::observed::Observed;
use crate::pool::Pool;
use crate::subnets;
use crate::targets::Level;

/// Whose word the number of free addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The targets that are set.
    Set,
    /// They, since not enough was seen yet; and how long it takes until there is.
    SetWhileLearning(Option<Duration>),
    /// What was free when the process began, while it learns; and how long that takes.
    Kept(Option<Duration>),
    /// What the node has seen.
    Learned,
    /// `WARM_IP_TARGET`, which is more than that.
    Floor,
    /// Fewer: the subnet runs low.
    Yielding,
    /// A node has one IPv6 prefix, which is more than it can need.
    OnePrefix,
}

/// What a pool aims at, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// In what it is given its addresses.
    pub unit: Unit,
    /// Its figures.
    pub level: Level,
    /// Those of the free ones that are asked for, or on ENIs that are not in service yet.
    pub coming: u32,
    /// With fewer free addresses, more are asked for. Where they rest, set targets count resting ones as free.
    pub least: u32,
    /// Up to so many.
    pub filled: u32,
    /// Down to so many is given back, one by one or by prefix. `None`: whole ENIs only are.
    pub most: Option<u32>,
    /// All addresses are to be no fewer than this.
    pub minimum: u32,
    /// Whose word that is.
    pub source: Source,
    /// How many would be free at the least, as far as was learned.
    pub learned: u32,
    /// ADDs that this goes by, those of long ago counted less.
    pub remembered: u64,
    /// The most that was wanted within a lead time, as far as it is remembered.
    pub largest: u32,
    /// By how much more was in use lately.
    pub recess: u32,
    /// How long EC2 is reckoned to take to bring addresses.
    pub lead: Duration,
    /// How long it took at the most, lately; `None`: it has brought none.
    pub lead_seen: Option<Duration>,
    /// No more may be free, since a subnet runs low.
    pub yields_to: Option<u32>,
    /// The subnets that it has ENIs in, or may have.
    pub subnets: Vec<SubnetRoom>,
}

/// What a subnet has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetRoom {
    /// Which.
    pub subnet: SubnetId,
    /// What EC2 showed of it; `None`: nothing.
    pub shown: Option<RoomShown>,
}

/// What EC2 showed of a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomShown {
    /// Free addresses.
    pub free: u32,
    /// With fewer than this it runs low.
    pub kept: u32,
    /// How long ago.
    pub ago: Duration,
}

impl RoomShown {
    /// So many /28s it can give at the most: how the free addresses lie EC2 does not say.
    pub fn prefixes_at_most(&self) -> u32 {
        self.free / Unit::Prefix.addresses()
    }
}

/// Says it of each pool.
pub fn explain(
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
) -> BTreeMap<PoolKey, Explained> {
    let pools = cards::pools(desired, ledger).into_iter().filter(|wanted| !wanted.retires);
    pools
        .map(|wanted| {
            let pool = Pool::of(wanted, desired, ledger, observed, now);
            (pool.key, explain_one(&pool, desired, ledger, observed, now))
        })
        .collect()
}

fn explain_one(
    pool: &Pool<'_>,
    desired: &Desired<'_>,
    ledger: &Ledger,
    observed: &Observed,
    now: &Now,
) -> Explained {
    let (targets, warm, at) = (pool.targets, &observed.warm, now.boottime);
    let learns = desired.is_adaptive() && pool.key.card == PoolKey::DEFAULT.card;
    let spare = targets.spare_addresses();
    let set = || (spare, spare, targets.are_exact().then_some(spare));
    let (least, filled, most) =
        targets.stock.map_or_else(set, |stock| (stock.least, stock.filled, Some(stock.most)));
    let learned = warm.learned(desired.config.warm_quantile.value);
    let source = match targets.stock {
        None if desired.unit() == Unit::Ipv6Prefix => Source::OnePrefix,
        None if learns => Source::SetWhileLearning(warm.learned_at().map(|learned| learned.since(at))),
        None => Source::Set,
        Some(_) if warm.yields_to(at).is_some_and(|most| most < learned) => Source::Yielding,
        Some(_) if !warm.is_learned(at) => Source::Kept(warm.learned_at().map(|learned| learned.since(at))),
        Some(stock) if stock.least > learned => Source::Floor,
        Some(_) => Source::Learned,
    };
    Explained {
        unit: targets.unit,
        level: pool.level,
        coming: pool.on_the_way,
        least,
        filled,
        most,
        minimum: targets.least_addresses(),
        source,
        learned,
        remembered: warm.remembered(),
        largest: warm.largest(),
        recess: warm.recess(at),
        lead: warm.lead(),
        lead_seen: warm.lead_seen(),
        yields_to: warm.yields_to(at),
        subnets: rooms(ledger, observed, pool, now),
    }
}

fn rooms(ledger: &Ledger, observed: &Observed, pool: &Pool<'_>, now: &Now) -> Vec<SubnetRoom> {
    let candidates = pool.sources.subnets().unwrap_or_default().iter().map(|candidate| &candidate.subnet);
    let held = pool.enis.iter().map(|share| &share.eni.source.subnet);
    let own = ledger.node.iter().map(|node| &node.identity.subnet);
    let all: BTreeSet<&SubnetId> = candidates.chain(held).chain(own).collect();
    let room = |subnet: &SubnetId| {
        let shown = subnets::shown(observed, subnet);
        let shown = shown.map(|(free, kept, began)| RoomShown { free, kept, ago: now.boottime.since(began) });
        SubnetRoom { subnet: subnet.clone(), shown }
    };
    all.into_iter().map(room).collect()
}
