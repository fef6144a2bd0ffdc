//! A runtime: starts the plugin with an environment and a configuration, and looks at what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use holdfast_wire::spool::{Listing, Spool};
use serde_json::{Value, json};

pub(crate) const ARGS: &str =
    "IgnoreUnknown=1;K8S_POD_NAME=sample-pod;K8S_POD_UID=u-1;K8S_POD_NAMESPACE=default;X=y";

/// How a run of the plugin ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ran {
    /// Exit 0 and one JSON value on stdout.
    pub(crate) fn result(&self) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.only_json()
    }

    /// Exit 0 and nothing on stdout.
    pub(crate) fn silent_success(&self) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (Some(0), "", ""), "{self:?}");
    }

    /// Exit 1 and an error object of this code on stdout.
    pub(crate) fn error(&self, code: u32) -> Value {
        assert_eq!((self.code, self.stderr.as_str()), (Some(1), ""), "{self:?}");
        let error = self.only_json();
        assert_eq!(error["code"], code, "{error}");
        assert!(!error["msg"].as_str().unwrap().is_empty());
        error
    }

    fn only_json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A place with a socket and a spool of its own.
pub(crate) struct Runtime {
    dir: tempfile::TempDir,
    pub(crate) conf: Value,
    pub(crate) env: BTreeMap<String, String>,
}

impl Runtime {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let conf = json!({
            "cniVersion": "1.0.0", "name": "aws-cni", "type": "aws-cni", "mtu": "9001", "vethPrefix": "eni",
            "socket": dir.path().join("run/cni.sock"), "spool": dir.path().join("var/spool"),
        });
        fs::create_dir(dir.path().join("run")).unwrap();
        let netns = format!("/proc/{}/ns/net", std::process::id());
        let env = [
            ("CNI_CONTAINERID", "3f5c9d"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", netns.as_str()),
            ("CNI_ARGS", ARGS),
            ("CNI_PATH", "/opt/cni/bin"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self { dir, conf, env: BTreeMap::from(env) }
    }

    /// With one key of the configuration set, or removed by null.
    pub(crate) fn conf(mut self, key: &str, value: impl Into<Value>) -> Self {
        match value.into() {
            Value::Null => drop(self.conf.as_object_mut().unwrap().remove(key)),
            value => self.conf[key] = value,
        }
        self
    }

    /// With one variable set, or removed by an empty text.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        if value.is_empty() {
            drop(self.env.remove(key));
        } else {
            drop(self.env.insert(key.into(), value.into()));
        }
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/cni.sock")
    }

    pub(crate) fn spooled(&self) -> Listing {
        Spool::new(self.path("var/spool")).list().unwrap()
    }

    /// Runs `command` with the configuration, which is of a version that has it unless it says otherwise.
    pub(crate) fn run(&self, command: &str) -> Ran {
        let mut conf = self.conf.clone();
        if matches!(command, "STATUS" | "GC") && conf["cniVersion"] == "1.0.0" {
            conf["cniVersion"] = "1.1.0".into();
        }
        self.run_with(command, conf.to_string().as_bytes())
    }

    /// Runs `command` with any text on stdin.
    pub(crate) fn run_with(&self, command: &str, stdin: &[u8]) -> Ran {
        run(self.command(command), stdin)
    }

    /// The plugin, to be started.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_aws-cni"));
        plugin.env_clear().envs(&self.env).env("CNI_COMMAND", command);
        plugin
    }
}

/// Runs a prepared plugin to its end, which must come within 30 s.
pub(crate) fn run(mut plugin: Command, stdin: &[u8]) -> Ran {
    let started = Instant::now();
    let mut child =
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A plugin may end before it has read all.
    drop(child.stdin.take().unwrap().write_all(stdin));
    let status = ended(&mut child);
    let took = started.elapsed();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Ran { code: status.code(), stdout, stderr, took }
}

/// Waits for a plugin's end.
pub(crate) fn ended(plugin: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = plugin.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > Duration::from_secs(30) {
            plugin.kill().unwrap();
            plugin.wait().unwrap();
            panic!("the plugin did not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
}
