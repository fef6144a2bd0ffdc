//! What the cluster says of the settings.

use std::collections::BTreeMap;

use holdfast_migrations::v3;
use holdfast_model::settings::{ClusterSettings, SettingText, SettingsLayer, SettingsPlace};

use super::{BadRecord, Record};

/// What the place of an ENIConfig is written as begins with: no ConfigMap has a name with a slash. A version that does not know it
/// takes it for a ConfigMap whose one value is no setting, and so for nothing.
const ENI_CONFIG: &str = "eniconfigs/";

impl Record for ClusterSettings {
    type Frozen = v3::Settings;

    fn freeze(&self) -> v3::Settings {
        v3::Settings { layers: self.layers.iter().map(freeze_layer).collect() }
    }

    fn thaw(frozen: v3::Settings) -> Result<Self, BadRecord> {
        Ok(Self { layers: frozen.layers.into_iter().map(thaw_layer).collect::<Result<_, _>>()? })
    }
}

fn freeze_layer(layer: &SettingsLayer) -> v3::SettingsLayer {
    let place = match &layer.place {
        SettingsPlace::ConfigMap(name) => v3::SettingsPlace::ConfigMap { name: name.clone() },
        SettingsPlace::NodeGroup(name) => v3::SettingsPlace::NodeGroup { name: name.clone() },
        SettingsPlace::EniConfig(name) => {
            v3::SettingsPlace::ConfigMap { name: format!("{ENI_CONFIG}{name}") }
        }
    };
    let setting = |(variable, given): (&String, &SettingText)| v3::Setting {
        variable: variable.clone(),
        key: given.key.clone(),
        text: given.text.clone(),
    };
    v3::SettingsLayer { place, values: layer.values.iter().map(setting).collect() }
}

fn thaw_layer(frozen: v3::SettingsLayer) -> Result<SettingsLayer, BadRecord> {
    let place = match frozen.place {
        v3::SettingsPlace::ConfigMap { name } => match name.strip_prefix(ENI_CONFIG) {
            Some(name) => SettingsPlace::EniConfig(name.to_owned()),
            None => SettingsPlace::ConfigMap(name),
        },
        v3::SettingsPlace::NodeGroup { name } => SettingsPlace::NodeGroup(name),
    };
    let mut layer = SettingsLayer { place, values: BTreeMap::default() };
    for v3::Setting { variable, key, text } in frozen.values {
        if layer.values.insert(variable.clone(), SettingText { key, text }).is_some() {
            return Err(BadRecord(format!("{variable} is set twice in {}", layer.place)));
        }
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version that knows of no ENIConfig reads them as ConfigMaps, and none of their values as a setting.
    #[test]
    fn an_eni_config_comes_back_as_one_and_no_config_map_is_taken_for_it() {
        let layer = |place| SettingsLayer {
            place,
            values: [("X".to_owned(), SettingText { key: "spec".to_owned(), text: "{}".to_owned() })].into(),
        };
        let said = ClusterSettings {
            layers: vec![
                layer(SettingsPlace::ConfigMap("eniconfigs".to_owned())),
                layer(SettingsPlace::NodeGroup("eniconfigs/zone-a".to_owned())),
                layer(SettingsPlace::EniConfig("zone-a".to_owned())),
            ],
        };
        let frozen = said.freeze();
        let name = "eniconfigs/zone-a".to_owned();
        assert_eq!(frozen.layers[2].place, v3::SettingsPlace::ConfigMap { name });
        assert_eq!(ClusterSettings::thaw(frozen).ok(), Some(said));
    }
}
