//! The verb `conformance`: a stage for each network, the suite on it, and what came of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use holdfast_stage::conformance::{self, Choice, Head, LIMITS, Run, State};
use holdfast_stage::{Places, Plan, Plugin, Release, RunFolder, build, down, go_of, up};

use crate::{Network, ProgramArguments, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only on a stage with this network, and the page is left as it is. Without it: Holdfast, then the reference plugin.
    #[arg(long, value_enum)]
    plugin: Option<Network>,
    /// Only tests whose names this regular expression finds, and the page is left as it is.
    #[arg(long)]
    focus: Option<String>,
    /// The stage's name.
    #[arg(long, default_value = "conformance")]
    name: String,
    /// How many nodes.
    #[arg(long, default_value_t = 2)]
    nodes: u8,
    /// The nodes' instance type.
    #[arg(long = "type", default_value = "m5.xlarge")]
    instance_type: String,
    #[command(flatten)]
    programs: ProgramArguments,
}

pub(crate) fn run(root: &Path, release: Option<&str>, arguments: Arguments) -> anyhow::Result<()> {
    let begun = Instant::now();
    let release = Release::read(&go_of(root), release)?;
    let places = Places::new(root, &release);
    build::build_suite(&places, &release, &mut |what| say(begun, what))?;
    let whole = arguments.plugin.is_none() && arguments.focus.is_none();
    let plugins = arguments.plugin.map_or(vec![Plugin::Holdfast, Plugin::Ptp], |one| vec![one.into()]);
    let choice = Choice { focus: arguments.focus };
    let programs = arguments.programs.absolute(root)?;
    let place = RunFolder::new(root, &arguments.name)?;
    let mut runs = Vec::new();
    for plugin in plugins {
        let (release, programs) = (release.clone(), programs.clone());
        let plan = Plan::new(release, arguments.nodes, &arguments.instance_type, plugin, programs)?;
        runs.push(on_a_stage(root, &place, &plan, &choice, begun)?);
    }
    if whole {
        let page = page(root, &release);
        let head = Head { release, nodes: usize::from(arguments.nodes) };
        fs::write(&page, conformance::table(&head, &runs, LIMITS))
            .with_context(|| format!("writing {}", page.display()))?;
        say(begun, &format!("the table is in {}", page.display()));
    }
    let complaints = conformance::complaints(&runs, choice.focus.is_none(), LIMITS);
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// Brings a stage up, runs the suite, and takes the stage down, whatever came of it.
fn on_a_stage(
    root: &Path,
    place: &RunFolder,
    plan: &Plan,
    choice: &Choice,
    begun: Instant,
) -> anyhow::Result<Run> {
    let mut progress = |what: &str| say(begun, &format!("{}: {what}", plan.plugin.name()));
    let results = results(root, plan);
    match fs::remove_dir_all(&results) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", results.display()));
        }
        _ => fs::create_dir_all(&results).with_context(|| format!("making {}", results.display()))?,
    }
    // What a run left that was interrupted.
    down(place)?;
    up(root, place.name(), plan, &mut progress)?;
    let outcome = conformance::carry_out(root, place, plan, choice, &results, &mut progress);
    let kept = conformance::keep_logs(place, plan, &results);
    down(place)?;
    kept?;
    let outcome = outcome.with_context(|| format!("see {}", results.display()))?;
    let count = |state| outcome.count(state);
    progress(&format!(
        "{} tests passed, {} failed in {} s; all that was said is in {}",
        count(State::Passed),
        count(State::Failed),
        outcome.time.as_secs(),
        results.display()
    ));
    Ok(Run { plugin: plan.plugin, outcome })
}

fn results(root: &Path, plan: &Plan) -> PathBuf {
    root.join("target/stage/conformance").join(&plan.release.kubernetes).join(plan.plugin.name())
}

/// The newest release's, or that of an older one.
fn page(root: &Path, release: &Release) -> PathBuf {
    let name = release.name.as_ref().map_or_else(String::new, |name| format!("-{name}"));
    root.join("docs").join(format!("conformance{name}.md"))
}
