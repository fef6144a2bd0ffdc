//! When pods come and go.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "milliseconds of a day, and parts of the whole"
)]

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// Pods by number. One goes before another comes, at one instant.
    Gone(u32),
    Come(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) instance_type: &'static str,
    pub(crate) lasts: Duration,
    /// By milliseconds since its begin.
    pub(crate) events: Vec<(u64, Event)>,
}

const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;
const SECOND: u64 = 1000;
const DAY: u64 = 24 * HOUR;

/// A day that was generated once, by a mixture of what is here, and is kept as data: `came_ms,lives_ms` per pod. No cluster's.
const KEPT_DAY: &str = include_str!("generated-day.csv");

/// Marsaglia's xorshift64*: equal seeds, equal days.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from + 1)
    }

    fn exponential(&mut self, mean: u64) -> u64 {
        (-(1.0 - self.unit()).ln() * mean as f64) as u64
    }
}

/// Pods, as they are listed.
#[derive(Default)]
pub(crate) struct Pods(pub(crate) Vec<(u64, u64)>);

impl Pods {
    pub(crate) fn one(&mut self, comes: u64, lives: u64) {
        self.0.push((comes, lives));
    }

    /// So many of one moment: the scheduler binds a few in each tenth of a second.
    pub(crate) fn burst(&mut self, dice: &mut Dice, comes: u64, count: u64, lives: u64) {
        for nth in 0..count {
            let jitter = dice.within(0, lives / 50);
            self.one(comes + nth * 100, lives + jitter);
        }
    }

    /// By a Poisson process whose rate goes up and down with `rate`, of at most one.
    pub(crate) fn poisson(
        &mut self,
        dice: &mut Dice,
        from: u64,
        mean: u64,
        life: u64,
        rate: impl Fn(u64) -> f64,
    ) {
        let mut at = from;
        loop {
            at += dice.exponential(mean).max(1);
            if at >= DAY {
                return;
            }
            if dice.unit() < rate(at) {
                let lives = dice.exponential(life).max(10 * SECOND);
                self.one(at, lives);
            }
        }
    }

    fn trace(self, name: &'static str, what: &'static str, instance_type: &'static str, hours: u64) -> Trace {
        let mut events: Vec<(u64, Event)> = Vec::new();
        for ((comes, lives), pod) in self.0.into_iter().zip(0..) {
            events.push((comes, Event::Come(pod)));
            events.push((comes + lives, Event::Gone(pod)));
        }
        events.retain(|(at, _)| *at < hours * HOUR);
        events.sort_unstable();
        Trace { name, what, instance_type, lasts: Duration::from_millis(hours * HOUR), events }
    }
}

/// What is on each node from the start: DaemonSets, and what was scheduled at once.
fn settled(pods: &mut Pods, count: u64) {
    for nth in 0..count {
        pods.one(20 * SECOND + nth * 700, 2 * DAY);
    }
}

pub(crate) fn steady() -> Trace {
    let (mut dice, mut pods) = (Dice::new(1), Pods::default());
    settled(&mut pods, 6);
    pods.poisson(&mut dice, 2 * MINUTE, MINUTE, 20 * MINUTE, |_| 1.0);
    pods.trace("steady", "Poisson, a pod each minute, each for 20 minutes", "m5.xlarge", 24)
}

pub(crate) fn wave() -> Trace {
    let (mut dice, mut pods) = (Dice::new(2), Pods::default());
    settled(&mut pods, 6);
    let day = |at: u64| 0.5 - 0.45 * (std::f64::consts::TAU * at as f64 / DAY as f64).cos();
    pods.poisson(&mut dice, 2 * MINUTE, 45 * SECOND, 20 * MINUTE, day);
    pods.trace("wave", "the same with a day's wave, from a tenth to twice as many", "m5.xlarge", 24)
}

pub(crate) fn deployments() -> Trace {
    let (mut dice, mut pods) = (Dice::new(3), Pods::default());
    settled(&mut pods, 8);
    let mut at = 10 * MINUTE;
    while at < DAY {
        let (count, lives) = (dice.within(2, 8), dice.within(20, 90) * MINUTE);
        pods.burst(&mut dice, at, count, lives);
        at += dice.within(10, 50) * MINUTE;
    }
    pods.poisson(&mut dice, 2 * MINUTE, 10 * MINUTE, 60 * MINUTE, |_| 1.0);
    pods.trace(
        "deployments",
        "2 to 8 pods at once, two or three times an hour, for 20 to 90 minutes",
        "m5.2xlarge",
        24,
    )
}

pub(crate) fn cron() -> Trace {
    let (mut dice, mut pods) = (Dice::new(4), Pods::default());
    settled(&mut pods, 12);
    for minute in 3..DAY / MINUTE {
        let lives = dice.within(15, 50) * SECOND;
        pods.burst(&mut dice, minute * MINUTE, 3, lives);
        if minute % 5 == 0 {
            let lives = dice.within(60, 150) * SECOND;
            pods.burst(&mut dice, minute * MINUTE, 3, lives);
        }
    }
    pods.trace("cron", "3 jobs each minute and 3 more each five, for 15 to 150 seconds", "m5.xlarge", 8)
}

pub(crate) fn quiet() -> Trace {
    let (mut dice, mut pods) = (Dice::new(5), Pods::default());
    settled(&mut pods, 9);
    for nth in 1..4 {
        let at = nth * 6 * HOUR + dice.within(0, HOUR);
        pods.one(at, 3 * HOUR);
    }
    pods.trace("quiet", "9 pods, and one more each six hours", "m5.xlarge", 24)
}

pub(crate) fn kept() -> Trace {
    let mut pods = Pods::default();
    for line in KEPT_DAY.lines().filter(|line| !line.starts_with('#')) {
        let (comes, lives) = line.split_once(',').unwrap();
        pods.one(comes.parse().unwrap(), lives.parse().unwrap());
    }
    pods.trace("mixture", "generated once and kept as a file: all of these on one node", "m5.2xlarge", 24)
}

/// The pods of [`kept`], as its file has them.
pub(crate) fn mixture() -> Vec<(u64, u64)> {
    let (mut dice, mut pods) = (Dice::new(6), Pods::default());
    settled(&mut pods, 8);
    let day = |at: u64| 0.5 - 0.4 * (std::f64::consts::TAU * at as f64 / DAY as f64).cos();
    pods.poisson(&mut dice, 2 * MINUTE, 3 * MINUTE, 30 * MINUTE, day);
    for turn in 1..DAY / (15 * MINUTE) {
        let lives = dice.within(40, 200) * SECOND;
        pods.burst(&mut dice, turn * 15 * MINUTE, 3, lives);
    }
    let mut at = 30 * MINUTE;
    while at < DAY {
        let (count, lives) = (dice.within(2, 6), dice.within(30, 60) * MINUTE);
        pods.burst(&mut dice, at, count, lives);
        at += dice.within(30, 120) * MINUTE;
    }
    pods.0.sort_unstable();
    pods.0
}

pub(crate) fn all() -> Vec<Trace> {
    vec![steady(), wave(), deployments(), cron(), quiet(), kept()]
}
