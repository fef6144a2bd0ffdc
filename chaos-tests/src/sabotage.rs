//! Broken programs: a judge that has never condemned one is none.
//!
//! A wrapper stands in a real program's place, runs it, and spoils what it does (`src/bin/saboteur`). Each harness is run
//! against its list, and must fail with the right words.
//!
//! ```text
//!   DIR/aws-cni ─> saboteur     what HOLDFAST_BIN_PLUGIN names
//!   DIR/real ────> aws-cni      what it runs
//!   DIR/how                     the sabotage's name
//!   DIR/hits                    a line each time that it did harm
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::rig::Programs;

/// A sabotaged run that hangs is ended: the judges have bounds of their own, all shorter.
const PATIENCE: Duration = Duration::from_secs(180);

/// Lines that are shown of a harness that did not find what it should.
const LAST_WORDS: usize = 40;

/// What is put in whose place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `aws-cni`.
    Plugin,
    /// `holdfast`.
    Daemon,
    /// `vpcsim`.
    Box,
}

/// A program that is broken in one way.
#[derive(Clone, Copy, Debug)]
pub struct Sabotage {
    /// Its name.
    pub name: &'static str,
    /// Which program.
    pub part: Part,
}

const fn plugin(name: &'static str) -> Sabotage {
    Sabotage { name, part: Part::Plugin }
}

const fn daemon(name: &'static str) -> Sabotage {
    Sabotage { name, part: Part::Daemon }
}

const fn of_box(name: &'static str) -> Sabotage {
    Sabotage { name, part: Part::Box }
}

/// A plugin that tells a wrong prefix length.
pub const TELLS_A_NETWORK: Sabotage = plugin("tells-a-network");
/// A plugin that tells a gateway.
pub const TELLS_A_GATEWAY: Sabotage = plugin("tells-a-gateway");
/// A plugin that tells a nonsense MAC.
pub const TELLS_A_MAC: Sabotage = plugin("tells-a-mac");
/// A plugin whose CHECK is `exit 0`.
pub const CHECK_SAYS_YES: Sabotage = plugin("check-says-yes");
/// A plugin that refuses four of five ADDs once the daemon was killed.
pub const REFUSES_AFTER_KILLS: Sabotage = plugin("refuses-after-kills");
/// A plugin that fails an ADD as soon as the daemon that it asks is not there or goes away.
pub const DOES_NOT_WAIT: Sabotage = plugin("does-not-wait");
/// A plugin that gives one address to every second pod.
pub const GIVES_ONE_TWICE: Sabotage = plugin("gives-one-twice");
/// A plugin that gives an address that EC2 does not show.
pub const GIVES_AN_UNKNOWN_ONE: Sabotage = plugin("gives-an-unknown-one");
/// A plugin that answers before the sandbox is wired.
pub const ANSWERS_EARLY: Sabotage = plugin("answers-early");
/// A plugin whose DEL is `exit 0`.
pub const DEL_DOES_NOTHING: Sabotage = plugin("del-does-nothing");
/// A plugin whose DEL fails without a daemon.
pub const DEL_NEEDS_A_DAEMON: Sabotage = plugin("del-needs-a-daemon");
/// A plugin that takes a second more for each ADD.
pub const SLOW_ADDS: Sabotage = plugin("slow-adds");
/// A plugin that takes a second more for each DEL.
pub const SLOW_DELS: Sabotage = plugin("slow-dels");
/// A plugin that leaves a small MTU.
pub const SMALL_MTU: Sabotage = plugin("small-mtu");
/// A plugin that leaves a pod with a wrong link-layer address for its gateway.
pub const WRONG_NEIGHBOUR: Sabotage = plugin("wrong-neighbour");
/// A plugin that leaves a pod with a route that destroys packets.
pub const BLACKHOLE_INSIDE: Sabotage = plugin("blackhole-inside");
/// A plugin that leaves a pod with a default route for small packets only.
pub const SMALL_ROUTE_INSIDE: Sabotage = plugin("small-route-inside");
/// A plugin that leaves a pod with two gateways on one route.
pub const TWO_GATEWAYS_INSIDE: Sabotage = plugin("two-gateways-inside");
/// A plugin that leaves a pod with a permanent neighbour of IPv6.
pub const NEIGHBOUR_V6_INSIDE: Sabotage = plugin("neighbour-v6-inside");
/// A plugin whose refusals have no cause.
pub const REFUSES_WITHOUT_CAUSE: Sabotage = plugin("refuses-without-cause");
/// A plugin that may not enter the sandbox, and so hands no socket in it over.
pub const HANDS_NO_SOCKET: Sabotage = plugin("hands-no-socket");

/// A daemon that leaves a rule behind.
pub const LEAVES_A_RULE: Sabotage = daemon("leaves-a-rule");
/// A daemon that leaves a rule behind which destroys packets.
pub const LEAVES_A_DROPPING_RULE: Sabotage = daemon("leaves-a-dropping-rule");
/// A daemon that leaves a blackhole route behind.
pub const LEAVES_A_BLACKHOLE: Sabotage = daemon("leaves-a-blackhole");
/// A daemon that leaves an IPv6 route behind.
pub const LEAVES_A_ROUTE_V6: Sabotage = daemon("leaves-a-route-v6");
/// A daemon that leaves a neighbour behind which nobody is ever asked about.
pub const LEAVES_A_NEIGHBOUR: Sabotage = daemon("leaves-a-neighbour");
/// A daemon that leaves a neighbour of IPv6 behind.
pub const LEAVES_A_NEIGHBOUR_V6: Sabotage = daemon("leaves-a-neighbour-v6");
/// A daemon whose routes to pods have a source of their own.
pub const SOURCES_OF_ROUTES: Sabotage = daemon("sources-of-routes");
/// A daemon beside which somebody has the primary ENI's link check the way back strictly.
pub const STRICT_PRIMARY: Sabotage = daemon("strict-primary");
/// The same of a secondary ENI's.
pub const STRICT_SECONDARY: Sabotage = daemon("strict-secondary");
/// A daemon that leaves a packet filter table behind.
pub const LEAVES_A_TABLE: Sabotage = daemon("leaves-a-table");
/// A daemon that leaves a veth pair for each pod that goes.
pub const LEAVES_A_VETH: Sabotage = daemon("leaves-a-veth");
/// A daemon that leaves a setting changed.
pub const LEAVES_A_SETTING: Sabotage = daemon("leaves-a-setting");
/// A daemon that sends pods of secondary ENIs out of the primary one.
pub const SENDS_BY_THE_PRIMARY: Sabotage = daemon("sends-by-the-primary");
/// A daemon whose rules from pods of secondary ENIs take one protocol only.
pub const NARROWS_RULES: Sabotage = daemon("narrows-rules");
/// A daemon that loses a lease when it is started again.
pub const LOSES_A_LEASE: Sabotage = daemon("loses-a-lease");
/// A daemon that forgets all it knew when it is started again.
pub const FORGETS_ALL: Sabotage = daemon("forgets-all");
/// A daemon that translates no source address.
pub const NO_NAT: Sabotage = daemon("no-nat");
/// A daemon that forgets NodePorts' marks.
pub const NO_NODE_PORTS: Sabotage = daemon("no-node-ports");
/// A daemon that asks EC2 for each address.
pub const MANY_CALLS: Sabotage = daemon("many-calls");
/// A daemon whose addresses do not rest.
pub const NO_REST: Sabotage = daemon("no-rest");
/// A daemon that does not know its cluster.
pub const NO_CLUSTER: Sabotage = daemon("no-cluster");
/// A daemon that forgets the tags that ENIs are to have.
pub const NO_EXTRA_TAGS: Sabotage = daemon("no-extra-tags");
/// A daemon that takes five seconds to come back.
pub const SLOW_RESTART: Sabotage = daemon("slow-restart");

/// A router that checks no source.
pub const CHECKS_NO_SOURCE: Sabotage = of_box("checks-no-source");
/// A router that delivers a secondary ENI's addresses to the primary one.
pub const STALE_OWNER: Sabotage = of_box("stale-owner");
/// An EC2 in which an ENI is left that nobody uses.
pub const LEAKS_AN_ENI: Sabotage = of_box("leaks-an-eni");

/// A wrapper on the disk.
#[derive(Debug)]
pub struct Wrapped {
    sabotage: Sabotage,
    folder: TempDir,
    program: PathBuf,
}

impl Wrapped {
    /// Puts `saboteur` in front of the real program, in a folder below `place`.
    pub fn make(sabotage: Sabotage, saboteur: &Path, place: &Path) -> anyhow::Result<Self> {
        let programs = Programs::from_env()?;
        let real = match sabotage.part {
            Part::Plugin => programs.plugin,
            Part::Daemon => programs.daemon,
            Part::Box => programs.vpcsim,
        };
        let folder = tempfile::Builder::new().prefix(sabotage.name).tempdir_in(place)?;
        let program = folder.path().join(real.file_name().context("a program has a name")?);
        symlink(saboteur, &program)?;
        symlink(&real, folder.path().join("real"))?;
        fs::write(folder.path().join("how"), sabotage.name)?;
        Ok(Self { sabotage, folder, program })
    }

    /// Has a command use it in the real program's place.
    pub fn put_into(&self, command: &mut Command) {
        let variable = match self.sabotage.part {
            Part::Plugin => "HOLDFAST_BIN_PLUGIN",
            Part::Daemon => "HOLDFAST_BIN_DAEMON",
            Part::Box => "HOLDFAST_BIN_VPCSIM",
        };
        command.env(variable, &self.program);
    }

    /// How often it did harm.
    pub fn hits(&self) -> usize {
        fs::read_to_string(self.folder.path().join("hits")).map_or(0, |text| text.lines().count())
    }

    /// Runs a harness with it, which must fail and say one of these; an error tells the end of what it said instead.
    /// Gives all of it.
    pub fn is_found(&self, mut harness: Command, words: &[&str]) -> anyhow::Result<String> {
        let name = self.sabotage.name;
        self.put_into(&mut harness);
        let out = self.folder.path().join("said");
        let file = fs::File::create(&out)?;
        harness.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut child = harness.spawn().with_context(|| format!("starting the harness for {name}"))?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                bail!("{name}: no end after {} s: {}", PATIENCE.as_secs(), fs::read_to_string(&out)?);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let said = String::from_utf8_lossy(&fs::read(&out)?).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        // What a test said as it failed may be far from the end.
        let failures = lines.windows(2).filter(|pair| pair[0].contains(" panicked at ")).map(|pair| pair[1]);
        let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
        let shown = failures.chain(last.iter().copied());
        let end: Vec<String> = shown.map(|line| line.chars().take(500).collect()).collect();
        let end = end.join("\n");
        ensure!(self.hits() > 0, "{name} did no harm, so nothing was tried:\n{end}");
        ensure!(!status.success(), "{name} went unnoticed:\n{end}");
        ensure!(
            words.iter().any(|words| said.contains(words)),
            "{name} was noticed, but {words:?} was not said:\n{end}"
        );
        Ok(said)
    }
}

/// Runs a test of the calling test program against broken programs: each must make it fail, with one of its words: what
/// is noticed by more than one is noticed by whoever comes first.
pub fn each_is_found(saboteur: &str, place: &str, list: &[(&str, Sabotage, &[&str])]) {
    for (test, sabotage, words) in list {
        let mut harness = Command::new(std::env::current_exe().expect("a test program knows where it is"));
        harness.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        let found = Wrapped::make(*sabotage, Path::new(saboteur), Path::new(place))
            .and_then(|wrapped| wrapped.is_found(harness, words));
        match found {
            Ok(said) => {
                assert!(said.contains(&format!("test {test} ...")), "there is no test {test}: {said}");
                println!("{test} finds {}", sabotage.name);
            }
            Err(error) => panic!("{test}: {error:#}"),
        }
    }
}
