//! The one image that sandboxes run: a static busybox, packed here so that nothing is pulled from anywhere.
//!
//! The format is that of `docker save` (a tar of layer, configuration and manifest), which containerd imports.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Its name. The registry's domain is reserved for tests: a runtime that tried to pull it would fail.
pub(crate) const NAME: &str = "holdfast.invalid/pause:1";

/// Places of Debian's `busybox-static`, and of others.
const BUSYBOX: [&str; 3] = ["/usr/bin/busybox", "/bin/busybox", "/sbin/busybox"];

/// Folders that a runtime mounts on, besides `bin`.
const FOLDERS: [&str; 6] = ["bin", "dev", "etc", "proc", "sys", "tmp"];

/// What a sandbox runs: nothing, until it is told to end, which takes no time.
const ENTRYPOINT: [&str; 4] =
    ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"];

/// Writes the image's archive into `dir`; gives its path.
pub(crate) fn build(dir: &Path) -> anyhow::Result<PathBuf> {
    let busybox = BUSYBOX.iter().find(|path| Path::new(path).is_file());
    let busybox = busybox.context("busybox is missing: install the package busybox-static")?;
    let program = fs::read(busybox).with_context(|| format!("reading {busybox}"))?;
    let path = dir.join("pause.tar");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    write_archive(file, &program).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The archive of an image whose only program is `busybox`.
fn write_archive(to: impl Write, busybox: &[u8]) -> anyhow::Result<()> {
    let layer = layer(busybox)?;
    let digest = hex(&layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Entrypoint": ENTRYPOINT, "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created_by": "holdfast" }],
    });
    let config = serde_json::to_vec(&config)?;
    let (config_name, layer_name) = (format!("{}.json", hex(&config)), format!("{digest}/layer.tar"));
    let manifest = json!([{ "Config": config_name, "RepoTags": [NAME], "Layers": [layer_name] }]);
    let mut archive = tar::Builder::new(to);
    for (name, content) in [
        (config_name.as_str(), config.as_slice()),
        (layer_name.as_str(), layer.as_slice()),
        ("manifest.json", &serde_json::to_vec(&manifest)?),
    ] {
        append(&mut archive, name, 0o644, content)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

/// The file system: busybox, `sh` and `sleep` under their own names, and empty folders.
fn layer(busybox: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for folder in FOLDERS {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        layer.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    append(&mut layer, "bin/busybox", 0o755, busybox)?;
    for name in ["sh", "sleep"] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{name}"), "busybox")?;
    }
    Ok(layer.into_inner()?)
}

/// Appends one file. Times stay at 0, so that equal contents make equal images.
fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)
}

fn hex(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

#[test]
fn an_archive_names_what_it_holds_by_its_digest() {
    let mut archive = Vec::new();
    write_archive(&mut archive, b"not busybox").expect("writing to memory");
    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("reading from memory");
        files.insert(path, content);
    }
    let json = |name: &str| -> serde_json::Value { serde_json::from_slice(&files[name]).expect("JSON") };
    let manifest = json("manifest.json")[0].clone();
    let (config, layer) = (manifest["Config"].as_str(), manifest["Layers"][0].as_str());
    let (config, layer) = (config.expect("a name"), layer.expect("a name"));
    assert_eq!(config, format!("{}.json", hex(&files[config])));
    assert_eq!(json(config)["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&files[layer])));
    assert_eq!(manifest["RepoTags"], json!([NAME]));
}
