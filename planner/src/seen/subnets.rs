//! What EC2 has shown of the zone's subnets.

use std::collections::BTreeMap;

use holdfast_model::ids::SubnetId;
use holdfast_model::subnet::SubnetView;
use holdfast_model::time::BootTime;

/// What EC2 has shown of the zone's subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetsSeen {
    pub(crate) shown: Option<Shown>,
    /// Reads in a row that came because subnets were full.
    pub(crate) in_vain: u32,
    /// How often in a row EC2 has refused it, and when the last one began.
    pub(crate) refused: Option<(u32, BootTime)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) began: BootTime,
    pub(crate) subnets: BTreeMap<SubnetId, SubnetView>,
}

impl SubnetsSeen {
    /// A read that began then was answered.
    pub(crate) fn take(&mut self, views: &[SubnetView], began: BootTime, full: bool) {
        if self.shown.as_ref().is_some_and(|shown| shown.began > began) {
            return;
        }
        self.in_vain = if full { self.in_vain.saturating_add(1) } else { 0 };
        let subnets = views.iter().map(|view| (view.id.clone(), view.clone())).collect();
        self.refused = None;
        self.shown = Some(Shown { began, subnets });
    }

    /// EC2 has refused a read that began then, and will until somebody has done something about it.
    pub(crate) fn refused(&mut self, began: BootTime) {
        let before = self.refused.map_or(0, |(times, _)| times);
        self.refused = Some((before.saturating_add(1), began));
    }
}
