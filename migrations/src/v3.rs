//! Records of schema 3, and the key of its new table. Frozen: no field, variant or order here ever changes; a new
//! schema gets a new module. What is not here is as in schema 2.

#![expect(missing_docs, reason = "frozen copies; the model documents every field")]

use serde::{Deserialize, Serialize};

pub use crate::v2::*;

/// The key of the one row of table `settings`.
pub const SETTINGS_KEY: &[u8] = b"cluster";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingsPlace {
    ConfigMap { name: String },
    NodeGroup { name: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub variable: String,
    pub key: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsLayer {
    pub place: SettingsPlace,
    pub values: Vec<Setting>,
}

/// Table `settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub layers: Vec<SettingsLayer>,
}
