//! A stage that is up, asked as its administrator.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::component::Place;
use crate::enter::place_of;
use crate::error::{Error, Result};
use crate::places::RunFolder;
use crate::status::{command_in, running};

/// How long anything may take that takes seconds: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// A stage that is up.
#[derive(Debug, Clone)]
pub struct Cluster {
    root: PathBuf,
    run: RunFolder,
}

impl Cluster {
    /// The stage of this folder, in the repository at this absolute path.
    pub fn new(root: &Path, run: &RunFolder) -> Self {
        Self { root: root.to_owned(), run: run.clone() }
    }

    /// Runs a command in a node, or in `control-plane`; gives what it printed. Who waits longer than for anything here kills it.
    pub fn exec(&self, place: &str, argv: &[&str]) -> Result<String> {
        self.run_at(&place_of(place), argv, None)
    }

    /// What kubectl prints.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run_at(&Place::Control, &[&["kubectl"], arguments].concat(), None)
    }

    /// What kubectl gets, of a command that gives JSON.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "--output=json"], arguments].concat())?;
        serde_json::from_str(&text)
            .map_err(|source| Error::Garbled { what: format!("what kubectl gave of {arguments:?}"), source })
    }

    /// Applies an object, or a list of them.
    pub fn apply(&self, objects: &Value) -> Result<()> {
        let arguments = ["kubectl", "apply", "--server-side", "--filename=-"];
        self.run_at(&Place::Control, &arguments, Some(&objects.to_string())).map(drop)
    }

    /// Waits until `look` gives something; otherwise it says why not yet.
    pub fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<std::result::Result<T, String>>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            match look()? {
                Ok(found) => return Ok(found),
                Err(why) if begun.elapsed() > PATIENCE => {
                    return Err(Error::Late { what: what.to_owned(), seconds: PATIENCE.as_secs(), why });
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// The names and VPC addresses of its nodes.
    pub fn nodes(&self) -> Result<Vec<(String, String)>> {
        let (_, _, live) = running(&self.run)?;
        Ok(live.nodes.into_iter().map(|node| (node.name, node.address)).collect())
    }

    /// The network namespace of the control plane's instance, as the machine finds it.
    pub(super) fn control_network(&self) -> Result<PathBuf> {
        let (_, keeper, live) = running(&self.run)?;
        let root = format!("/proc/{}/root", keeper.first.pid);
        let outside = |path: &Path| Path::new(&root).join(path.strip_prefix("/").unwrap_or(path));
        // A link into the box's own `/proc`, which is another one here.
        let link = outside(&live.control);
        let target = std::fs::read_link(&link).map_err(Error::io(format!("reading {}", link.display())))?;
        Ok(outside(&target))
    }

    fn run_at(&self, place: &Place, argv: &[&str], input: Option<&str>) -> Result<String> {
        let bound = PATIENCE.as_secs().to_string();
        let bounded = [&["timeout", "--signal=KILL", &bound], argv].concat();
        let words: Vec<String> = bounded.iter().map(|&word| word.to_owned()).collect();
        let mut command = command_in(&self.root, &self.run, place, &words)?;
        let what = argv.join(" ");
        let failed = || format!("running {what}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = match input {
            None => command.output().map_err(Error::io(failed()))?,
            Some(text) => {
                let mut child = command.stdin(Stdio::piped()).spawn().map_err(Error::io(failed()))?;
                if let Some(mut stdin) = child.stdin.take() {
                    // Who does not read to the end says why by itself.
                    drop(std::io::Write::write_all(&mut stdin, text.as_bytes()));
                }
                child.wait_with_output().map_err(Error::io(failed()))?
            }
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(Error::Failed { what, said: format!("{}: {}", output.status, text(&output.stderr).trim()) })
    }
}
