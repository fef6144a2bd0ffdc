//! What the ENIConfig says, from a file: for a node that is in no cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast_cluster::watch::objects::EniSource;
use holdfast_engine::EngineHandle;
use holdfast_model::settings::SettingsLayer;
use serde::Deserialize;

use crate::aside;
use crate::keeper::Keeper;
use crate::settings::{eni_config, with_eni_config};

/// How soon a change of the file is seen.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// No ENIConfig is as long.
const LONGEST: u64 = 64 * 1024;

/// As the API server has it, in JSON.
#[derive(Deserialize)]
struct EniConfigFile {
    metadata: Metadata,
    spec: EniSource,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

/// Has the engine go by what is in the file, for as long as it lives.
pub(crate) async fn go_by(file: PathBuf, mut keeper: Keeper, engine: EngineHandle) {
    loop {
        let looked = file.clone();
        // A disk may hang; what was said before holds meanwhile.
        if let Some(layer) = aside::look(move || look(&looked)).await {
            let mut said = keeper.said().clone();
            with_eni_config(&mut said, layer);
            if said != *keeper.said() {
                let read = keeper.hear(&said, &[]);
                if engine.configure(Arc::clone(&read.config), said).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(LOOKED_AT_EVERY).await;
    }
}

fn look(file: &Path) -> SettingsLayer {
    let name = || file.display().to_string();
    match read(file) {
        Ok(None) => eni_config::layer(&name(), None),
        Ok(Some(config)) => eni_config::layer(&config.metadata.name, Some(&Ok(config.spec))),
        Err(cause) => eni_config::layer(&name(), Some(&Err(cause))),
    }
}

/// Nothing where there is no file.
fn read(file: &Path) -> Result<Option<EniConfigFile>, String> {
    use std::io::{ErrorKind, Read};
    let opened = match std::fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = String::new();
    opened.take(LONGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map(Some).map_err(|error| error.to_string())
}
