//! Holdfast's daemon on a node of a stage, started as its pod would be: with a service account's token that is bound to the node,
//! and the rights of the chart.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, Ask};
use crate::rig::Stage;

/// How long it may take until the daemon answers, or has ended.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The service account of the chart.
pub(crate) const ACCOUNT: &str = "/api/v1/namespaces/kube-system/serviceaccounts/aws-node";

/// Puts what the chart installs with `ANNOTATE_POD_IP` into the cluster, but for the DaemonSet.
pub(crate) fn install_chart(stage: &Stage) {
    let helm = std::env::var("HOLDFAST_BIN_HELM").expect("HOLDFAST_BIN_HELM, see `./dev stage test`");
    let deploy = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"));
    let output = Command::new(helm)
        .args(["template", "aws-node", "--namespace=kube-system", "--include-crds", "--values"])
        .args([deploy.join("tests/values/annotate-pod-ip.yaml"), deploy.join("chart/holdfast")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rendered = String::from_utf8(output.stdout).unwrap();
    let documents = rendered.split("\n---\n").filter(|document| !document.contains("\nkind: DaemonSet\n"));
    let text = documents.collect::<Vec<_>>().join("\n---\n");
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    stage.kubectl(&["apply", "--server-side", "--filename", &file.path().display().to_string()]);
}

/// The daemon.
pub(crate) struct Daemon<'a> {
    stage: &'a Stage,
    node: String,
    environment: BTreeMap<String, String>,
    account: PathBuf,
    running: Option<Child>,
}

/// A lease, as `holdfast dump` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) pod: String,
    pub(crate) address: String,
    pub(crate) phase: String,
}

impl<'a> Daemon<'a> {
    /// In the place of the one that the stage has started, with its environment and more. `authority`: whom it is to trust
    /// to be the API server.
    pub(crate) fn replace(
        stage: &'a Stage,
        api: &Api,
        node: &str,
        authority: &Path,
        more: &[(&str, &str)],
    ) -> Self {
        let pid = pid_of(stage, node, "holdfast");
        let environment = stage.output(&["exec", node, "cat", &format!("/proc/{pid}/environ")]);
        let mut environment: BTreeMap<String, String> =
            environment.split_terminator('\0').filter_map(|line| line.split_once('=')).map(owned).collect();
        environment.retain(|name, _| name != "PATH" && name != "HOME");
        stage.run(&["exec", node, "kill", "-TERM", &pid]);
        let account = stage.folder().join("account");
        fs::create_dir_all(&account).unwrap();
        fs::write(account.join("namespace"), "kube-system").unwrap();
        fs::copy(authority, account.join("ca.crt")).unwrap();
        environment.insert("HOLDFAST_SERVICE_ACCOUNT".to_owned(), account.display().to_string());
        environment.insert("MY_NODE_NAME".to_owned(), node.to_owned());
        environment.insert("HOLDFAST_DAEMON_SET".to_owned(), "aws-node".to_owned());
        environment.extend(more.iter().copied().map(owned));
        let this = Self { stage, node: node.to_owned(), environment, account, running: None };
        this.wait("the stage's own daemon ended", || (!this.is_there(&pid)).then_some(()));
        this.give_token(&token(api, node));
        this
    }

    /// Puts a token where the daemon finds it.
    pub(crate) fn give_token(&self, token: &str) {
        let new = self.account.join("token.new");
        fs::write(&new, token).unwrap();
        fs::rename(new, self.account.join("token")).unwrap();
    }

    /// Starts it, and waits until it answers.
    pub(crate) fn start(&mut self) {
        let program = std::env::var("HOLDFAST_BIN_DAEMON").expect("HOLDFAST_BIN_DAEMON names the program");
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.stage.command(&["exec", &self.node, &program, "run"]);
        command.envs(&self.environment).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running = Some(command.spawn().unwrap());
        self.wait("it answers", || self.ask(&["health"]).ok());
    }

    /// Stops it, and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        self.stage.run(&["exec", &self.node, "kill", "-TERM", &self.pid()]);
        assert!(running.wait().unwrap().success(), "see {}", self.log().display());
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.stage.folder().join("logs/daemon-under-test.log")
    }

    pub(crate) fn pid(&self) -> String {
        pid_of(self.stage, &self.node, "holdfast")
    }

    /// A setting that holds in it.
    pub(crate) fn setting(&self, name: &str) -> Value {
        let settings: Value = serde_json::from_str(&self.ask(&["settings"]).unwrap()).unwrap();
        settings[name]["value"].clone()
    }

    /// Its whole state.
    pub(crate) fn dump(&self) -> Value {
        serde_json::from_str(&self.ask(&["dump"]).unwrap()).unwrap()
    }

    /// Its leases by sandbox; and that nothing is wrong in its ledger.
    pub(crate) fn leases(&self) -> BTreeMap<String, Lease> {
        let dump = self.dump();
        assert_eq!(dump["violations"], json!([]), "{dump:#}");
        let leases = dump["ledger"]["leases"].as_array().unwrap().iter();
        leases.map(|lease| (lease["sandbox"].as_str().unwrap().to_owned(), Lease::of(lease))).collect()
    }

    /// A line of its process's status, in kilobytes.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = self.stage.output(&["exec", &self.node, "cat", &format!("/proc/{}/status", self.pid())]);
        let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn ask(&self, verb: &[&str]) -> Result<String, String> {
        let program = std::env::var("HOLDFAST_BIN_DAEMON").expect("HOLDFAST_BIN_DAEMON names the program");
        let output = self.stage.command(&[&["exec", &self.node, &program], verb].concat()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn is_there(&self, pid: &str) -> bool {
        self.stage
            .command(&["exec", &self.node, "test", "-e", &format!("/proc/{pid}")])
            .status()
            .unwrap()
            .success()
    }

    fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {what}: see {}",
                self.log().display()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It ends with the stage, and then the command that led into it does.
        if std::thread::panicking() {
            eprintln!("the daemon's log is {}", self.log().display());
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

impl Lease {
    fn of(lease: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let faces = lease["faces"].as_array().unwrap();
        assert_eq!(faces.len(), 1, "{lease}");
        Self { pod: text(&lease["pod"]), address: text(&faces[0]["address"]), phase: text(&lease["phase"]) }
    }
}

/// A token of the chart's service account, bound to the node as that of a pod on it.
pub(crate) fn token(api: &Api, node: &str) -> String {
    let uid = api.ask(Ask::get(&format!("/api/v1/nodes/{node}")))["metadata"]["uid"].clone();
    let bound = json!({ "apiVersion": "v1", "kind": "Node", "name": node, "uid": uid });
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                          "spec": { "expirationSeconds": 7200, "boundObjectRef": bound } });
    api.ask(Ask::make(&format!("{ACCOUNT}/token"), request))["status"]["token"].as_str().unwrap().to_owned()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn pid_of(stage: &Stage, node: &str, program: &str) -> String {
    let pids = stage.output(&["exec", node, "pidof", program]);
    let pids: Vec<&str> = pids.split_whitespace().collect();
    assert_eq!(pids.len(), 1, "one {program} on {node}");
    pids[0].to_owned()
}
