//! Custom networking: which ENIConfig applies to the node, and what it says, as it is kept among what the cluster says last.

use std::collections::BTreeMap;

use holdfast_cluster::watch::objects::EniSource;
use holdfast_model::eni_config::{AppliedEniConfig, EniConfig};
use holdfast_model::ids::{SecurityGroupId, SubnetId};
use holdfast_model::settings::{ClusterSettings, SettingText, SettingsLayer, SettingsPlace};
use serde::{Deserialize, Serialize};

use super::reader::{Bad, Reader};

/// Variables that say where the name of the node's ENIConfig is.
pub(super) const ANNOTATION: &str = "ENI_CONFIG_ANNOTATION_DEF";
pub(super) const LABEL: &str = "ENI_CONFIG_LABEL_DEF";

/// Under which an ENIConfig's word is kept. It is nobody's to set.
const KEPT_AS: &str = "HOLDFAST_ENI_CONFIG";

/// What both are unless they are set.
const USUAL_KEY: &str = "k8s.amazonaws.com/eniConfig";
/// A label that names one before everything else (reference: vpc-cni 6.8).
const EXTERNAL: &str = "vpc.amazonaws.com/externalEniConfig";
/// The one that applies where nothing names another one.
const DEFAULT: &str = "default";

/// As many security groups EC2 puts on an ENI, whatever the account's quota.
const MOST_GROUPS: usize = 16;
/// No id of EC2's is as long.
const LONGEST_ID: usize = 64;
/// No object's name is longer.
const LONGEST_NAME: usize = 253;
/// As much of a mistake as people read.
const SHOWN: usize = 256;

/// Where a node says which ENIConfig applies to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    annotation: String,
    label: String,
}

impl Naming {
    pub(super) fn read<F: Fn(&str) -> Option<String>>(reader: &mut Reader<'_, F>) -> Self {
        let mut key =
            |name| reader.get(name, Bad::Ignored, USUAL_KEY.to_owned(), |text| Ok(text.to_owned())).value;
        Self { annotation: key(ANNOTATION), label: key(LABEL) }
    }

    /// The name of the one that applies to a node with these.
    pub(crate) fn name_of<'a>(
        &self,
        labels: &'a BTreeMap<String, String>,
        annotations: &'a BTreeMap<String, String>,
    ) -> &'a str {
        let external = labels.get(EXTERNAL);
        let named = [external, annotations.get(&self.annotation), labels.get(&self.label)];
        named.into_iter().flatten().find(|name| !name.is_empty()).map_or(DEFAULT, String::as_str)
    }
}

/// What is kept of an ENIConfig.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Said {
    #[serde(rename_all = "camelCase")]
    Is {
        subnet: String,
        security_groups: Vec<String>,
    },
    Missing,
    Wrong(String),
}

/// What an ENIConfig of this name says; `None`: there is none.
pub(crate) fn layer(name: &str, says: Option<&Result<EniSource, String>>) -> SettingsLayer {
    let said = match says {
        None => Said::Missing,
        Some(Err(cause)) => Said::Wrong(cause.chars().take(SHOWN).collect()),
        Some(Ok(source)) => checked(source).unwrap_or_else(Said::Wrong),
    };
    let text = serde_json::to_string(&said).expect("text and lists of it can be written");
    let given = SettingText { key: "spec".to_owned(), text };
    SettingsLayer { place: place(name), values: BTreeMap::from([(KEPT_AS.to_owned(), given)]) }
}

/// An annotation may say more than any object's name is long.
fn place(name: &str) -> SettingsPlace {
    SettingsPlace::EniConfig(name.chars().take(LONGEST_NAME).collect())
}

/// What EC2 would not take is not asked of it.
fn checked(source: &EniSource) -> Result<Said, String> {
    let id = |text: &String, kind: &str| {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if text.starts_with(kind) && text.len() > kind.len() && text.len() <= LONGEST_ID && plain {
            return Ok(text.clone());
        }
        let shown: String = text.chars().take(LONGEST_ID).collect();
        Err(format!("{shown:?} is no id like {kind}0123456789abcdef0"))
    };
    let groups = source.security_groups.as_deref().unwrap_or_default();
    if groups.len() > MOST_GROUPS {
        return Err(format!("it has {} security groups, and EC2 takes {MOST_GROUPS} at most", groups.len()));
    }
    Ok(Said::Is {
        subnet: id(&source.subnet, "subnet-")?,
        security_groups: groups.iter().map(|group| id(group, "sg-")).collect::<Result<_, _>>()?,
    })
}

/// What is known by what the cluster said last.
pub(super) fn applied(cluster: &ClusterSettings) -> AppliedEniConfig {
    let kept = cluster.layers.iter().rev().find_map(|layer| match &layer.place {
        SettingsPlace::EniConfig(name) => Some((name.clone(), layer.values.get(KEPT_AS)?)),
        SettingsPlace::ConfigMap(_) | SettingsPlace::NodeGroup(_) => None,
    });
    let Some((name, given)) = kept else { return AppliedEniConfig::Untold };
    match serde_json::from_str(&given.text) {
        Ok(Said::Is { subnet, security_groups }) => AppliedEniConfig::Is(EniConfig {
            name,
            subnet: SubnetId::new(subnet),
            security_groups: security_groups.into_iter().map(SecurityGroupId::new).collect(),
        }),
        Ok(Said::Missing) => AppliedEniConfig::Missing { name },
        Ok(Said::Wrong(cause)) => AppliedEniConfig::Wrong { name, cause },
        // Of another version: it is heard again.
        Err(_unknown) => AppliedEniConfig::Untold,
    }
}

/// What was said before of this one, while it is not known whether that still holds.
pub(crate) fn kept<'a>(before: &'a ClusterSettings, name: &str) -> Option<&'a SettingsLayer> {
    let place = place(name);
    before.layers.iter().find(|layer| layer.place == place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn source(subnet: &str, groups: &[&str]) -> EniSource {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        EniSource { subnet: subnet.to_owned(), security_groups: Some(groups) }
    }

    fn heard(says: Option<&Result<EniSource, String>>) -> AppliedEniConfig {
        applied(&ClusterSettings { layers: vec![layer("zone-a", says)] })
    }

    #[test]
    fn the_annotation_wins_over_the_label_and_the_external_label_over_both() {
        let usual = Naming { annotation: USUAL_KEY.to_owned(), label: USUAL_KEY.to_owned() };
        let zone = Naming { label: "topology.kubernetes.io/zone".to_owned(), ..usual.clone() };
        let label = [(USUAL_KEY, "by-label"), ("topology.kubernetes.io/zone", "zone-a")];
        for (naming, labels, annotations, name) in [
            (&usual, &[][..], &[][..], "default"),
            (&usual, &label[..], &[], "by-label"),
            (&zone, &label[..], &[], "zone-a"),
            (&usual, &label[..], &[(USUAL_KEY, "by-annotation")], "by-annotation"),
            (&usual, &label[..], &[(USUAL_KEY, "")], "by-label"),
            (&usual, &[(EXTERNAL, "given"), label[0]], &[(USUAL_KEY, "by-annotation")], "given"),
        ] {
            assert_eq!(naming.name_of(&map(labels), &map(annotations)), name);
        }
    }

    #[test]
    fn what_it_says_is_kept_as_it_was_said() {
        let name = "zone-a".to_owned();
        let says = Ok(source("subnet-0a", &["sg-1", "sg-2"]));
        let groups = ["sg-1", "sg-2"].map(SecurityGroupId::new).into();
        let subnet = SubnetId::new("subnet-0a");
        let is = EniConfig { name: name.clone(), subnet, security_groups: groups };
        assert_eq!(heard(Some(&says)), AppliedEniConfig::Is(is));
        assert_eq!(heard(None), AppliedEniConfig::Missing { name: name.clone() });
        let wrong = AppliedEniConfig::Wrong { name, cause: "no subnet".to_owned() };
        assert_eq!(heard(Some(&Err("no subnet".to_owned()))), wrong);
        assert_eq!(applied(&ClusterSettings::default()), AppliedEniConfig::Untold);
    }

    /// Whatever is in it, EC2 is not asked for nonsense, and what is kept has a bound.
    #[test]
    fn nonsense_is_wrong_and_short() {
        let many = vec!["sg-1"; 17];
        let long = format!("subnet-{}", "0".repeat(10_000));
        for bad in [
            source("", &[]),
            source("subnet-", &[]),
            source("sg-1", &[]),
            source(&long, &[]),
            source("subnet-1 ", &[]),
            source("subnet-1", &["default"]),
            source("subnet-1", &many),
        ] {
            assert!(matches!(heard(Some(&Ok(bad.clone()))), AppliedEniConfig::Wrong { .. }), "{bad:?}");
            assert!(layer("zone-a", Some(&Ok(bad))).bytes() < 1024);
        }
        assert!(layer("zone-a", Some(&Err(long.clone()))).bytes() < 1024);
        assert!(layer(&long, None).bytes() < 1024);
    }
}
