//! Running the suite: effects only.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::images::names;
use super::{Choice, Outcome};
use crate::build::{SUITE_IMAGE, WEB_IMAGE};
use crate::component::Place;
use crate::error::{Error, Result};
use crate::places::{Places, RunFolder};
use crate::plan::Plan;
use crate::status::command_in;

/// How many tests run at once: most of their time they wait.
const AT_ONCE: u8 = 8;

/// How long all may take: two minutes on two idle cores.
const PATIENCE: Duration = Duration::from_secs(45 * 60);

/// How much longer until the runner is ended that should have ended its tests.
const GRACE: Duration = Duration::from_secs(120);

/// How long a command beside the suite may take.
const ONE_COMMAND: Duration = Duration::from_secs(180);

/// Between two signs of life, and between two looks.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

/// A test that has come to an end, in the runner's words.
const DONE: &str = "•";

/// Runs the suite on a stage that is up. What it says is left in the folder `results`.
pub fn carry_out(
    root: &Path,
    run: &RunFolder,
    plan: &Plan,
    choice: &Choice,
    results: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let bin = Places::new(root, &plan.release).bin();
    let inside = |place: &Place, argv: &[String]| command_in(root, run, place, argv);
    let tests = bin.join("e2e.test").display().to_string();
    let list = inside(&Place::Control, &[tests.clone(), "--list-images".to_owned()])?;
    let images = names(&ask(list, results)?);
    for node in &plan.nodes {
        let place = Place::Node(node.clone());
        let ctr = |words: &[&str]| -> Vec<String> {
            let all = ["ctr", "--namespace=k8s.io", "images"].iter().chain(words);
            all.map(|&word| word.to_owned()).collect()
        };
        for archive in [SUITE_IMAGE, WEB_IMAGE] {
            let archive = bin.join(archive.name).display().to_string();
            ask(inside(&place, &ctr(&["import", "--local", &archive]))?, results)?;
        }
        for (ours, theirs) in &images {
            let mut argv = ctr(&["tag", "--force", ours.reference]);
            argv.extend(theirs.iter().cloned());
            ask(inside(&place, &argv)?, results)?;
        }
    }
    progress("the nodes have the suite's images");
    let report = results.join("report.json");
    let mut argv = runner(&bin, choice, results);
    argv.extend(["--".to_owned(), "--provider=skeleton".to_owned()]);
    argv.push(format!("--kubeconfig={}", run.kubeconfig().display()));
    let log = results.join("output.log");
    let finished = watch(inside(&Place::Control, &argv)?, &log, PATIENCE + GRACE, progress)?;
    let json = match fs::read(&report) {
        Ok(json) => json,
        Err(error) => {
            return Err(Error::Failed {
                what: "running the suite".to_owned(),
                said: format!("{finished}, and there is no report ({error}): see {}", log.display()),
            });
        }
    };
    Outcome::read(&json)
}

/// Puts the stage's own logs beside the results, before they go with the stage.
pub fn keep_logs(run: &RunFolder, results: &Path) -> Result<()> {
    let (from, to) = (run.logs(), results.join("logs"));
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    copy().map_err(Error::io(format!("copying {} to {}", from.display(), to.display())))
}

fn runner(bin: &Path, choice: &Choice, results: &Path) -> Vec<String> {
    let mut argv = vec![bin.join("ginkgo").display().to_string(), "run".to_owned()];
    argv.push(format!("--procs={AT_ONCE}"));
    argv.push(format!("--timeout={}s", PATIENCE.as_secs()));
    argv.push(format!("--label-filter={}", Choice::LABELS));
    argv.extend(choice.focus.iter().map(|focus| format!("--focus={focus}")));
    argv.extend(["--no-color", "--silence-skips", "--json-report=report.json"].map(str::to_owned));
    argv.push(format!("--output-dir={}", results.display()));
    argv.push(bin.join("e2e.test").display().to_string());
    argv
}

/// Runs a command whose words are wanted; gives them.
fn ask(command: Command, results: &Path) -> Result<String> {
    let what = words_of(&command);
    let (out, err) = (results.join("asked.out"), results.join("asked.err"));
    let status = finish(command, create(&out)?, create(&err)?, ONE_COMMAND, &mut |_| ())?;
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).map_err(Error::io(format!("reading {}", path.display())))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    if status.success() {
        return read(&out);
    }
    Err(Error::Failed { what, said: format!("{status}\n{}", read(&err)?.trim()) })
}

/// Runs the runner, and tells how far it is; gives how it ended, which is not well when a test failed.
fn watch(
    command: Command,
    log: &Path,
    patience: Duration,
    progress: &mut dyn FnMut(&str),
) -> Result<std::process::ExitStatus> {
    let out = create(log)?;
    let err = out.try_clone().map_err(Error::io("a log's second descriptor"))?;
    let mut told = Duration::ZERO;
    finish(command, out, err, patience, &mut |elapsed| {
        if elapsed > told + SIGN_OF_LIFE {
            told = elapsed;
            // Not there yet, or half a character at its end: a sign of life it is all the same.
            let said = fs::read(log).unwrap_or_default();
            progress(&progress_of(&String::from_utf8_lossy(&said)));
        }
    })
}

/// How far the runner is, from what it has said.
fn progress_of(said: &str) -> String {
    let all = said.lines().find_map(|line| line.strip_prefix("Will run ")?.split(' ').next());
    let done = said.matches(DONE).count();
    match all {
        Some(all) => format!("{done} of {all} tests are done"),
        None => "the suite begins".to_owned(),
    }
}

fn finish(
    mut command: Command,
    out: File,
    err: File,
    patience: Duration,
    look: &mut dyn FnMut(Duration),
) -> Result<std::process::ExitStatus> {
    let what = words_of(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(Error::io(format!("starting {what}")))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(Error::io(format!("waiting for {what}")))? {
            return Ok(status);
        }
        if begun.elapsed() > patience {
            // Fails only when it has ended. What it has started ends with the stage.
            drop(child.kill());
            drop(child.wait());
            return Err(Error::Late {
                what: format!("{what} finished"),
                seconds: patience.as_secs(),
                why: "it was ended".to_owned(),
            });
        }
        look(begun.elapsed());
        std::thread::sleep(PAUSE);
    }
}

/// What it is, without the way into the stage.
fn words_of(command: &Command) -> String {
    let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let inside = words.iter().rposition(|word| word.starts_with("--net=") || word.starts_with("--pid="));
    let words = &words[inside.map_or(0, |at| at + 2).min(words.len())..];
    words.iter().take(4).cloned().collect::<Vec<_>>().join(" ")
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(Error::io(format!("making {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_tells_how_far_it_is() {
        assert_eq!(progress_of("Running Suite: e2e\n"), "the suite begins");
        let said = "Will run 47 of 7512 specs\nRunning in parallel across 8 processes\n••\n• [FAILED] [1.0 seconds]\n";
        assert_eq!(progress_of(said), "3 of 47 tests are done");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = || create(&folder.path().join("x")).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let ended = finish(command, file(), file(), Duration::from_millis(1), &mut |_| ());
        assert!(matches!(ended, Err(Error::Late { .. })), "{ended:?}");
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo why >&2; exit 3"]);
        let told = ask(command, folder.path()).unwrap_err().to_string();
        assert!(told.contains("why") && told.contains('3'), "{told}");
    }

    #[test]
    fn a_command_is_called_by_what_it_is_inside() {
        let mut command = Command::new("nsenter");
        command.args(["--target=7", "--net", "--", "nsenter", "--net=/c", "--", "ctr", "images", "tag"]);
        assert_eq!(words_of(&command), "ctr images tag");
    }
}
