//! Introspection: what the Amazon VPC CNI shows on its local port, in its shapes, for the support tools that ask it.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_model::config::Config;
use holdfast_model::eni_config::AppliedEniConfig;
use serde::Serialize;
use serde_json::Value;

use crate::enis::cards;
use crate::settings::{of_network, of_pool};
use crate::site::{Page, Site};
use crate::snapshot::{Shared, Source};

const ENIS: &str = "/v1/enis";
const ENI_CONFIGS: &str = "/v1/eni-configs";
const NETWORK_SETTINGS: &str = "/v1/networkutils-env-settings";
const POOL_SETTINGS: &str = "/v1/ipamd-env-settings";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Root {
    available_commands: [&'static str; 4],
}

/// The site of the introspection port.
#[derive(Debug)]
pub struct Introspection<S> {
    source: Arc<S>,
    enis: Shared<Option<Bytes>>,
}

impl<S: Source> Introspection<S> {
    /// Shows what the source says when it is asked.
    pub fn new(source: Arc<S>) -> Self {
        Self { source, enis: Shared::default() }
    }

    async fn enis(&self) -> Option<Bytes> {
        let (ledger, now) = self.source.ledger().await?;
        serde_json::to_vec(&cards(&ledger, &now)).ok().map(Bytes::from)
    }
}

/// The name of the ENIConfig that applies, as upstream has it.
fn eni_config(config: &Config) -> Page {
    match config.eni_config.value.as_ref().map(AppliedEniConfig::name) {
        Some(Some(name)) => Page::json(Value::from(name).to_string()),
        Some(None) => Page::not_found("which ENIConfig applies has not been read yet"),
        None => Page::not_found("no ENIConfig applies: AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG is off"),
    }
}

impl<S: Source> Site for Introspection<S> {
    async fn page(&self, path: &str) -> Page {
        match path {
            ENIS => match &*self.enis.get(self.enis()).await {
                Some(enis) => Page::json(enis.clone()),
                None => Page::not_now("the ledger is not open, or the daemon is busy"),
            },
            ENI_CONFIGS => eni_config(&self.source.config()),
            NETWORK_SETTINGS => Page::json(of_network(&self.source.config()).to_string()),
            POOL_SETTINGS => Page::json(of_pool(&self.source.config()).to_string()),
            _ => {
                let root = Root { available_commands: [ENIS, ENI_CONFIGS, NETWORK_SETTINGS, POOL_SETTINGS] };
                serde_json::to_vec(&root).map_or_else(|error| Page::failed(error.to_string()), Page::json)
            }
        }
    }
}
