//! Bringing a stage up, as seen from the machine.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::build::missing;
use crate::cgroups;
use crate::component::Place;
use crate::crew::cgroup_of;
use crate::down::{clear, lock};
use crate::error::{Error, Result};
use crate::places::{Places, RunFolder};
use crate::plan::Plan;
use crate::process_id::ProcessId;
use crate::record::{read_json, write_json};
use crate::state::{GO, Keeper, STAY, State, Word};

/// How long the namespaces may take to be made.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);

/// Brings a stage up and returns when all its nodes are ready. What a stage of this name has left that was killed is removed
/// before. If it cannot be brought up nothing of it runs any more, and its folder tells why.
pub fn up(root: &Path, name: &str, plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let places = Places::new(root, &plan.release);
    refuse_without_programs(&places, plan)?;
    let run = places.run(name)?;
    let _lock = lock(&run)?;
    let left: Option<State> = read_json(&run.state())?;
    if let Some(keeper) = left.and_then(|state| state.keeper)
        && keeper.first.is_alive()
    {
        return Err(Error::Refused(format!("stage {name:?} is up already: take it down first")));
    }
    clear(&run)?;
    let outcome = bring_up(root, &run, plan, progress);
    if outcome.is_err() {
        crate::down::end_all(&run)?;
    }
    outcome
}

fn refuse_without_programs(places: &Places, plan: &Plan) -> Result<()> {
    let missing = missing(places, &plan.release)?;
    if let Some(first) = missing.first() {
        return Err(Error::Refused(format!(
            "{} of the programs of Kubernetes {} are not built, {} among them: run `./dev stage build`",
            missing.len(),
            plan.release.kubernetes,
            first.name
        )));
    }
    let programs = &plan.programs;
    let holdfast = programs.holdfast.iter().flat_map(|holdfast| [&holdfast.daemon, &holdfast.plugin]);
    let built = [&programs.vpcsim].into_iter().chain(holdfast).map(|file| (file, "run `./dev build`"));
    let chart = programs.chart.iter();
    let helm = chart.clone().map(|chart| (&chart.helm, "`./dev stage up --plugin chart` builds it"));
    let image = chart.clone().map(|chart| (&chart.image, "run `./dev image`"));
    let values = chart.flat_map(|chart| &chart.values).map(|file| (file, "look what --values names"));
    match built.chain(helm).chain(image).chain(values).find(|(file, _)| !file.is_file()) {
        Some((file, remedy)) => Err(Error::Refused(format!("{} is no file: {remedy}", file.display()))),
        None => Ok(()),
    }
}

fn bring_up(root: &Path, run: &RunFolder, plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<()> {
    fs::create_dir_all(run.path().join("logs"))
        .map_err(Error::io(format!("making {}", run.path().display())))?;
    let hierarchies = cgroups::hierarchies()?;
    let mut state = State { plan: plan.clone(), hierarchies, cgroup: run.cgroup(), keeper: None };
    write_json(&run.state(), &state)?;
    for place in [Place::Keeper].into_iter().chain(plan.nodes.iter().cloned().map(Place::Node)) {
        cgroups::make(&state.hierarchies, &cgroup_of(&state.cgroup, &place))?;
    }
    let mut child = start_keeper(root, run, &state)?;
    // Until it is told to go it does nothing, and it ends if we do.
    state.keeper = Some(find_keeper(&mut child)?);
    write_json(&run.state(), &state)?;
    let mut input = child.stdin.take().ok_or_else(|| Error::Refused("the keeper has no input".to_owned()))?;
    let mut say = |word: &str| writeln!(input, "{word}").and_then(|()| input.flush());
    say(GO).map_err(Error::io("telling the keeper to begin"))?;
    let output = child.stdout.take().ok_or_else(|| Error::Refused("the keeper has no output".to_owned()))?;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(Error::io("listening to the keeper"))?;
        let word = serde_json::from_str(&line)
            .map_err(|source| Error::Garbled { what: format!("the keeper's {line:?}"), source })?;
        match word {
            Word::Done(what) => progress(&what),
            Word::Up => return say(STAY).map_err(Error::io("telling the keeper to stay")),
            Word::Failed(why) => return Err(Error::Refused(why)),
        }
    }
    let status = child.wait().map_err(Error::io("waiting for the keeper"))?;
    let log = fs::read_to_string(run.log("keeper")).unwrap_or_default();
    Err(Error::Ended { name: "the keeper".to_owned(), status: status.to_string(), tail: log })
}

fn start_keeper(root: &Path, run: &RunFolder, state: &State) -> Result<Child> {
    let log = run.log("keeper");
    let log = File::create(&log).map_err(Error::io(format!("making {}", log.display())))?;
    let stage = &state.plan.programs.stage;
    let mut command = Command::new(stage);
    command.arg("join").arg(cgroup_of(&state.cgroup, &Place::Keeper)).arg("--");
    // A session of its own: it neither ends with the terminal nor takes its Ctrl-C.
    command.args([
        "setsid",
        "unshare",
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.args(["--propagation", "private", "--"]).arg(stage).args(["tend", "--"]).arg(stage);
    command.args(["keep", run.name(), "--root"]).arg(root);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    command.spawn().map_err(Error::io("starting the keeper"))
}

/// The process that makes the namespaces, and the first in them.
fn find_keeper(child: &mut Child) -> Result<Keeper> {
    let begun = Instant::now();
    let gone = || Error::Refused("the keeper ended before it began: see logs/keeper.log".to_owned());
    let outer = ProcessId::of(child.id()).ok_or_else(gone)?;
    loop {
        if let Some(first) = outer.child() {
            return Ok(Keeper { outer, first });
        }
        if child.try_wait().map_err(Error::io("waiting for the keeper"))?.is_some() {
            return Err(gone());
        }
        if begun.elapsed() > BEGUN_WITHIN {
            return Err(Error::Late {
                what: "the stage's namespaces made".to_owned(),
                seconds: BEGUN_WITHIN.as_secs(),
                why: "see logs/keeper.log".to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plugin;
    use crate::plan::tests::plan;

    #[test]
    fn nothing_is_made_where_programs_are_missing() {
        let root = tempfile::tempdir().unwrap();
        let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        std::os::unix::fs::symlink(repository.join("stage"), root.path().join("stage")).unwrap();
        let why = up(root.path(), "x", &plan(Plugin::Ptp), &mut |_| ()).unwrap_err().to_string();
        assert!(why.contains("are not built, etcd among them: run `./dev stage build`"), "{why}");
        assert!(!root.path().join("target").exists());
    }
}
