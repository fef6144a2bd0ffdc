//! The settings that hold now. They change as one, when the cluster says something else.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_model::settings::ClusterSettings;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::logging::Level;
use crate::settings::{self, Layers, Problem, Read};

/// Variables of which things that are there keep what they were made with.
const FOR_NEWCOMERS: &[(&str, &str)] = &[
    ("AWS_VPC_K8S_CNI_VETHPREFIX", "links that are there keep their names"),
    ("POD_MTU", "pods that run keep theirs, and the network configuration is written at the next start"),
];

/// Keeps the settings, and tells what changes.
pub(crate) struct Keeper {
    environment: fn(&str) -> Option<String>,
    current: watch::Sender<Arc<Read>>,
    /// What the cluster said last.
    said: ClusterSettings,
    level: Level,
    /// What is wrong with them and was told.
    told: BTreeSet<String>,
}

impl Keeper {
    /// With what was read from the environment alone, which has been told.
    pub(crate) fn new(environment: fn(&str) -> Option<String>, read: Read, level: Level) -> Self {
        let told = read.warnings().into_iter().collect();
        let said = ClusterSettings::default();
        Self { environment, current: watch::Sender::new(Arc::new(read)), said, level, told }
    }

    /// What holds now, and later.
    pub(crate) fn current(&self) -> watch::Receiver<Arc<Read>> {
        self.current.subscribe()
    }

    /// What the cluster said last.
    pub(crate) fn said(&self) -> &ClusterSettings {
        &self.said
    }

    /// What would hold by this.
    pub(crate) fn would_read(&self, said: &ClusterSettings) -> Read {
        settings::read(&Layers::new(self.environment, said))
    }

    /// From now on this holds, which the cluster says, and of which that is wrong.
    pub(crate) fn hear(&mut self, said: &ClusterSettings, wrong: &[Problem]) -> Arc<Read> {
        let read = self.would_read(said);
        self.said = said.clone();
        let left_out = wrong.iter().map(|problem| format!("{problem}; it is left out"));
        let wrong: BTreeSet<String> = read.warnings().into_iter().chain(left_out).collect();
        for problem in wrong.difference(&self.told) {
            tracing::warn!("{problem}");
        }
        self.told = wrong;
        let read = Arc::new(read);
        let before = self.current.send_replace(Arc::clone(&read));
        for change in changes(&before.by_name, &read.by_name) {
            tracing::info!("{change}");
        }
        if let (now, true) =
            (&read.config.eni_config.value, read.config.eni_config != before.config.eni_config)
        {
            tracing::info!(eni_config = ?now, "from what pods' interfaces are made");
        }
        self.level.set(read.log_level);
        read
    }
}

/// What is otherwise, in words.
fn changes(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let changed = now.iter().filter_map(|(name, now)| {
        let was = before.get(name).filter(|was| was["value"] != now["value"])?;
        let whose = now["given"].as_str().or(now["origin"].as_str()).unwrap_or_default();
        let kept = FOR_NEWCOMERS.iter().find(|(known, _)| known == name);
        let kept = kept.map_or(String::new(), |(_, words)| format!("; {words}"));
        Some(format!("{name} is {} now, and was {} ({whose}){kept}", now["value"], was["value"]))
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use holdfast_model::settings::{SettingText, SettingsLayer, SettingsPlace};
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    fn says(values: &[(&str, &str)]) -> ClusterSettings {
        let text = |text: &str| SettingText { key: "key".to_owned(), text: text.to_owned() };
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        ClusterSettings {
            layers: vec![SettingsLayer { place: SettingsPlace::ConfigMap("aws-node".to_owned()), values }],
        }
    }

    fn alone(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn what_the_cluster_says_holds_for_everybody_until_it_says_something_else() {
        static LEVELS: Mutex<Vec<LevelFilter>> = Mutex::new(Vec::new());
        let level = Level::of(|level| LEVELS.lock().unwrap().push(level));
        let read = settings::read(&Layers::new(alone, &ClusterSettings::default()));
        let mut keeper = Keeper::new(alone, read, level);
        let current = keeper.current();
        assert_eq!(current.borrow().config.warm.value.warm_ips, 0);
        let said = says(&[("WARM_IP_TARGET", "5"), ("AWS_VPC_K8S_CNI_LOGLEVEL", "debug")]);
        assert_eq!(keeper.hear(&said, &[]).config.warm.value.warm_ips, 5);
        assert_eq!(current.borrow().config.warm.value.warm_ips, 5);
        keeper.hear(&ClusterSettings::default(), &[]);
        assert_eq!(current.borrow().config.warm.value.warm_ips, 0);
        assert_eq!(*LEVELS.lock().unwrap(), [LevelFilter::DEBUG, LevelFilter::INFO]);
    }

    #[test]
    fn what_is_wrong_is_told_once() {
        let read = settings::read(&Layers::new(alone, &ClusterSettings::default()));
        let mut keeper = Keeper::new(alone, read, Level::of(|_| {}));
        keeper.hear(&says(&[("MAX_ENI", "many")]), &[]);
        let told = keeper.told.clone();
        assert_eq!(told.len(), 1, "{told:?}");
        keeper.hear(&says(&[("MAX_ENI", "many")]), &[]);
        assert_eq!(keeper.told, told);
        keeper.hear(&ClusterSettings::default(), &[]);
        assert!(keeper.told.is_empty(), "should it come again, it is told again");
    }

    #[test]
    fn a_change_says_what_was_and_what_is_and_for_whom() {
        let of = |said: &ClusterSettings| settings::read(&Layers::new(alone, said)).by_name;
        let told =
            changes(&of(&ClusterSettings::default()), &of(&says(&[("POD_MTU", "1500"), ("MAX_ENI", "2")])));
        assert_eq!(
            told,
            [
                "MAX_ENI is 2 now, and was null (key in ConfigMap aws-node)",
                "POD_MTU is 1500 now, and was 9001 (key in ConfigMap aws-node); pods that run keep theirs, and the network \
                 configuration is written at the next start"
            ]
        );
        assert_eq!(changes(&of(&says(&[])), &of(&ClusterSettings::default())), Vec::<String>::new());
    }
}
