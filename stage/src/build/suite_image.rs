//! The images in which the end-to-end suite runs its servers and clients: agnhost with what its own image has beside it.
//!
//! The programs are the machine's, with the libraries that they are linked with. Where an applet of busybox has the same
//! name they take its place: the suite's commands are written for them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::images::{Archive, Content, read};
use crate::error::{Error, Result};

/// For pods that say what they run, or pause.
pub const SUITE_IMAGE: Archive =
    Archive { name: "image-e2e", reference: "stage.invalid/e2e:1", program: "agnhost" };
/// For pods that say nothing and mean a web server.
pub const WEB_IMAGE: Archive =
    Archive { name: "image-web", reference: "stage.invalid/web:1", program: "agnhost" };

/// What the suite's commands call, the program of Debian that it is, and the package that brings it.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("bin/curl", "curl", "curl"),
    ("bin/dig", "dig", "bind9-dnsutils"),
    ("bin/getent", "getent", "libc-bin"),
    ("bin/nc", "nc.openbsd", "netcat-openbsd"),
    // Busybox's shell runs its own applets before it looks for a program.
    ("bin/sh", "dash", "dash"),
    ("bin/ss", "ss", "iproute2"),
];

const FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Without it the C library asks DNS for a pod's own name and, told that there is none, does not read `/etc/hosts`.
const NSSWITCH: &str = "hosts: files dns\n";

/// What agnhost's servers offer themselves with, of its sources.
const CERTIFICATE: [&str; 2] = ["localhost.crt", "localhost.key"];

/// Writes the archive. `bin`: of the cluster's programs; `sources`: of the module `k8s.io/kubernetes`.
pub(super) fn pack(archive: Archive, bin: &Path, sources: &Path, to: &Path) -> Result<()> {
    let mut content = Content::default();
    content.shell()?;
    let mut libraries = BTreeSet::new();
    for (at, name, package) in PROGRAMS {
        let program = find(name, package)?;
        libraries.extend(libraries_of(&program)?);
        content.file(at, read(&program)?);
    }
    for library in libraries {
        // By the path that the program and its loader have of it.
        content.file(library.trim_start_matches('/'), read(Path::new(&library))?);
    }
    for file in CERTIFICATE {
        content.file(file, read(&sources.join("test/images/agnhost/porter").join(file))?);
    }
    content.file("etc/nsswitch.conf", NSSWITCH.into());
    content.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n".to_vec());
    content.file(archive.program, read(&bin.join(archive.program))?);
    content.entrypoint = vec!["/agnhost"];
    content.command = vec![if archive == WEB_IMAGE { "test-webserver" } else { "pause" }];
    content.write_to(archive.reference, to)
}

fn find(name: &str, package: &str) -> Result<PathBuf> {
    let found = FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::Refused(format!("{name} is missing: install the package {package}")))
}

fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let what = || format!("asking ldd for the libraries of {}", program.display());
    let output = Command::new("ldd").arg(program).output().map_err(Error::io(what()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Error::Failed { what: what(), said: format!("{} {said}", output.status) });
    }
    named(&said).map_err(|line| Error::Failed { what: what(), said: line })
}

/// The files in `ldd`'s answer; an error is a line that names none.
fn named(said: &str) -> std::result::Result<Vec<String>, String> {
    // What the kernel maps into every process has no file.
    let lines = said.lines().map(str::trim).filter(|line| !line.starts_with("linux-vdso"));
    lines
        .map(|line| {
            let path = line.split_once(" => ").map_or(line, |(_, path)| path);
            let path = path.split(" (").next().unwrap_or_default();
            if path.starts_with('/') { Ok(path.to_owned()) } else { Err(line.to_owned()) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_files_that_the_loader_names() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd7)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f1)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(named(said).unwrap(), expected);
        assert_eq!(named("\tlibx.so.1 => not found\n").unwrap_err(), "libx.so.1 => not found");
    }
}
