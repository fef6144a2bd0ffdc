//! Client tokens of creations that succeeded.
//!
//! ```text
//! spent -> its ENI is gone -> a day later: forgotten, and good for another creation
//!      \-> too many younger ones: dropped, and counted
//! ```
//! Fact: "Ensuring idempotency" of the EC2 API reference of 2016-11-15: a token is valid for at least 24 hours after
//! the termination of the instance that it made. It says no more, and nothing of ENIs: they are taken to be alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ids::EniId;
use super::model::Eni;
use super::request::CreateNetworkInterface;
use super::time::Micros;

/// How long a token outlives its ENI.
const OUTLIVES: Duration = Duration::from_hours(24);

/// Most tokens that are remembered.
pub(super) const KEPT: usize = 20_000;

/// What a client token was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenUse {
    pub(super) request: CreateNetworkInterface,
    /// The ENI as it was made: shown again when it is gone by now.
    pub(super) made: Arc<Eni>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Spent {
    number: u64,
    used: TokenUse,
    /// When its ENI went.
    gone: Option<Micros>,
}

/// All that are remembered. Like the tables it is changed by whole changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tokens {
    spent: BTreeMap<String, Spent>,
    /// Tokens in the order of their use, and of ENIs that are there.
    by_number: BTreeMap<u64, String>,
    of_eni: BTreeMap<EniId, u64>,
    /// Those whose ENI is gone, in the order in which it went.
    gone: BTreeSet<(Micros, u64)>,
    next: u64,
    /// Of the change under way.
    new: Option<u64>,
    dropped: u64,
}

impl Tokens {
    /// What a token that is good still was used for.
    pub(super) fn get(&self, token: &str, now: Micros) -> Option<&TokenUse> {
        self.spent.get(token).filter(|spent| !is_over(spent.gone, now)).map(|spent| &spent.used)
    }

    /// Remembers a token.
    pub(super) fn spend(&mut self, token: &str, used: TokenUse) {
        // The same one may have been forgotten by EC2 and not be swept up yet.
        if let Some(old) = self.spent.get(token).map(|spent| spent.number) {
            self.remove(old);
        }
        let number = self.next;
        self.next += 1;
        self.of_eni.insert(used.made.id, number);
        self.by_number.insert(number, token.to_owned());
        self.spent.insert(token.to_owned(), Spent { number, used, gone: None });
        self.new = Some(number);
    }

    /// An ENI is gone.
    pub(super) fn outlive(&mut self, eni: EniId, now: Micros) {
        let Some(number) = self.of_eni.remove(&eni) else { return };
        let spent = self.by_number.get(&number).and_then(|token| self.spent.get_mut(token));
        if let Some(spent) = spent {
            spent.gone = Some(now);
            self.gone.insert((now, number));
        }
    }

    /// Makes the change under way the present from `now` on, and forgets what is over or too much.
    pub(super) fn commit(&mut self, now: Micros) {
        self.new = None;
        while let Some((gone, number)) =
            self.gone.first().copied().filter(|(gone, _)| is_over(Some(*gone), now))
        {
            self.gone.remove(&(gone, number));
            self.remove(number);
        }
        while self.by_number.len() > KEPT
            && let Some((oldest, _)) = self.by_number.first_key_value()
        {
            self.remove(*oldest);
            self.dropped += 1;
        }
    }

    /// Undoes the change under way.
    pub(super) fn rollback(&mut self) {
        if let Some(number) = self.new.take() {
            self.remove(number);
            self.next = number;
        }
    }

    /// How many were dropped before their time, the oldest first, since there were too many.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.spent.len()
    }

    /// Whether each token is found by all that lead to it, and nothing leads to others.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let found = |(token, spent): (&String, &Spent)| {
            self.by_number.get(&spent.number) == Some(token)
                && match spent.gone {
                    Some(gone) => self.gone.contains(&(gone, spent.number)),
                    None => self.of_eni.get(&spent.used.made.id) == Some(&spent.number),
                }
        };
        let ways = (self.by_number.len(), self.gone.len() + self.of_eni.len());
        self.spent.iter().all(found) && ways == (self.spent.len(), self.spent.len())
    }

    fn remove(&mut self, number: u64) {
        let Some(spent) = self.by_number.remove(&number).and_then(|token| self.spent.remove(&token)) else {
            return;
        };
        match spent.gone {
            Some(gone) => self.gone.remove(&(gone, number)),
            None => self.of_eni.remove(&spent.used.made.id).is_some(),
        };
    }
}

fn is_over(gone: Option<Micros>, now: Micros) -> bool {
    gone.is_some_and(|gone| now.since(gone) >= OUTLIVES)
}
