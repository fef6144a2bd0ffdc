//! Start: what was found, who we are, and what was cut off.
//!
//! Nothing here needs EC2 or the metadata service when the ledger knows the node: a restart serves as soon as the
//! kernel was read.

use std::time::Duration;

use holdfast_model::block::{Block, Unit};
use holdfast_model::chain;
use holdfast_model::eni::EniRecord;
use holdfast_model::ledger::Change;
use holdfast_model::node::NodeIdentity;
use holdfast_planner::{self as planner, Here, Recovery, Share};
use holdfast_ports::{Clock, HintAsked, Metadata, MetadataError, MetadataHint};

use crate::book::Then;
use crate::engine::Engine;
use crate::event::Event;
use crate::timers::{HINT_AGAIN, HINT_EVERY, IDENTITY_RETRY, NAT_PATIENCE, VPC_EVERY};
use crate::world::World;

impl<W: World> Engine<W> {
    pub(crate) fn start(&mut self) {
        self.observed.share = Share::of(self.ports.clock.random());
        let cut_off = planner::cut_off(self.book.ledger(), &self.now());
        self.book.commit(cut_off, Then::Nothing);
        self.observe();
        self.watch_for_drift();
        self.ask_identity();
    }

    /// Whether the ledger was not brought to this boot yet.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.book.ledger().node.as_ref().is_some_and(|node| node.boot != self.now().boot)
    }

    pub(crate) fn recover(&mut self, identity: Option<&NodeIdentity>) -> Recovery {
        let now = self.now();
        let here = Here { identity, macs: self.macs.as_ref() };
        let recovered = planner::recover(&self.desired(), self.book.ledger(), here, &now);
        match recovered.kind {
            Recovery::Fresh | Recovery::SameBoot => {}
            Recovery::NewBoot => tracing::info!("the node was restarted: all sandboxes are gone"),
            Recovery::Foreign => {
                tracing::warn!("the ledger is another instance's; it is forgotten");
                // What EC2 has shown was of that one.
                self.observed.forget_reads();
            }
            // The host's network is about to be read.
            Recovery::Doubtful if self.macs.is_none() => {}
            Recovery::Doubtful if identity.is_none() => tracing::warn!(
                "the node was restarted, and the primary ENI that the ledger knows has no link here (yet): waiting for it, \
                 or for the metadata service to say whose ledger this is"
            ),
            Recovery::Doubtful => {
                let told = identity.map(|identity| identity.instance.to_string());
                let known = self.book.ledger().node.as_ref().map(|node| node.identity.instance.to_string());
                tracing::error!(
                    ?told,
                    ?known,
                    "the instance metadata service names another instance, and the links of this host do not bear \
                     that out: pods are kept, and the service is asked again"
                );
            }
        }
        self.book.commit(recovered.changes, Then::Nothing);
        recovered.kind
    }

    /// The kernel was read for the first time.
    pub(crate) fn first_look(&mut self) {
        let now = self.now();
        // Of what we changed just before, the metadata service cannot tell whether others have changed it, too.
        if matches!(self.recover(None), Recovery::SameBoot | Recovery::NewBoot)
            && planner::hint_settles(self.book.ledger(), &now).is_none()
        {
            self.observed.goes_on(&now);
        }
        self.looked = true;
        self.be_patient_for_nat();
        self.take_up();
    }

    /// From now on, once: before it is known who we are there is no table to wait for, and no pod is answered for.
    fn be_patient_for_nat(&mut self) {
        if self.looked && !self.nat_ready && self.timers.nat.is_none() && self.book.ledger().node.is_some() {
            self.timers.nat = Some(self.now().boottime.after(NAT_PATIENCE));
        }
    }

    pub(crate) fn ask_identity(&mut self) {
        if self.asking_identity || self.identified {
            return;
        }
        self.asking_identity = true;
        let metadata = self.ports.metadata.clone();
        self.beside(async move { Event::Identity(metadata.identity().await) });
    }

    pub(crate) fn identity(&mut self, result: Result<NodeIdentity, MetadataError>) {
        let now = self.now();
        self.asking_identity = false;
        match result {
            Ok(identity) => {
                self.observed.metadata_answered(&now);
                if self.macs.is_none() {
                    // Whether the kernel bears it out is known when it was read.
                    self.told = Some(identity);
                    return;
                }
                if self.recover(Some(&identity)) == Recovery::Doubtful {
                    self.ask_identity_later();
                    return;
                }
                tracing::info!(instance = %identity.instance, r#type = %identity.instance_type, "this node");
                self.identified = true;
                self.observed.who_is_known();
                // What others did while no daemon ran is to be known before an address is given that was taken away; of a
                // node that reads EC2 at once, it tells nothing new.
                let within = if self.observed.waits_its_turn() {
                    Duration::ZERO
                } else {
                    HINT_EVERY / 2 + self.observed.share.part(HINT_EVERY / 2)
                };
                self.timers.hint = Some(now.boottime.after(within));
                // The NAT table depends on who we are.
                self.be_patient_for_nat();
                self.observe();
            }
            Err(error) => {
                if self.book.ledger().node.is_none() {
                    tracing::warn!(error = %chain(&error), "this node is not known yet");
                } else {
                    tracing::debug!(error = %chain(&error), "the metadata service does not answer");
                }
                self.ask_identity_later();
            }
        }
    }

    /// The host's links were read: what metadata said before can be believed, or not; and while it is silent, whether this
    /// ledger is this node's.
    pub(crate) fn weigh_identity(&mut self) {
        if let Some(identity) = self.told.take() {
            self.identity(Ok(identity));
        }
        if !self.identified {
            let here = Here { identity: None, macs: self.macs.as_ref() };
            self.observed.weigh_who(self.book.ledger(), here);
        }
    }

    fn ask_identity_later(&mut self) {
        self.timers.identity = Some(self.now().boottime.after(self.identity_pause));
        self.identity_pause = (self.identity_pause * 2).min(IDENTITY_RETRY.1);
    }

    pub(crate) fn ask_hint(&mut self) {
        if self.asking_hint {
            return;
        }
        self.asking_hint = true;
        let metadata = self.ports.metadata.clone();
        let asked = self.hint_asked();
        self.hints_asked = self.hints_asked.wrapping_add(1);
        self.beside(async move { Event::Hint(metadata.hint(asked).await) });
    }

    /// What the ledger knows need not be told.
    fn hint_asked(&self) -> HintAsked {
        let ledger = self.book.ledger();
        let ranged = |eni: &&EniRecord| {
            ledger.subnets.get(&eni.source.subnet).is_some_and(|subnet| subnet.ipv4.is_some())
        };
        HintAsked {
            primary: ledger.node.as_ref().map(|node| node.identity.primary_mac),
            ranges_known: ledger.enis.values().filter(ranged).map(|eni| eni.mac).collect(),
            vpc_known: !self.hints_asked.is_multiple_of(VPC_EVERY),
            prefixes: {
                let wanted = Some(self.desired().unit()).filter(|unit| *unit != Unit::Address);
                let had = ledger.blocks.values().filter(|block| !block.is_host());
                had.map(Block::family).chain(wanted.map(Unit::family)).collect()
            },
        }
    }

    pub(crate) fn hint(&mut self, result: Result<MetadataHint, MetadataError>) {
        let now = self.now();
        self.asking_hint = false;
        // The first shows what changed in EC2 a while ago, the second what changed just before the start.
        let early = self.observed.waits_its_turn() && self.hints_asked == 1;
        let next = now.boottime.after(if early { HINT_AGAIN } else { HINT_EVERY });
        // Sooner where this one cannot tell of all, lest two whole rounds pass over what others did meanwhile.
        let settles = planner::hint_settles(self.book.ledger(), &now);
        self.timers.hint = Some(settles.map_or(next, |at| at.min(next)));
        let hint = match result {
            Ok(hint) => hint,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "no hint from the metadata service");
                return;
            }
        };
        let differs = planner::compare_hint(
            self.book.ledger(),
            &hint.enis,
            &hint.security_groups,
            &hint.prefixes,
            &now,
        );
        self.observed.hinted(differs, &now);
        self.observed.metadata_answered(&now);
        let mut changes = planner::learn_cidrs(self.book.ledger(), &hint.subnet_cidrs);
        if let Some(node) = &self.book.ledger().node
            && !hint.vpc_cidrs.is_empty()
            && node.identity.vpc_cidrs != hint.vpc_cidrs
        {
            tracing::info!(ranges = ?hint.vpc_cidrs, "the VPC's address ranges changed");
            let mut node = node.clone();
            node.identity.vpc_cidrs = hint.vpc_cidrs;
            changes.push(Change::PutNode(node));
        }
        if !changes.is_empty() {
            self.book.commit(changes, Then::Nothing);
            self.observe();
        }
    }
}
