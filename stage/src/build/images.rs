//! The images that a cluster runs, packed from programs that are here: nothing is pulled.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// What a sandbox runs.
pub const PAUSE: Archive =
    Archive { name: "image-pause", reference: "stage.invalid/pause:1", program: "pause" };
/// A shell and its tools.
pub const BUSYBOX: Archive =
    Archive { name: "image-busybox", reference: "stage.invalid/busybox:1", program: "busybox" };
/// What Kubernetes' own tests run: servers and clients of many kinds, and a shell beside them.
pub const AGNHOST: Archive =
    Archive { name: "image-agnhost", reference: "stage.invalid/agnhost:1", program: "agnhost" };

/// The cluster's DNS.
pub const COREDNS: Archive =
    Archive { name: "image-coredns", reference: "stage.invalid/coredns:1", program: "coredns" };

/// One image's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Archive {
    /// Its file's name.
    pub name: &'static str,
    /// What a pod calls it.
    pub reference: &'static str,
    /// Its program.
    pub program: &'static str,
}

/// Folders that a runtime mounts on, and that programs take for granted.
const FOLDERS: [&str; 6] = ["bin", "dev", "etc", "proc", "sys", "tmp"];

/// Places of Debian's `busybox-static`, and of others.
const BUSYBOX_AT: [&str; 3] = ["/usr/bin/busybox", "/bin/busybox", "/sbin/busybox"];

/// Writes the archive of an image to a file. `bin`: where the cluster's programs are.
pub(super) fn pack(archive: Archive, bin: &Path, to: &Path) -> Result<()> {
    let mut content = Content::default();
    let program = bin.join(archive.program);
    match archive.program {
        "pause" => {
            content.file("pause", read(&program)?);
            content.entrypoint = vec!["/pause"];
        }
        "coredns" => {
            content.file("coredns", read(&program)?);
            content.entrypoint = vec!["/coredns"];
        }
        "busybox" => content.shell()?,
        other => {
            content.shell()?;
            content.file(other, read(&program)?);
            content.entrypoint = vec!["/agnhost"];
            content.command = vec!["pause"];
        }
    }
    content.write_to(archive.reference, to)
}

/// What is in an image.
#[derive(Debug, Default)]
pub(super) struct Content {
    files: Vec<(String, Vec<u8>)>,
    links: Vec<(String, String)>,
    pub(super) entrypoint: Vec<&'static str>,
    pub(super) command: Vec<&'static str>,
}

impl Content {
    /// Puts a file there, in the place of what was to be there.
    pub(super) fn file(&mut self, path: &str, content: Vec<u8>) {
        self.files.retain(|(other, _)| other != path);
        self.links.retain(|(other, _)| other != path);
        self.files.push((path.to_owned(), content));
    }

    /// Busybox, all that it can be called, and a shell where nothing else is said.
    pub(super) fn shell(&mut self) -> Result<()> {
        let found = BUSYBOX_AT.iter().map(PathBuf::from).find(|path| path.is_file());
        let busybox = found.ok_or_else(|| {
            Error::Refused("busybox is missing: install the package busybox-static".to_owned())
        })?;
        let list = Command::new(&busybox).arg("--list").output();
        let list = list.map_err(Error::io(format!("asking {} for its list", busybox.display())))?;
        let names = String::from_utf8_lossy(&list.stdout);
        self.file("bin/busybox", read(&busybox)?);
        let names = names.lines().filter(|name| *name != "busybox");
        self.links.extend(names.map(|name| (format!("bin/{name}"), "busybox".to_owned())));
        self.command = vec!["sh"];
        Ok(())
    }

    /// Writes the archive to a file.
    pub(super) fn write_to(&self, reference: &str, to: &Path) -> Result<()> {
        let what = || format!("writing {}", to.display());
        let file = fs::File::create(to).map_err(Error::io(what()))?;
        self.write(reference, &file).and_then(|()| file.sync_all()).map_err(Error::io(what()))
    }

    /// In the format that `ctr images import` takes.
    fn write(&self, reference: &str, to: impl Write) -> std::io::Result<()> {
        let layer = self.layer()?;
        let digest = hex(&layer);
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Cmd": self.command, "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "history": [{ "created_by": "holdfast" }],
        });
        let config = serde_json::to_vec(&config)?;
        let (config_name, layer_name) = (format!("{}.json", hex(&config)), format!("{digest}/layer.tar"));
        let manifest = json!([{ "Config": config_name, "RepoTags": [reference], "Layers": [layer_name] }]);
        let mut archive = tar::Builder::new(to);
        append(&mut archive, &config_name, 0o644, &config)?;
        append(&mut archive, &layer_name, 0o644, &layer)?;
        append(&mut archive, "manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
        archive.into_inner()?.flush()
    }

    fn layer(&self) -> std::io::Result<Vec<u8>> {
        let mut layer = tar::Builder::new(Vec::new());
        for folder in FOLDERS {
            let mut header = header(tar::EntryType::Directory, if folder == "tmp" { 0o1777 } else { 0o755 });
            layer.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
        }
        for (path, content) in &self.files {
            append(&mut layer, path, 0o755, content)?;
        }
        for (path, target) in &self.links {
            layer.append_link(&mut header(tar::EntryType::Symlink, 0o777), path, target)?;
        }
        layer.into_inner()
    }
}

/// Times stay at 0, so that equal contents make equal images.
fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> std::io::Result<()> {
    let mut header = header(tar::EntryType::Regular, mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io(format!("reading {}", path.display())))
}

fn hex(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_file_takes_the_place_of_an_applet() {
        let mut content = Content { links: vec![("bin/nc".into(), "busybox".into())], ..Content::default() };
        content.file("bin/nc", b"the real one".to_vec());
        content.file("bin/nc", b"a newer one".to_vec());
        assert_eq!((content.files.len(), content.links.len()), (1, 0));
    }

    #[test]
    fn an_archive_names_what_it_holds_by_its_digest() {
        let mut content = Content { entrypoint: vec!["/pause"], ..Content::default() };
        content.file("pause", b"not a program".to_vec());
        let mut archive = Vec::new();
        content.write("stage.invalid/pause:1", &mut archive).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        let json = |name: &str| -> serde_json::Value { serde_json::from_slice(&files[name]).unwrap() };
        let manifest = json("manifest.json")[0].clone();
        let (config, layer) = (manifest["Config"].as_str().unwrap(), manifest["Layers"][0].as_str().unwrap());
        assert_eq!(config, format!("{}.json", hex(&files[config])));
        assert_eq!(json(config)["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(&files[layer])));
        assert_eq!(json(config)["config"]["Entrypoint"], json!(["/pause"]));
        assert_eq!(manifest["RepoTags"], json!(["stage.invalid/pause:1"]));
    }
}
