//! What can be leased at this instant, card by card, and which cards have nothing to hope for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast_model::pool::PoolKey;
use holdfast_model::time::Now;
use holdfast_planner::{self as planner, Choice, Report, Shortage};

use crate::engine::Engine;
use crate::world::World;

/// The free addresses of each card that pods get addresses on, in the order in which they are leased.
pub(crate) struct Free {
    by_card: BTreeMap<u8, VecDeque<Choice>>,
    /// All such cards are known: before, nobody gets an address on every card.
    all_known: bool,
    /// Whether who wants one address gets it from another card when the first has none.
    spills: bool,
}

impl Free {
    /// Takes an address of the first card; of another, where that one has nothing to hope for.
    pub(crate) fn take_one(&mut self) -> Vec<Choice> {
        let most = if self.spills { usize::MAX } else { 1 };
        self.by_card.values_mut().take(most).find_map(VecDeque::pop_front).into_iter().collect()
    }

    /// Takes an address of every card, of so many at most, and says which cards have none. What others have is taken all the same:
    /// whoever came first gets it, when the last one comes.
    pub(crate) fn take_each(&mut self, most: usize) -> (Vec<Choice>, BTreeSet<u8>) {
        let (mut taken, mut lacking) = (Vec::new(), BTreeSet::new());
        for (card, free) in self.by_card.iter_mut().take(most) {
            match free.pop_front() {
                Some(choice) => taken.push(choice),
                None => drop(lacking.insert(*card)),
            }
        }
        if !self.all_known {
            lacking.insert(PoolKey::DEFAULT.card);
        }
        (taken, lacking)
    }

    /// Nothing came of it: the next one may have them.
    pub(crate) fn put_back(&mut self, taken: Vec<Choice>) {
        for choice in taken {
            if let Some(slot) = choice.place.slot() {
                self.by_card.entry(slot.card).or_default().push_front(choice);
            }
        }
    }
}

impl<W: World> Engine<W> {
    /// The pools that ADDs are served from.
    pub(crate) fn pools(&self) -> Vec<PoolKey> {
        let cards = planner::managed_cards(&self.desired(), self.book.ledger());
        let cards = cards.unwrap_or_else(|| vec![PoolKey::DEFAULT.card]);
        cards.into_iter().map(|card| self.desired().pool_on(card)).collect()
    }

    /// The addresses that can be leased.
    pub(crate) fn free(&self, now: &Now) -> Free {
        let pools = self.pools();
        let free = |pool: &PoolKey| (pool.card, self.free_addresses(*pool, now).into());
        Free {
            by_card: pools.iter().map(free).collect(),
            all_known: planner::managed_cards(&self.desired(), self.book.ledger()).is_some(),
            spills: self.hopeless.contains(&PoolKey::DEFAULT.card),
        }
    }

    /// What the last plan had to say of the pool of a card.
    pub(crate) fn report_on(&self, card: u8) -> Option<&Report> {
        self.reports.get(&self.desired().pool_on(card))
    }

    /// What the last plan had to say of the first card's.
    pub(crate) fn report(&self) -> Option<&Report> {
        self.report_on(PoolKey::DEFAULT.card)
    }

    /// Why a pool does not grow although it should, for people: the first card's goes before others'.
    pub(crate) fn refusal(&self) -> Option<String> {
        let told = |(pool, report): (&PoolKey, &Report)| {
            let refusal = report.refusal.as_ref()?;
            let of_first = pool.card == PoolKey::DEFAULT.card;
            Some(if of_first {
                refusal.to_string()
            } else {
                format!("on network card {}: {refusal}", pool.card)
            })
        };
        self.reports.iter().find_map(told)
    }

    /// What to tell who lacks an address of a card.
    pub(crate) fn shortage_on(&self, card: u8, now: &Now) -> Shortage {
        let report = self.report_on(card).cloned().unwrap_or_default();
        report.shortage(self.config.add_hold.value, now)
    }

    /// Which cards there is no hope for, for whoever waits; whether that is news to them.
    pub(crate) fn weigh_cards(&mut self, now: &Now) -> bool {
        let hold = self.config.add_hold.value;
        let hopeless = |pool: &PoolKey| match self.reports.get(pool) {
            Some(report) if report.level.waiting > 0 || self.reports.len() == 1 => {
                !report.shortage(hold, now).hold
            }
            // Nobody has asked for one of this card's: what would be said to one who does.
            _ => {
                let (desired, ledger) = (self.desired(), self.book.ledger());
                !planner::report(*pool, &desired, ledger, &self.observed, now).shortage(hold, now).hold
            }
        };
        let waited_for = self.observed.waiting.values().any(|count| *count > 0);
        let hopeless: BTreeSet<u8> = if waited_for {
            self.reports.keys().filter(|pool| hopeless(pool)).map(|pool| pool.card).collect()
        } else {
            BTreeSet::new()
        };
        let news = waited_for && self.reports.len() > 1 && hopeless != self.hopeless;
        self.hopeless = hopeless;
        news
    }

    /// The card besides the first from which one more address may come.
    pub(crate) fn another_card(&self) -> Option<u8> {
        let others = self.reports.keys().map(|pool| pool.card).filter(|card| *card != PoolKey::DEFAULT.card);
        others.into_iter().find(|card| !self.hopeless.contains(card))
    }
}
