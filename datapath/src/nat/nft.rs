//! Running `nft`, with a deadline.
//!
//! The crate's own runner has none, and a program that hangs would take one of our threads with it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::NatError;

/// A load takes milliseconds; only a stuck kernel takes longer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Where it is when `PATH` does not say: a service's may lack `sbin`.
const PLACES: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// Runs it in the calling thread's namespace and gives its output. Input and output are memory files: whatever their
/// size, neither side ever waits for the other.
pub(super) fn run(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, NatError> {
    let failed = |error: std::io::Error| NatError::Run(error.to_string());
    let mut stdin = memory_file()?;
    stdin.write_all(input).and_then(|()| stdin.rewind()).map_err(failed)?;
    let (mut stdout, mut stderr) = (memory_file()?, memory_file()?);
    for place in PLACES {
        let spawned = Command::new(place)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::from(stdin.try_clone().map_err(failed)?))
            .stdout(Stdio::from(stdout.try_clone().map_err(failed)?))
            .stderr(Stdio::from(stderr.try_clone().map_err(failed)?))
            .spawn();
        let mut child = match spawned {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        let status = wait(&mut child)?;
        if status.success() {
            return read_all(&mut stdout).map_err(failed);
        }
        let said = String::from_utf8_lossy(&read_all(&mut stderr).map_err(failed)?).trim().to_owned();
        return Err(NatError::Refused(if said.is_empty() { status.to_string() } else { said }));
    }
    Err(NatError::NoNft)
}

fn wait(child: &mut Child) -> Result<ExitStatus, NatError> {
    let failed = |error: std::io::Error| NatError::Run(error.to_string());
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    child.kill().and_then(|()| child.wait()).map_err(failed)?;
    Err(NatError::Timeout(DEADLINE.as_secs()))
}

fn memory_file() -> Result<File, NatError> {
    memfd_create("nft", MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .map_err(|errno| NatError::Run(format!("memory file: {}", errno.desc())))
}

fn read_all(file: &mut File) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
