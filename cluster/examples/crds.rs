//! Writes the definitions of the custom resources that the chart installs, one file each, to the folder given or to
//! `deploy/chart/holdfast/crds`.

use std::path::PathBuf;

#[path = "crds/render.rs"]
mod render;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| render::FOLDER.into(), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    for (file, text) in render::files()? {
        std::fs::write(folder.join(file), text)?;
    }
    Ok(())
}
