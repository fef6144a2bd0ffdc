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
        cards.into_iter().map(PoolKey::v4_on).collect()
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
        self.reports.get(&PoolKey::v4_on(card))
    }

    /// What the last plan had to say of the first card's.
    pub(crate) fn report(&self) -> Option<&Report> {
        self.report_on(PoolKey::DEFAULT.card)
    }

    /// What to tell who lacks an address of a card.
    pub(crate) fn shortage_on(&self, card: u8, now: &Now) -> Shortage {
        let report = self.report_on(card).cloned().unwrap_or_default();
        report.shortage(self.config.add_hold.value, now)
    }

    /// Which cards can be hoped for, by the last plan's reports; whether that has changed for those who want one address and would
    /// get it elsewhere.
    pub(crate) fn weigh_cards(&mut self, now: &Now) -> bool {
        let before = self.hopeless.contains(&PoolKey::DEFAULT.card);
        let hopeless = |card: &u8| {
            let waits = self.report_on(*card).is_some_and(|report| report.level.waiting > 0);
            waits && !self.shortage_on(*card, now).hold
        };
        self.hopeless = self.reports.keys().map(|pool| pool.card).filter(hopeless).collect();
        let after = self.hopeless.contains(&PoolKey::DEFAULT.card);
        self.reports.len() > 1 && before != after
    }

    /// The card besides the first from which one more address may come.
    pub(crate) fn another_card(&self) -> Option<u8> {
        let others = self.reports.keys().map(|pool| pool.card).filter(|card| *card != PoolKey::DEFAULT.card);
        others.into_iter().find(|card| !self.hopeless.contains(card))
    }
}
