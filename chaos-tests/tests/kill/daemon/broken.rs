//! Ways in which the daemon of this test can be broken: a test that has never failed is none.

use std::net::IpAddr;
use std::sync::Mutex;

use anyhow::Context;
use clap::ValueEnum;
use holdfast_datapath::netlink::{Change, LinkRef, LinkSettings, Rule, Socket};
use holdfast_datapath::netns;
use holdfast_model::host::HostAction;
use holdfast_model::lease::Lease;
use holdfast_ports::Netns;

/// Names the way, in the environment of the test.
pub(crate) const VARIABLE: &str = "HOLDFAST_KILL_BROKEN";

/// What the daemon does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broken {
    /// It says that a pod is wired, and has not begun.
    WiresNothing,
    /// Pods get a small MTU.
    SmallMtu,
    /// ENIs that are hot-plugged get no address, table and rule.
    SetsUpNoEni,
    /// Every second pod is told the address of the first.
    GivesOneTwice,
    /// Each start leaves a rule.
    LeavesARule,
}

impl Broken {
    /// What it does as it starts.
    pub(crate) fn start(self) -> anyhow::Result<()> {
        if self != Self::LeavesARule {
            return Ok(());
        }
        let to = Some("10.99.0.0/16".parse()?);
        match Socket::open()?.apply(&Change::AddRule(Rule { to, ..Rule::new(700, 77) })) {
            Err(error) if !error.is_present() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What it does to a pod that was wired in order.
    pub(crate) fn spoil_pod(self, pod: &Netns, ifname: &str) -> anyhow::Result<()> {
        if self != Self::SmallMtu {
            return Ok(());
        }
        let settings = LinkSettings { mtu: Some(1400), ..LinkSettings::default() };
        let link = LinkRef::Name(ifname.to_owned());
        netns::socket_in(pod)?.apply(&Change::SetLink(link, settings)).context("a small MTU")
    }

    /// What it does of what it should do.
    pub(crate) fn does(self, action: &HostAction) -> bool {
        self != Self::SetsUpNoEni || !matches!(action, HostAction::EnsureEni(_))
    }

    /// What it tells the runtime.
    pub(crate) fn tell(self, lease: &mut Lease) {
        static FIRST: Mutex<Option<IpAddr>> = Mutex::new(None);
        if self == Self::GivesOneTwice {
            let mut first = FIRST.lock().expect("nobody panics with it");
            lease.faces[0].address = *first.get_or_insert(lease.faces[0].address);
        }
    }
}
