//! A Kubernetes API server and its etcd, in a network namespace of their own.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_cluster::{Deadlines, Door, DoorSettings};
use holdfast_model::ids::BootId;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::Clock;
use kube::Client;
use kube::config::{AuthInfo, Config};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

pub(crate) const SERVER: &str = "https://127.0.0.1:6443";
/// Longer than anything takes that comes at all, on machines that have much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);
/// So that a hung request is over soon.
pub(crate) const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(3),
    silence: Duration::from_secs(150),
    watch: Duration::from_secs(600),
};

/// Runs a case on a thread in a network namespace of its own, which is gone with the thread and what it started.
pub(crate) fn alone<F: Future<Output = ()>>(case: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let case = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: these tests need root");
            run("ip", &["link", "set", "lo", "up"]);
            // The server will not advertise an address of the loopback network.
            run("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(case());
        });
        if let Err(panic) = case.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn run(program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A process that dies with the thread that started it.
struct Process(Child);

impl Process {
    fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv {}: {error}", program.display()));
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.unwrap_or_else(|| panic!("{variable} must name the program: see the head of this test"));
    assert!(path.is_file(), "{variable}: {} is no file", path.display());
    path
}

/// The pair.
pub(crate) struct ApiServer {
    folder: TempDir,
    etcd: Option<Process>,
    server: Option<Process>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let tokens = "admin,admin,1,\"system:masters\"\nnobody,nobody,2,\ndaemon,daemon,3,\n";
        std::fs::write(file("tokens"), tokens).unwrap();
        std::fs::write(file("admin.token"), "admin").unwrap();
        std::fs::write(file("nobody.token"), "nobody").unwrap();
        std::fs::write(file("daemon.token"), "daemon").unwrap();
        run("openssl", &["genrsa", "-out", &file("sa.key"), "2048"]);
        let mut pair = Self { folder, etcd: None, server: None };
        pair.start_etcd();
        pair.start_server().await;
        pair
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_etcd(&mut self) {
        let arguments = [
            format!("--data-dir={}", self.file("etcd").display()),
            "--unsafe-no-fsync".to_owned(),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        ];
        self.etcd = Some(Process::start(&program("HOLDFAST_BIN_ETCD"), &arguments, &self.file("etcd.log")));
    }

    pub(crate) async fn start_server(&mut self) {
        let file = |name: &str| self.file(name).display().to_string();
        let arguments = [
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=192.0.2.1".to_owned(),
            "--secure-port=6443".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", file("certificates")),
            format!("--token-auth-file={}", file("tokens")),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--service-account-key-file={}", file("sa.key")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Nobody makes tokens for service accounts here.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        let log = self.file("server.log");
        self.server = Some(Process::start(&program("HOLDFAST_BIN_KUBE_APISERVER"), &arguments, &log));
        let start = Instant::now();
        loop {
            if let Ok(client) = self.client("admin")
                && let Ok(request) = http::Request::get("/readyz").body(Vec::new())
                && let Ok(Ok(_)) =
                    tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await
            {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "the API server is not ready:\n{}",
                std::fs::read_to_string(&log).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn stop_server(&mut self) {
        self.server = None;
    }

    /// Sets the store back to nothing, as a restored backup would set it back to something.
    pub(crate) fn lose_store(&mut self) {
        self.etcd = None;
        std::fs::remove_dir_all(self.file("etcd")).unwrap();
        self.start_etcd();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("certificates/apiserver.crt")
    }

    /// A client of its own, for arranging and judging.
    pub(crate) fn client(&self, user: &str) -> Result<Client, kube::Error> {
        let mut config = Config::new(SERVER.parse().unwrap());
        config.root_cert_file = Some(self.certificate());
        config.auth_info = AuthInfo {
            token_file: (!user.is_empty()).then(|| self.file(&format!("{user}.token")).display().to_string()),
            ..AuthInfo::default()
        };
        config.default_retry = false;
        Client::try_from(config)
    }

    /// The door under test.
    pub(crate) fn door(&self, server: &str, user: &str) -> Door {
        self.impatient_door(server, user, DEADLINES.silence)
    }

    /// One that gives a watch up after so much silence.
    pub(crate) fn impatient_door(&self, server: &str, user: &str, silence: Duration) -> Door {
        Door::open(DoorSettings {
            server: server.parse().unwrap(),
            ca_file: self.certificate(),
            token_file: self.file(&format!("{user}.token")),
            deadlines: Deadlines { silence, ..DEADLINES },
        })
        .unwrap()
    }
}

/// The machine's clock.
pub(crate) struct TestClock(Instant);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let boottime = BootTime(u64::try_from(self.0.elapsed().as_millis()).unwrap());
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Now { boot: BootId::new("test"), boottime, wall: WallTime(u64::try_from(wall.as_millis()).unwrap()) }
    }

    fn random(&self) -> u128 {
        self.0.elapsed().as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}
