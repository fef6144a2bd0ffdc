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

/// Puts the logs of the stage's parts and of its nodes beside the results, before they go with the stage.
pub fn keep_logs(run: &RunFolder, plan: &Plan, results: &Path) -> Result<()> {
    let to = results.join("logs");
    copy_files(&run.logs(), &to)?;
    // What the nodes write by themselves: of Holdfast's plugin, and of the pods that are still there.
    plan.nodes.iter().try_for_each(|node| copy_files(&run.node(node).join("var/log"), &to.join(node)))
}

/// Copies a folder, of which links are left out: they lead to where the node has its files. What is gone by the time it
/// is copied, such as the log of a pod that ends, is left out as well.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {} to {}", from.display(), to.display());
    fs::create_dir_all(to).map_err(Error::io(what()))?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(what()))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(what()))?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(Error::io(what()))?;
        if kind.is_dir() {
            copy_files(&path, &to)?;
        } else if kind.is_file() {
            match fs::copy(&path, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(what())(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
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
    fn files_are_copied_and_links_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("pods/a")).unwrap();
        fs::write(from.join("pods/a/0.log"), "words").unwrap();
        std::os::unix::fs::symlink("/nowhere/0.log", from.join("link")).unwrap();
        copy_files(&from, &to).unwrap();
        copy_files(&folder.path().join("not there"), &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("pods/a/0.log")).unwrap(), "words");
        assert!(fs::symlink_metadata(to.join("link")).is_err());
    }

    #[test]
    fn a_command_is_called_by_what_it_is_inside() {
        let mut command = Command::new("nsenter");
        command.args(["--target=7", "--net", "--", "nsenter", "--net=/c", "--", "ctr", "images", "tag"]);
        assert_eq!(words_of(&command), "ctr images tag");
    }
}
