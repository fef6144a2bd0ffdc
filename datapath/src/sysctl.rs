//! Kernel settings under `/proc/sys/net`. They are those of the calling thread's namespace, wherever the file system that
//! shows them is mounted.

use std::io;
use std::path::PathBuf;

use holdfast_ports::host::HostFault;

/// Where the kernel's settings are, ordinarily.
pub(crate) const PROC_SYS: &str = "/proc/sys";

/// The kernel's settings.
#[derive(Clone, Debug)]
pub(crate) struct Sysctl {
    root: PathBuf,
}

impl Sysctl {
    /// Those below a `/proc/sys`. A container that may not write its own can be given the host's under another name.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Reads a setting; `None` when this kernel or namespace has none such.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok().map(|text| text.trim().to_owned())
    }

    /// Sets a setting unless it has the value: who finds it so needs no right to write it. A missing file is no error:
    /// the feature is not there, so it needs no setting.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result<(), HostFault> {
        if self.read(name).as_deref() == Some(value) {
            return Ok(());
        }
        match std::fs::write(self.path(name), value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HostFault::Setting {
                name: format!("net/{name}"),
                value: value.to_owned(),
                cause: error.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join("net").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> (tempfile::TempDir, Sysctl) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("net/ipv4")).unwrap();
        let sysctl = Sysctl::at(dir.path().to_owned());
        (dir, sysctl)
    }

    #[test]
    fn what_has_its_value_is_not_written() {
        let (dir, sysctl) = settings();
        let file = dir.path().join("net/ipv4/ip_forward");
        // The kernel gives values back with a line's end; a write would take it away.
        std::fs::write(&file, "1\n").unwrap();
        sysctl.set("ipv4/ip_forward", "1").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n");
        sysctl.set("ipv4/ip_forward", "0").unwrap();
        assert_eq!(sysctl.read("ipv4/ip_forward").as_deref(), Some("0"));
    }

    #[test]
    fn what_cannot_be_written_is_named_with_a_way_out() {
        let (dir, sysctl) = settings();
        sysctl.set("ipv6/conf/eth0/accept_ra", "0").unwrap();
        assert_eq!(sysctl.read("ipv6/conf/eth0/accept_ra"), None, "no such setting is no fault");
        std::fs::create_dir(dir.path().join("net/ipv4/ip_forward")).unwrap();
        let fault = sysctl.set("ipv4/ip_forward", "1").unwrap_err().to_string();
        for words in ["net/ipv4/ip_forward", "to 1", "HOLDFAST_PROC_SYS"] {
            assert!(fault.contains(words), "{fault}");
        }
    }
}
