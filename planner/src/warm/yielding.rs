//! Spares make way where their subnet runs low.
//!
//! No node knows of the others; what they have in common is EC2's count of the subnet's free addresses. So each does what senders of
//! one line do (AIMD: Chiu and Jain 1989): halves its spares, or more, at each look that shows too few, and takes one more at each that
//! shows plenty. All at once giving back and taking again, which the same threshold for both would be, does not come about.

use std::time::Duration;

use holdfast_model::time::BootTime;

/// So long a look counts. Where subnets are looked at the next one comes long before; where they are not, what EC2 has refused once
/// must not hold for ever.
const COUNTS_FOR: Duration = Duration::from_secs(3 * 3600);

/// What a subnet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// EC2 refused for want of addresses.
    None,
    /// So many free ones, where so many are to be kept.
    Some { free: u32, kept: u32 },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Yielding {
    most: Option<u32>,
    seen: Option<BootTime>,
}

impl Yielding {
    /// A look that began then has shown so much room; `held` spares are here.
    pub(super) fn see(&mut self, room: Room, held: u32, began: BootTime) {
        self.most = self.most(began);
        if self.seen.is_some_and(|seen| seen >= began) {
            return;
        }
        self.seen = Some(began);
        self.most = match room {
            Room::None => Some(0),
            Room::Some { free, kept } if free < kept => {
                let held = self.most.map_or(held, |most| most.min(held));
                let part = u64::from(held) * u64::from(free) / u64::from(kept.max(1));
                Some(u32::try_from(part).unwrap_or(u32::MAX).min(held / 2))
            }
            Room::Some { free, kept } if free < kept.saturating_mul(2) => self.most,
            // Twice as many as were here last are no limit any more.
            Room::Some { .. } => self
                .most
                .map(|most| most.saturating_add(1))
                .filter(|most| *most <= held.saturating_mul(2).max(8)),
        };
    }

    pub(super) fn most(&self, now: BootTime) -> Option<u32> {
        self.most.filter(|_| self.ends_at().is_some_and(|at| now < at))
    }

    /// When it is over unless there is another look.
    pub(super) fn ends_at(&self) -> Option<BootTime> {
        self.most.and(self.seen).map(|seen| seen.after(COUNTS_FOR))
    }
}
