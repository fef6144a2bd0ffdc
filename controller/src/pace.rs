//! How often something is restored that somebody else keeps changing.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_model::time::BootTime;

/// So often at once, and then once each interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: u32,
    interval: Duration,
}

/// Of one field: who keeps changing the same one is most likely a program, which is not to be outrun.
const FIELD: Rate = Rate { at_once: 10, interval: Duration::from_secs(30) };
/// Of all writes together, whatever they are about. People and installers change one field after the other, and each is restored as soon
/// as it is seen.
const ALL: Rate = Rate { at_once: 300, interval: Duration::from_secs(2) };

/// Token buckets, each kept as the instant at which it is full again.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    all: BootTime,
    /// By managed field, of which there are a few dozen.
    fields: BTreeMap<String, BootTime>,
}

impl Pace {
    /// When a write about these fields may go: now, or later.
    pub fn ready<'f>(&self, fields: impl IntoIterator<Item = &'f String>, now: BootTime) -> BootTime {
        let of_fields = fields.into_iter().filter_map(|field| self.fields.get(field));
        let of_fields = of_fields.map(|full| FIELD.ready(*full, now));
        of_fields.fold(ALL.ready(self.all, now), BootTime::max)
    }

    /// One goes.
    pub fn take<'f>(&mut self, fields: impl IntoIterator<Item = &'f String>, now: BootTime) {
        self.all = self.all.max(now).after(ALL.interval);
        for field in fields {
            let full = self.fields.entry(field.clone()).or_default();
            *full = (*full).max(now).after(FIELD.interval);
        }
    }
}

impl Rate {
    fn ready(self, full: BootTime, now: BootTime) -> BootTime {
        let room = self.interval.saturating_mul(self.at_once - 1);
        let room = u64::try_from(room.as_millis()).unwrap_or(u64::MAX);
        BootTime(full.0.saturating_sub(room)).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_over_a_field_costs_a_write_each_interval_and_no_other_field_waits_for_it() {
        let mut pace = Pace::default();
        let start = BootTime(10_000_000);
        let (fought, other) = (["a".to_owned()], ["b".to_owned()]);
        for _ in 0..FIELD.at_once {
            assert_eq!(pace.ready(&fought, start), start);
            pace.take(&fought, start);
        }
        assert_eq!(pace.ready(&fought, start), start.after(FIELD.interval));
        assert_eq!(pace.ready(&["b".to_owned(), "a".to_owned()], start), start.after(FIELD.interval));
        assert_eq!(pace.ready(&other, start), start);
        let rested = start.after(FIELD.interval * 1000);
        assert_eq!(pace.ready(&fought, rested), rested);
    }

    #[test]
    fn writes_without_end_have_an_end() {
        let mut pace = Pace::default();
        let start = BootTime(10_000_000);
        for _ in 0..ALL.at_once {
            assert_eq!(pace.ready(&[], start), start);
            pace.take(&[], start);
        }
        assert_eq!(pace.ready(&[], start), start.after(ALL.interval));
    }
}
