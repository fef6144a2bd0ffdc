//! Whether a fault can hit anything in this box, which a fault cannot tell by itself.
//!
//! Instances, subnets and zones must be there. An ENI may be made later, so that one that is not there is taken for one
//! to come; one that is there must lie where the fault says.

use std::collections::BTreeSet;
use std::time::Duration;

use super::response::InstanceState;
use super::time::Timing;
use super::{ApiError, HORIZON, InstanceId, SimVpc, TooOld};
use crate::fault::{BadFault, Fault, FaultKind};

impl SimVpc {
    /// Refuses a fault that hits nothing here, or that shows what is not kept.
    pub(super) fn can_hit(&self, fault: &Fault) -> Result<(), BadFault> {
        let unknown = |error: ApiError| BadFault(error.to_string());
        if let Some(until) = fault.until.filter(|until| *until <= self.now) {
            return Err(BadFault(format!("it ends at {} µs, and it is {} µs already", until.0, self.now.0)));
        }
        if let Some(instance) = &fault.scope.instance {
            self.world.instance(instance).map_err(unknown)?;
        }
        if let FaultKind::TerminateBefore { instance } | FaultKind::TerminateAfter { instance } = &fault.kind
        {
            let state = self.world.instance(instance).map_err(unknown)?.state;
            if matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated) {
                return Err(BadFault(format!("{instance} is {} already", state.as_str())));
            }
        }
        self.can_hit_places(fault)?;
        let mut faults: Vec<Fault> = self.faults().into_iter().map(|(_, fault)| fault).collect();
        faults.push(fault.clone());
        keeps(&self.config.timing, &faults)
            .map_err(|error| BadFault(format!("with the delays and the other faults, {error}")))
    }

    fn can_hit_places(&self, fault: &Fault) -> Result<(), BadFault> {
        let scope = &fault.scope;
        let no = |text: String| Err(BadFault(text));
        let subnet = scope.subnet.as_ref().map(|id| self.world.subnet(id)).transpose();
        let subnet = subnet.map_err(|error| BadFault(error.to_string()))?;
        let zones: BTreeSet<&str> =
            self.world.subnets.iter().map(|(_, subnet)| subnet.zone.as_str()).collect();
        if let Some(zone) = scope.zone.as_deref().filter(|zone| !zones.contains(zone)) {
            let known: Vec<&str> = zones.into_iter().collect();
            return no(format!("there is no subnet in zone {zone:?}; the zones are {}", known.join(", ")));
        }
        if let (Some(subnet), Some(zone)) = (subnet, &scope.zone)
            && subnet.zone != *zone
        {
            return no(format!("{} is in zone {}, not in {zone}", subnet.id, subnet.zone));
        }
        let Some(eni) = scope.eni.and_then(|eni| self.world.enis.get(&eni)) else { return Ok(()) };
        if let Some(subnet) = scope.subnet.filter(|subnet| *subnet != eni.subnet) {
            return no(format!("{} is in {}, not in {subnet}", eni.id, eni.subnet));
        }
        let its_zone = self.world.subnets.get(&eni.subnet).map(|subnet| subnet.zone.as_str());
        match (scope.zone.as_deref(), its_zone) {
            (Some(zone), Some(its)) if zone != its => {
                no(format!("{} is in zone {its}, not in {zone}", eni.id))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses delays and faults that together show what is not kept.
pub(super) fn keeps(timing: &Timing, faults: &[Fault]) -> Result<(), TooOld> {
    // Of several faults the longest counts in Describe calls. In metadata lags add up, and the longest memory looks back
    // from there.
    let describe = faults.iter().filter_map(|fault| match fault.kind {
        FaultKind::DescribeLags { by } if fault.scope.eni.is_none() => Some(by),
        _ => None,
    });
    let imds = |instance: Option<InstanceId>| -> Duration {
        let (mut lag, mut memory) = (Duration::ZERO, Duration::ZERO);
        for fault in
            faults.iter().filter(|fault| fault.scope.instance.is_none_or(|only| Some(only) == instance))
        {
            match fault.kind {
                FaultKind::ImdsLags { by } => lag += by,
                FaultKind::ImdsRemembers { for_ } => memory = memory.max(for_),
                _ => {}
            }
        }
        lag + memory
    };
    let instances = faults.iter().map(|fault| fault.scope.instance);
    let longest =
        timing.longest_lag(describe.max().unwrap_or_default(), instances.map(imds).max().unwrap_or_default());
    if longest > HORIZON { Err(TooOld(longest, HORIZON)) } else { Ok(()) }
}
