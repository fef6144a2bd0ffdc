//! Other settings, while the engine runs. Everything that decides reads them anew, so they hold from here on, as one.

use std::sync::Arc;

use holdfast_model::config::Config;
use holdfast_model::ledger::Change;
use holdfast_model::settings::ClusterSettings;
use holdfast_planner::desired_host;

use crate::engine::Engine;
use crate::world::World;

impl<W: World> Engine<W> {
    /// What the cluster said is kept for a start without it. Losing that costs asking again, so nothing waits for it.
    pub(crate) fn configure(&mut self, config: Arc<Config>, said: ClusterSettings) {
        if said != self.book.ledger().settings {
            self.book.commit_lazily(vec![Change::PutSettings(said)]);
            self.book.flush();
        }
        if config == self.config {
            return;
        }
        if config.eni_config.value != self.config.eni_config.value {
            self.observed.made_otherwise();
        }
        let nat = |config: &Config| desired_host(self.book.ledger(), config).nat;
        if nat(&config) != nat(&self.config) {
            // What is under way saw, or wrote, another table.
            self.nat_ready = false;
            self.before_look.outdated = true;
            self.mend_outdated = self.mending;
        }
        if config.metadata_only.value != self.config.metadata_only.value {
            // What the one has shown is no proof where the other is to be asked.
            self.observed.forget_reads();
        }
        let now = self.now();
        self.observed.reconfigured(&self.config, &config, &now);
        self.config = config;
        self.observe();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use holdfast_model::config::{Setting, WarmTargets};
    use holdfast_model::host::{HostAction, NatSeen};
    use holdfast_model::pool::PoolKey;
    use holdfast_model::settings::{SettingsLayer, SettingsPlace};
    use holdfast_model::warm::WarmMode;
    use holdfast_planner::explain::Source;

    use super::*;
    use crate::desk::{Desk, pass, request};
    use crate::pool_told::PoolTold;

    fn said() -> ClusterSettings {
        let place = SettingsPlace::ConfigMap("amazon-vpc-cni".to_owned());
        ClusterSettings { layers: vec![SettingsLayer { place, values: BTreeMap::default() }] }
    }

    fn with(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    #[tokio::test(start_paused = true)]
    async fn other_targets_hold_at_once_and_what_the_cluster_said_is_kept() {
        let few = WarmTargets { warm_enis: 0, warm_ips: 1, minimum_ips: 1, ..WarmTargets::default() };
        let many = WarmTargets { warm_enis: 0, warm_ips: 1, minimum_ips: 9, ..WarmTargets::default() };
        let desk = Desk::serving(with(|config| config.warm.value = few)).await;
        pass(120).await;
        let before = desk.changes_asked();
        desk.configure(with(|config| config.warm = Setting::from_environment(many)), said()).await;
        pass(5).await;
        assert!(desk.changes_asked() > before, "nothing was asked for");
        assert_eq!(desk.disk.ledger().settings, said());
    }

    /// What was learned by then holds at once, and the targets that are set when it is switched back.
    #[tokio::test(start_paused = true)]
    async fn learned_targets_are_switched_on_and_off_while_it_runs() {
        let desk = Desk::serving(Config::default()).await;
        let aims = |told: &PoolTold| {
            let explained = &told.pools[&PoolKey::DEFAULT];
            (told.mode, explained.source, explained.least)
        };
        for pod in ["a", "b"] {
            desk.add(pod).await.unwrap();
            pass(60).await;
        }
        // An ENI of a t3.small has three.
        assert_eq!(aims(&desk.pool().await), (WarmMode::Static, Source::Set, 3));
        let adaptive = || with(|config| config.warm_mode.value = WarmMode::Adaptive);
        desk.configure(adaptive(), ClusterSettings::default()).await;
        let (mode, learns, least) = aims(&desk.pool().await);
        assert!(matches!(learns, Source::SetWhileLearning(Some(_))), "{learns:?}");
        assert_eq!((mode, least), (WarmMode::Adaptive, 3));
        pass(3600).await;
        assert_eq!(aims(&desk.pool().await), (WarmMode::Adaptive, Source::Learned, 2));
        desk.configure(Config::default(), ClusterSettings::default()).await;
        assert_eq!(aims(&desk.pool().await), (WarmMode::Static, Source::Set, 3));
        desk.configure(adaptive(), ClusterSettings::default()).await;
        assert_eq!(
            aims(&desk.pool().await),
            (WarmMode::Adaptive, Source::Learned, 2),
            "it has not forgotten"
        );
    }

    /// A pod that is answered for before would reach nothing outside the VPC.
    #[tokio::test(start_paused = true)]
    async fn while_another_nat_table_is_not_written_no_pod_is_answered_for() {
        let desk = Desk::serving(with(|config| config.external_snat.value = true)).await;
        desk.add("a").await.unwrap();
        let slow = Duration::from_secs(3);
        desk.host.kernel().look_takes = (slow, Duration::ZERO);
        desk.host.kernel().apply_takes = slow;
        // A look is under way that compares with the table of before.
        desk.host.drifts();
        pass(2).await;
        desk.configure(Config::default(), said()).await;
        let mut adding = desk.adding(request("b"));
        pass(4).await;
        assert!(!adding.is_finished(), "answered before the table is written");
        desk.host.kernel().nat = NatSeen::Differs;
        pass(30).await;
        assert!((&mut adding).await.unwrap().is_ok());
        let applied = &desk.host.kernel().applied;
        assert!(applied.iter().any(|action| matches!(action, HostAction::ReplaceNat(_))), "{applied:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_of_before_that_is_just_being_written_is_not_the_one_that_is_wanted() {
        let desk = Desk::serving(Config::default()).await;
        desk.host.kernel().nat = NatSeen::Differs;
        desk.host.kernel().apply_takes = Duration::from_secs(5);
        desk.host.drifts();
        pass(2).await;
        desk.host.kernel().look_takes = (Duration::from_secs(10), Duration::ZERO);
        let excluded = vec!["192.168.0.0/16".parse().unwrap()];
        desk.configure(with(|config| config.snat_exclusions.value = excluded), said()).await;
        let adding = desk.adding(request("a"));
        pass(6).await;
        assert_eq!(desk.host.kernel().nat, NatSeen::AsWritten, "the old one is written");
        assert!(!adding.is_finished(), "answered before the new one is");
        pass(60).await;
        assert!(adding.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_again_changes_nothing() {
        let desk = Desk::serving(Config::default()).await;
        pass(60).await;
        desk.configure(Config::default(), ClusterSettings::default()).await;
        assert!(desk.add("a").await.is_ok());
        assert_eq!(desk.disk.ledger().settings, ClusterSettings::default());
    }
}
