//! Figures that wait to be published: a bounded queue of requests.

use std::collections::VecDeque;

use holdfast_model::time::WallTime;
use holdfast_ports::cloud::CloudFault;
use holdfast_ports::monitoring::Datum;

use crate::round::Round;

/// Figures of one request, as the Amazon VPC CNI's helper sends them. CloudWatch takes more.
pub const IN_ONE_REQUEST: usize = 20;
/// Requests that wait: twenty minutes of the usual interval. What CloudWatch could not be told for longer is lost.
pub const MOST: usize = 40;
/// How often a request is sent whose outcome is unknown each time: if it was carried out, its figures are counted so often.
const UNKNOWN_OUTCOMES: u8 = 2;

/// One request to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Of when its figures are.
    pub at: WallTime,
    /// The figures.
    pub figures: Vec<Datum>,
    /// How often nobody knows what became of it.
    unknown: u8,
}

/// The queue, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Backlog(VecDeque<Waiting>);

/// What becomes of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent again at the next round, and so are those behind it.
    Kept,
    /// It is not sent again: it would be refused again, or counted too often.
    GivenUp,
}

impl Backlog {
    /// Takes a round in. The answer is how many requests were dropped for it, the oldest.
    pub fn push(&mut self, round: &Round) -> usize {
        let all: Vec<Datum> =
            round.published().into_iter().map(|(name, value)| Datum { name, value }).collect();
        let requests = all.chunks(IN_ONE_REQUEST);
        self.0.extend(requests.map(|part| Waiting { at: round.at, figures: part.to_vec(), unknown: 0 }));
        let over = self.0.len().saturating_sub(MOST);
        self.0.drain(..over);
        over
    }

    /// The one to send next.
    pub fn next(&self) -> Option<&Waiting> {
        self.0.front()
    }

    /// It was taken.
    pub fn taken(&mut self) {
        self.0.pop_front();
    }

    /// It was not.
    pub fn failed(&mut self, fault: CloudFault) -> Fate {
        let Some(first) = self.0.front_mut() else { return Fate::GivenUp };
        let again = match fault {
            CloudFault::Unknown => {
                first.unknown += 1;
                first.unknown < UNKNOWN_OUTCOMES
            }
            // It is not carried out, and may be later.
            CloudFault::Throttled { .. }
            | CloudFault::Denied
            | CloudFault::Credentials(_)
            | CloudFault::NotSent => true,
            // It is not carried out, and never will be: the request is to blame.
            _ => false,
        };
        if again {
            return Fate::Kept;
        }
        self.0.pop_front();
        Fate::GivenUp
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use holdfast_model::refusal::CredentialsFault;

    use super::*;
    use crate::table::TABLE;

    fn round(at: u64, figures: usize) -> Round {
        let figures = TABLE.iter().take(figures).map(|row| (row.published, 1.0)).collect();
        Round { at: WallTime(at), nodes: 1, read: 1, figures }
    }

    fn ats(backlog: &Backlog) -> Vec<u64> {
        backlog.0.iter().map(|waiting| waiting.at.0).collect()
    }

    #[test]
    fn a_request_has_twenty_figures_at_most() {
        let mut backlog = Backlog::default();
        backlog.push(&round(1, 18));
        backlog.push(&round(2, 20));
        let sizes: Vec<usize> = backlog.0.iter().map(|waiting| waiting.figures.len()).collect();
        assert_eq!((sizes, ats(&backlog)), (vec![20, 20, 2], vec![1, 2, 2]));
        let all: BTreeMap<_, _> =
            backlog.0.iter().skip(1).flat_map(|w| &w.figures).map(|d| (d.name, d.value)).collect();
        assert_eq!(all, round(2, 20).published());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut backlog = Backlog::default();
        let dropped: usize = (0..45).map(|at| backlog.push(&round(at, 1))).sum();
        assert_eq!(dropped, 5);
        assert_eq!(ats(&backlog), (5..45).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_not_carried_out_is_sent_again() {
        let mut backlog = Backlog::default();
        backlog.push(&round(1, 1));
        let not_carried_out = [
            CloudFault::Throttled { retry_after: None },
            CloudFault::Denied,
            CloudFault::Credentials(CredentialsFault::Expired),
            CloudFault::NotSent,
        ];
        for fault in not_carried_out.into_iter().cycle().take(100) {
            assert_eq!(backlog.failed(fault), Fate::Kept);
        }
        assert_eq!(backlog.failed(CloudFault::Rejected), Fate::GivenUp);
        assert!(ats(&backlog).is_empty());
    }

    #[test]
    fn what_nobody_knows_the_outcome_of_is_sent_twice_at_most() {
        let mut backlog = Backlog::default();
        backlog.push(&round(1, 1));
        backlog.push(&round(2, 1));
        assert_eq!(backlog.failed(CloudFault::Unknown), Fate::Kept);
        assert_eq!(backlog.failed(CloudFault::Unknown), Fate::GivenUp);
        assert_eq!(ats(&backlog), [2]);
    }
}
