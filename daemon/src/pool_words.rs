//! What the pools aim at and why, as it goes over the operator's socket, and in words.

use std::time::Duration;

use holdfast_engine::{Explained, PoolTold, RoomShown, Source, SubnetRoom};
use holdfast_model::block::Unit;
use holdfast_model::pool::PoolKey;
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What is said of all pools.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pools {
    /// `static` or `adaptive`.
    mode: String,
    quantile: String,
    /// Why no addresses come that are missing.
    refusal: Option<String>,
    pools: Vec<PoolWords>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PoolWords {
    pool: String,
    unit: String,
    level: LevelWords,
    targets: TargetWords,
    /// Of the first card, whose targets can be learned.
    learned: Option<LearnedWords>,
    subnets: Vec<SubnetWords>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LevelWords {
    held: u32,
    leased: u32,
    free: u32,
    resting: u32,
    /// Of the other unit, or on ENIs that are not wanted any more.
    beside: u32,
    coming: u32,
    waiting: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct TargetWords {
    /// With fewer free, more are asked for.
    free_at_least: u32,
    filled_up_to: u32,
    /// Nothing where whole ENIs only are given back.
    given_back_down_to: Option<u32>,
    all_at_least: u32,
    from: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct LearnedWords {
    free: u32,
    adds_remembered: u64,
    largest_demand: u32,
    recess: u32,
    lead_seconds: f64,
    lead_seen_seconds: Option<f64>,
    yields_to: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubnetWords {
    subnet: String,
    free: Option<u32>,
    runs_low_below: Option<u32>,
    /// How the free addresses lie EC2 does not say.
    prefixes_at_most: Option<u32>,
    shown_seconds_ago: Option<u64>,
}

impl Pools {
    pub(crate) fn of(told: &PoolTold) -> Self {
        let pools = told.pools.iter().map(|(key, explained)| PoolWords::of(*key, explained));
        Self {
            mode: told.mode.to_string(),
            quantile: told.quantile.to_string(),
            refusal: told.refusal.clone(),
            pools: pools.collect(),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = Vec::new();
        for pool in &self.pools {
            pool.write(self, &mut out);
        }
        if let Some(refusal) = &self.refusal {
            line(&mut out, "missing", &format!("what is missing does not come: {refusal}"));
        }
        out.join("\n") + "\n"
    }
}

impl PoolWords {
    fn of(key: PoolKey, explained: &Explained) -> Self {
        let level = explained.level;
        let learned = || LearnedWords {
            free: explained.learned,
            adds_remembered: explained.remembered,
            largest_demand: explained.largest,
            recess: explained.recess,
            lead_seconds: explained.lead.as_secs_f64(),
            lead_seen_seconds: explained.lead_seen.map(|lead| lead.as_secs_f64()),
            yields_to: explained.yields_to,
        };
        Self {
            pool: key.to_string(),
            unit: match explained.unit {
                Unit::Address => "single addresses",
                Unit::Prefix => "prefixes",
                Unit::Ipv6Prefix => "an IPv6 prefix",
            }
            .to_owned(),
            level: LevelWords {
                held: level.total().saturating_add(level.beside),
                leased: level.leased,
                free: level.free,
                resting: level.cooling,
                beside: level.beside,
                coming: explained.coming,
                waiting: level.waiting,
            },
            targets: TargetWords {
                free_at_least: explained.least,
                filled_up_to: explained.filled,
                given_back_down_to: explained.most,
                all_at_least: explained.minimum,
                from: source(explained.source),
            },
            learned: (key.card == PoolKey::DEFAULT.card).then(learned),
            subnets: explained.subnets.iter().map(SubnetWords::of).collect(),
        }
    }

    fn write(&self, all: &Pools, out: &mut Vec<String>) {
        let Self { level, targets, learned, .. } = self;
        out.push(format!("{}: {}, {}", self.pool, self.unit, all.mode));
        let beside = match level.beside {
            0 => String::new(),
            beside => format!(", {beside} besides of what is not wanted any more"),
        };
        let held = format!(
            "{}: {} leased, {} free ({} of them on their way), {} resting{beside}; {} ADDs wait",
            level.held, level.leased, level.free, level.coming, level.resting, level.waiting
        );
        line(out, "held", &held);
        let back = match targets.given_back_down_to {
            Some(most) => format!("given back down to {most}"),
            None => "given back by whole ENIs".to_owned(),
        };
        let minimum = match targets.all_at_least {
            0 => String::new(),
            minimum => format!("; {minimum} in all at least"),
        };
        let free = format!(
            "{} at least, filled up to {}, {back}{minimum}",
            targets.free_at_least, targets.filled_up_to
        );
        line(out, "to be free", &free);
        line(out, "whose word", &targets.from);
        if let Some(learned) = learned {
            learned.write(&all.quantile, out);
        }
        for subnet in &self.subnets {
            line(out, "subnet", &subnet.text());
        }
    }
}

impl LearnedWords {
    fn write(&self, quantile: &str, out: &mut Vec<String>) {
        let seen = match self.lead_seen_seconds {
            Some(seen) => format!("it took {seen:.1} s at the most lately"),
            None => "it has brought none lately".to_owned(),
        };
        let why = format!(
            "{} of ADDs are to find one; of {} ADDs remembered the largest demand within {:.0} s was {}: {} free; EC2 is reckoned to \
             bring more within that ({seen}); {} more were in use lately",
            quantile, self.adds_remembered, self.lead_seconds, self.largest_demand, self.free, self.recess
        );
        line(out, "learned", &why);
        if let Some(most) = self.yields_to {
            line(
                out,
                "yielding",
                &format!("a subnet runs low: {most} free at the most, so that other nodes' pods have them"),
            );
        }
    }
}

impl SubnetWords {
    fn of(room: &SubnetRoom) -> Self {
        let shown = room.shown.as_ref();
        Self {
            subnet: room.subnet.to_string(),
            free: shown.map(|shown| shown.free),
            runs_low_below: shown.map(|shown| shown.kept),
            prefixes_at_most: shown.map(RoomShown::prefixes_at_most),
            shown_seconds_ago: shown.map(|shown| shown.ago.as_secs()),
        }
    }

    fn text(&self) -> String {
        let told = (self.free, self.runs_low_below, self.prefixes_at_most, self.shown_seconds_ago);
        let (Some(free), Some(low), Some(prefixes), Some(ago)) = told else {
            return format!("{}: EC2 was not asked, or does not show it", self.subnet);
        };
        format!(
            "{}: {free} free addresses {ago} s ago, low below {low}; at most {prefixes} /28s, how the addresses lie is not told",
            self.subnet
        )
    }
}

fn line(out: &mut Vec<String>, title: &str, text: &str) {
    out.push(format!("  {title:<11} {text}"));
}

fn source(source: Source) -> String {
    let whole = |left: Duration| left.as_secs().div_ceil(60);
    match source {
        Source::Set => "the targets that are set".to_owned(),
        Source::SetWhileLearning(Some(left)) => {
            format!("the targets that are set, for {} more minutes of learning", whole(left))
        }
        Source::SetWhileLearning(None) => "the targets that are set: nothing was learned yet".to_owned(),
        Source::Kept(left) => {
            let left = left.map_or(0, whole);
            format!("what was free when the daemon started, for {left} more minutes of learning")
        }
        Source::Learned => "what this node has learned".to_owned(),
        Source::Floor => "WARM_IP_TARGET, which is more than was learned".to_owned(),
        Source::Yielding => "a subnet that runs low: fewer than were learned".to_owned(),
        Source::OnePrefix => "one IPv6 prefix is more than a node can need".to_owned(),
    }
}
