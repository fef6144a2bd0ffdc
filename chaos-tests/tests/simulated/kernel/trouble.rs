//! A kernel that refuses: each change fails before anything of it is done, or half-way, and what was done by then stays.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_model::eni::EniSlot;
use holdfast_ports::HostFault;
use ipnet::IpNet;

use super::Kernel;

/// How long a link takes to go that does not want to.
pub(crate) const LINGERS: Duration = Duration::from_secs(20);

/// What a daemon does to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Wires a pod: fails with nothing made, with the pair there, with the host's side there, or as it is read back.
    Wire,
    /// Removes a pod's routes and rules: fails with both there, or with the rules there.
    Unwire,
    /// Removes links: fails with all there, or with half of them there; or takes long.
    RemoveLinks,
    /// Sets an ENI up: fails with nothing done, with its link as it should be, or with its address there and no route.
    SetUpEni,
    /// Puts right what drifted: fails.
    Mend,
    /// Looks at everything: fails.
    Observe,
}

impl Step {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Wire, Self::Unwire, Self::RemoveLinks, Self::SetUpEni, Self::Mend, Self::Observe];

    /// In how many ways it fails.
    fn ways(self) -> u64 {
        match self {
            Self::Wire => 4,
            Self::RemoveLinks | Self::SetUpEni => 3,
            Self::Unwire => 2,
            Self::Mend | Self::Observe => 1,
        }
    }
}

/// How often steps fail, in a thousand, and how often they did.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    often: BTreeMap<Step, u32>,
    hits: BTreeMap<Step, u64>,
    random: u64,
    paused: bool,
    /// Addresses that no pod can be wired with.
    refused: Vec<IpNet>,
    /// The device whose ENI cannot be set up.
    refused_device: Option<u16>,
}

impl Trouble {
    /// In which of its ways this step fails now, if it does.
    pub(super) fn draw(&mut self, step: Step) -> Option<u64> {
        let often = *self.often.get(&step).filter(|_| !self.paused)?;
        // A linear congruence (Knuth's MMIX): its upper bits are random enough.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = self.random >> 33;
        if draw % 1000 >= u64::from(often) {
            return None;
        }
        *self.hits.entry(step).or_default() += 1;
        Some(draw / 1000 % step.ways())
    }

    pub(super) fn refuses(&self, address: IpAddr) -> bool {
        self.refused.iter().any(|net| net.contains(&address))
    }

    pub(super) fn refuses_device(&self, slot: EniSlot) -> bool {
        self.refused_device == Some(slot.device)
    }
}

impl Kernel {
    /// From now on these steps fail so often, in a thousand; all others succeed.
    pub(crate) fn set_trouble(&self, often: BTreeMap<Step, u32>, seed: u64) {
        let trouble = &mut self.lock().trouble;
        (trouble.often, trouble.random, trouble.paused) = (often, seed, false);
    }

    /// Nothing fails for a while, or what was set does again.
    pub(crate) fn pause_trouble(&self, paused: bool) {
        self.lock().trouble.paused = paused;
    }

    /// From now on no pod can be wired with these addresses.
    pub(crate) fn refuse(&self, refused: Vec<IpNet>) {
        self.lock().trouble.refused = refused;
    }

    /// From now on an ENI at this place cannot be set up.
    pub(crate) fn refuse_device(&self, device: u16) {
        self.lock().trouble.refused_device = Some(device);
    }

    /// How often steps failed since this was asked last.
    pub(crate) fn take_trouble(&self) -> BTreeMap<Step, u64> {
        std::mem::take(&mut self.lock().trouble.hits)
    }
}

/// What the kernel says then.
pub(super) fn refused(step: Step) -> HostFault {
    HostFault::Refused { step: format!("{step:?}"), cause: "No buffer space available".to_owned() }
}
