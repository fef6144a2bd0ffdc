//! What a stage is now, and commands in it.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::cgroups;
use crate::component::Place;
use crate::enter::from_outside;
use crate::error::{Error, Result};
use crate::places::{Places, RunFolder};
use crate::record::read_json;
use crate::state::{Keeper, Live, State};

/// What a stage is now.
#[derive(Debug, Clone)]
pub enum Status {
    /// There is none.
    Absent,
    /// It was not brought up whole, or was killed; `down` removes what is left.
    Remains,
    /// It is being brought up.
    Coming,
    /// It runs.
    Up {
        /// What it is.
        state: Box<State>,
        /// What the keeper says.
        live: Box<Live>,
        /// Bytes that its processes hold.
        memory: Option<u64>,
    },
}

/// Looks at a stage; changes nothing.
pub fn status(run: &RunFolder) -> Result<Status> {
    let Some(state) = read_json::<State>(&run.state())? else {
        return Ok(if run.path().exists() { Status::Remains } else { Status::Absent });
    };
    if !state.keeper.is_some_and(|keeper| keeper.first.is_alive()) {
        return Ok(Status::Remains);
    }
    Ok(match read_json::<Live>(&run.live())? {
        None => Status::Coming,
        Some(live) => {
            let memory = cgroups::memory(&state.hierarchies, &state.cgroup);
            Status::Up { state: Box::new(state), live: Box::new(live), memory }
        }
    })
}

/// A command at a place of a stage that is up, with the cluster's programs and their configuration at hand.
pub fn command_in(root: &Path, run: &RunFolder, place: &Place, argv: &[String]) -> Result<Command> {
    let (state, keeper, live) = running(run)?;
    let folder = std::env::current_dir().map_err(Error::io("the working folder"))?;
    let words = from_outside(keeper, &live, place, &folder)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(argv);
    let bin = Places::new(root, &state.plan.release).bin();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display())).env("KUBECONFIG", run.kubeconfig());
    Ok(command)
}

pub(crate) fn running(run: &RunFolder) -> Result<(State, Keeper, Live)> {
    match status(run)? {
        Status::Up { state, live, .. } => match state.keeper {
            Some(keeper) => Ok((*state, keeper, *live)),
            None => Err(Error::Refused(format!("stage {:?} has no keeper", run.name()))),
        },
        other => Err(Error::Refused(format!("stage {:?} is not up: {other}", run.name()))),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "there is none"),
            Self::Remains => {
                write!(f, "what is left of one that was killed or did not come up; `down` removes it")
            }
            Self::Coming => write!(f, "coming up"),
            Self::Up { state, live, memory } => {
                let release = &state.plan.release;
                write!(f, "up: Kubernetes {}, containerd {}", release.kubernetes, release.containerd)?;
                write!(f, ", pods' network: {}", state.plan.plugin.name())?;
                if let Some(memory) = memory {
                    write!(f, ", {} MiB", memory >> 20)?;
                }
                for node in &live.nodes {
                    write!(f, "\n  {}  {}  {}", node.name, node.address, node.instance)?;
                }
                for part in &live.parts {
                    if let Some(ended) = &part.ended {
                        write!(f, "\n  {} has ended: {ended}", part.name)?;
                    }
                }
                Ok(())
            }
        }
    }
}
