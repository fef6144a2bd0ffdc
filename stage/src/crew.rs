//! The processes of a stage, as children of its keeper.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::component::{Component, Place, Ready};
use crate::enter::Doors;
use crate::error::{Error, Result};
use crate::init::READY;
use crate::state::LivePart;

/// How many lines of a log tell why its part failed.
const TAIL: usize = 20;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Where programs are found that are not the stage's own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What becomes of a part's standard output; what it says on the other one is logged.
#[derive(Debug, Clone, Copy)]
enum Output {
    Logged,
    Read,
}

/// All that runs.
#[derive(Debug)]
pub(crate) struct Crew {
    stage: PathBuf,
    cgroup: String,
    bin: PathBuf,
    logs: PathBuf,
    asks_within: Duration,
    /// Where places are.
    pub(crate) doors: Doors,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: String,
    place: Place,
    ready: Ready,
    child: Child,
    log: PathBuf,
    ended: Option<String>,
}

impl Crew {
    /// Nobody yet. `stage`: this program; `cgroup`: the stage's; `bin`: of the cluster's programs; `asks_within`: how long
    /// a command may take that is waited for.
    pub(crate) fn new(stage: &Path, cgroup: &str, bin: &Path, logs: &Path, asks_within: Duration) -> Self {
        let doors = Doors::default();
        let (stage, cgroup, bin, logs) =
            (stage.to_owned(), cgroup.to_owned(), bin.to_owned(), logs.to_owned());
        Self { stage, cgroup, bin, logs, asks_within, doors, parts: Vec::new() }
    }

    /// Starts a part, and does not wait. It is killed when this program ends.
    pub(crate) fn start(&mut self, component: &Component) -> Result<()> {
        let mut command = self.command(&component.place, &component.argv)?;
        command.envs(&component.environment);
        self.spawn(&component.name, &component.place, &component.ready, command, Output::Logged).map(drop)
    }

    /// Starts a node's first process, with the node's own namespaces, in the network namespace at `net`; gives the
    /// process that holds them.
    pub(crate) fn start_node(
        &mut self,
        name: &str,
        net: &Path,
        order: &Path,
        patience: Duration,
    ) -> Result<u32> {
        let place = Place::Node(name.to_owned());
        let mut command = self.join(&place);
        command.arg("nsenter").arg(format!("--net={}", net.display())).arg("--").arg("unshare");
        command.args([
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.args(["--propagation", "private", "--"]).arg(&self.stage).arg("init").arg(order);
        let part = format!("{name}-init");
        let child = self.spawn(&part, &place, &Ready::AtOnce, command, Output::Read)?;
        let holder = child.id();
        let out = child.stdout.take();
        let out = out.ok_or_else(|| Error::Refused(format!("{part} has no standard output")))?;
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // Nobody listens any more: it took too long.
            drop(tell.send(read.map(|_| line)));
        });
        match told.recv_timeout(patience) {
            Ok(Ok(line)) if line.trim() == READY => {}
            Ok(other) => {
                return Err(Error::Failed {
                    what: format!("starting {part}"),
                    said: format!("{other:?}\n{}", self.tail(&part)),
                });
            }
            Err(_) => return Err(late(&format!("{part} ready"), patience, &self.tail(&part))),
        }
        self.doors.holders.push((name.to_owned(), holder));
        Ok(holder)
    }

    /// Waits until a part is ready, while none ends.
    pub(crate) fn wait_ready(&mut self, name: &str, patience: Duration) -> Result<()> {
        let part = self.parts.iter().find(|part| part.name == name);
        let part = part.ok_or_else(|| Error::Refused(format!("no part is called {name}")))?;
        let (place, ready) = (part.place.clone(), part.ready.clone());
        self.wait(&format!("{name} ready"), patience, Some(name), |crew| match &ready {
            Ready::AtOnce => Ok(Ok(())),
            Ready::File(path) if path.exists() => Ok(Ok(())),
            Ready::File(path) => Ok(Err(format!("{} is not there", path.display()))),
            Ready::Command(argv) => crew.ask(&place, argv).map(|answer| answer.map(drop)),
        })
    }

    /// Waits until `look` is content; otherwise it says why not. Any part that ends is an error at once.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        patience: Duration,
        whose_log: Option<&str>,
        mut look: impl FnMut(&Self) -> Result<std::result::Result<(), String>>,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.none_ended()?;
            let why = match look(self)? {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if begun.elapsed() > patience {
                let tail = whose_log.map(|name| self.tail(name)).unwrap_or_default();
                return Err(late(what, patience, format!("{why}\n{tail}").trim()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Runs a command at a place and gives what it printed, or its complaint. It is killed when it takes too long.
    pub(crate) fn ask(&self, place: &Place, argv: &[String]) -> Result<std::result::Result<String, String>> {
        let within = format!("{:.3}", self.asks_within.as_secs_f64());
        let bounded =
            [vec!["timeout".to_owned(), "--signal=KILL".to_owned(), within], argv.to_vec()].concat();
        let output = self.command(place, &bounded)?.stdin(Stdio::null()).output();
        let output = output.map_err(Error::io(format!("running {}", argv.join(" "))))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(Ok(text(&output.stdout)));
        }
        Ok(Err(format!("{}: {}", output.status, text(&output.stderr))))
    }

    /// The same where a complaint is an error.
    pub(crate) fn run(&self, place: &Place, argv: &[String]) -> Result<String> {
        self.ask(place, argv)?.map_err(|said| Error::Failed { what: argv.join(" "), said })
    }

    /// Whether a part has ended since the last look.
    pub(crate) fn look(&mut self) -> Result<bool> {
        let mut any = false;
        for part in self.parts.iter_mut().filter(|part| part.ended.is_none()) {
            let status = part.child.try_wait().map_err(Error::io(format!("waiting for {}", part.name)))?;
            part.ended = status.map(|status| status.to_string());
            any |= part.ended.is_some();
        }
        Ok(any)
    }

    /// All parts, and how those ended that did.
    pub(crate) fn parts(&self) -> Vec<LivePart> {
        let live = |part: &Part| LivePart { name: part.name.clone(), ended: part.ended.clone() };
        self.parts.iter().map(live).collect()
    }

    fn none_ended(&mut self) -> Result<()> {
        self.look()?;
        match self.parts.iter().find_map(|part| Some((part, part.ended.clone()?))) {
            Some((part, status)) => {
                Err(Error::Ended { name: part.name.clone(), status, tail: self.tail(&part.name) })
            }
            None => Ok(()),
        }
    }

    fn spawn(
        &mut self,
        name: &str,
        place: &Place,
        ready: &Ready,
        mut command: Command,
        output: Output,
    ) -> Result<&mut Child> {
        let log = self.logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(Error::io(format!("opening {}", log.display())))?;
        let again = || file.try_clone().map_err(Error::io("a log's second descriptor"));
        let output = match output {
            Output::Logged => again()?.into(),
            Output::Read => Stdio::piped(),
        };
        command.stdin(Stdio::null()).stdout(output).stderr(again()?);
        let child = command.spawn().map_err(Error::io(format!("starting {name}")))?;
        let (name, place, ready) = (name.to_owned(), place.clone(), ready.clone());
        self.parts.push(Part { name, place, ready, child, log, ended: None });
        let last = self.parts.len() - 1;
        Ok(&mut self.parts[last].child)
    }

    fn command(&self, place: &Place, argv: &[String]) -> Result<Command> {
        let mut command = self.join(place);
        command.args(self.doors.to(place)?);
        // Killed with who leads it in, whom this program kills with itself.
        command.args(["setpriv", "--pdeathsig", "KILL", "--"]).args(argv);
        Ok(command)
    }

    /// A command that becomes what is appended, in the place's cgroup.
    fn join(&self, place: &Place) -> Command {
        let mut command = Command::new(&self.stage);
        command.arg("join").arg(cgroup_of(&self.cgroup, place)).arg("--");
        command.env_clear().env("PATH", format!("{}:{PATH}", self.bin.display())).env("HOME", "/root");
        command
    }

    /// The end of a part's log.
    fn tail(&self, name: &str) -> String {
        let log = self.parts.iter().find(|part| part.name == name).map(|part| part.log.clone());
        let text = log.and_then(|log| fs::read(log).ok()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text))
    }
}

/// The cgroup of a place, below the stage's.
pub(crate) fn cgroup_of(stage: &str, place: &Place) -> String {
    match place {
        Place::Keeper | Place::Control => format!("{stage}/control"),
        Place::Node(name) => format!("{stage}/{name}"),
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

fn late(what: &str, patience: Duration, why: &str) -> Error {
    Error::Late { what: what.to_owned(), seconds: patience.as_secs(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crew whose way into a place is short: the program that stands for this one becomes the command at once.
    fn crew(folder: &Path, asks_within: Duration) -> Crew {
        let stage = folder.join("stage");
        fs::write(&stage, "#!/bin/sh\nshift 3\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&stage, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Crew::new(&stage, "none", folder, folder, asks_within)
    }

    fn sh(text: &str) -> Vec<String> {
        ["sh", "-c", text].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_command_that_hangs_is_ended_and_one_that_fails_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let crew = crew(folder.path(), Duration::from_millis(200));
        let begun = Instant::now();
        let said = crew.ask(&Place::Keeper, &sh("sleep 600")).unwrap().unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(60) && said.contains("signal"), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let crew = self::crew(folder.path(), Duration::from_secs(60));
        assert_eq!(crew.ask(&Place::Keeper, &sh("echo yes")).unwrap(), Ok("yes".to_owned()));
        let error = crew.run(&Place::Keeper, &sh("echo no >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("exit status: 3: no"), "{error}");
    }

    #[test]
    fn a_part_that_ends_while_others_are_waited_for_is_told_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut crew = crew(folder.path(), Duration::from_secs(60));
        let never = Ready::File(folder.path().join("never"));
        crew.start(&Component::new("good", Place::Keeper, sh("exec sleep 600")).ready(never)).unwrap();
        let late = crew.wait_ready("good", Duration::from_millis(10)).unwrap_err().to_string();
        assert!(late.contains("not good ready within") && late.contains("never is not there"), "{late}");
        crew.start(&Component::new("bad", Place::Keeper, sh("echo so it is; exit 4"))).unwrap();
        let ended = crew.wait_ready("good", Duration::from_secs(60)).unwrap_err().to_string();
        assert!(ended.contains("bad ended with exit status: 4") && ended.contains("so it is"), "{ended}");
        for part in &mut crew.parts {
            drop(part.child.kill());
            part.child.wait().unwrap();
        }
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let text = (0..100).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        assert!(tail(&text).starts_with("80\n") && tail(&text).ends_with("99"));
        assert_eq!(tail("one"), "one");
        assert_eq!(tail(""), "");
    }
}
