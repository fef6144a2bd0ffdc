//! The order in which a stage comes up. What is put where is decided in `control`, `node`, `network` and `vpc`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::build::{AGNHOST, BUSYBOX, COREDNS, PAUSE};
use crate::chart;
use crate::cluster::all_ready;
use crate::component::{Component, Content, Place, Ready, words};
use crate::control::{self, ADMIN, Access, Tokens};
use crate::crew::Crew;
use crate::dns;
use crate::error::{Error, Result};
use crate::init::NodeInit;
use crate::network::{self, Network};
use crate::node::Node;
use crate::places::{Places, RunFolder};
use crate::plan::{Plan, Plugin};
use crate::record::write_json;
use crate::state::{Live, LiveNode, State};
use crate::vpc::{self, CONTROL, VpcBox};

/// How long one part may take to be ready: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the box keeps its files: in the keeper's own `/run`, by a path that is short enough for sockets.
const VPCSIM: &str = "/run/vpcsim";
const BOX: &str = "stage";

/// The reference plugins that a node gets.
const PLUGINS: [&str; 6] = ["bandwidth", "host-local", "loopback", "portmap", "ptp", "tuning"];

/// A stage that comes up.
#[derive(Debug)]
pub(crate) struct BringUp {
    state: State,
    bin: PathBuf,
    run: RunFolder,
    /// Its processes.
    pub(crate) crew: Crew,
}

impl BringUp {
    pub(crate) fn new(state: &State, places: &Places, run: &RunFolder) -> Self {
        let bin = places.bin();
        let logs = run.path().join("logs");
        let crew = Crew::new(&state.plan.programs.stage, &state.cgroup, &bin, &logs, PATIENCE);
        Self { state: state.clone(), bin, run: run.clone(), crew }
    }

    /// Brings everything up; gives what there is then.
    pub(crate) fn carry_out(
        &mut self,
        draw: &mut dyn FnMut() -> Result<String>,
        done: &mut dyn FnMut(&str),
    ) -> Result<Live> {
        let plan = self.state.plan.clone();
        let simulated = self.simulate(&plan)?;
        done("the simulated VPC stands");
        let address = simulated.instance(CONTROL)?.address()?;
        let bin = self.bin.clone();
        let authority = self.run.control().join("ca.crt");
        let access = Access { address, authority: authority.display().to_string() };
        let tokens = draw_tokens(&plan, draw)?;
        self.start_api(&access, &tokens)?;
        let mut nodes = Vec::new();
        for name in &plan.nodes {
            let instance = simulated.instance(name)?;
            let node = Node::of(instance, &plan, &bin)?;
            let holder = self.start_node(&node, &instance.netns, &access, &tokens)?;
            let network = self.network(&plan, instance)?;
            self.lay_network(&node, holder, &network)?;
            let (name, address) = (node.name.to_owned(), node.address.to_string());
            nodes.push(LiveNode { name, address, instance: node.instance.to_owned(), holder });
            done(&format!("{} stands at {}", node.name, node.address));
        }
        self.import(&plan, &simulated)?;
        done("the nodes' runtimes have their images");
        self.take_authority(Path::new(&access.authority))?;
        self.crew.wait_ready("kube-apiserver", PATIENCE)?;
        done(&format!("the API server answers at {address}"));
        for part in control::controllers(&self.bin, &self.run.control(), &access) {
            self.crew.start(&part)?;
        }
        for name in &plan.nodes {
            for part in Node::of(simulated.instance(name)?, &plan, &bin)?.agents() {
                self.crew.start(&part)?;
            }
        }
        let manifests = self.run.control().join("dns.json");
        write(&manifests, &control::text(&dns::manifests()))?;
        self.crew.run(
            &Place::Control,
            &self.kubectl(&["apply", "--filename", &manifests.display().to_string()]),
        )?;
        if let (Plugin::Chart, Some(installed)) = (plan.plugin, &plan.programs.chart) {
            let ours = self.run.control().join("values.json");
            let environment = &simulated.instance(&plan.nodes[0])?.environment;
            write(&ours, &control::text(&chart::values(environment)))?;
            let home = self.run.control().join("helm");
            let install = chart::install(installed, &self.run.kubeconfig(), &ours, &home);
            self.crew.run(&Place::Control, &install)?;
            done("the chart is installed");
        }
        self.wait_for_cluster(&plan)?;
        done("all nodes are ready");
        let control = simulated.instance(CONTROL)?.netns.clone();
        Ok(Live { control, nodes, parts: self.crew.parts() })
    }

    fn simulate(&mut self, plan: &Plan) -> Result<VpcBox> {
        let scenario = self.run.path().join("scenario.toml");
        write(&scenario, &vpc::scenario(plan))?;
        let described = Path::new(VPCSIM).join(BOX).join("box.json");
        let mut argv = vec![plan.programs.vpcsim.display().to_string()];
        argv.extend(words(["up", "--json", "--name", BOX, "--run-dir", VPCSIM, "--scenario"]));
        argv.push(scenario.display().to_string());
        let part = Component::new("vpcsim", Place::Keeper, argv).ready(Ready::File(described.clone()));
        self.crew.start(&part)?;
        self.crew.wait_ready("vpcsim", PATIENCE)?;
        let what = || format!("reading {}", described.display());
        let text = fs::read(&described).map_err(Error::io(what()))?;
        let simulated: VpcBox =
            serde_json::from_slice(&text).map_err(|source| Error::Garbled { what: what(), source })?;
        self.crew.doors.control.clone_from(&simulated.instance(CONTROL)?.netns);
        Ok(simulated)
    }

    fn start_api(&mut self, access: &Access, tokens: &Tokens) -> Result<()> {
        let control = self.run.control();
        write_all(&control, &control::files(access, tokens))?;
        write(&self.run.kubeconfig(), &access.kubeconfig(tokens.of(ADMIN.name)))?;
        for command in control::keys(&control) {
            self.crew.run(&Place::Keeper, &command)?;
        }
        for part in control::api(&self.bin, &control, &self.run.kubeconfig(), access.address) {
            self.crew.start(&part)?;
        }
        Ok(())
    }

    /// Takes the authority out of the certificates that the API server makes for itself.
    fn take_authority(&mut self, to: &Path) -> Result<()> {
        let made = self.run.control().join("pki/apiserver.crt");
        self.crew.wait("the API server's certificate made", PATIENCE, Some("kube-apiserver"), |_| {
            let Some(authority) = fs::read_to_string(&made).ok().and_then(|pem| control::authority(&pem))
            else {
                return Ok(Err(format!("{} is not whole", made.display())));
            };
            write(to, &authority).map(Ok)
        })
    }

    /// Makes a node with its runtime; gives the holder of its namespaces.
    fn start_node(&mut self, node: &Node<'_>, net: &Path, access: &Access, tokens: &Tokens) -> Result<u32> {
        let disk = self.run.node(node.name);
        write_all(&disk.join("config"), &node.files(access, tokens))?;
        let order = NodeInit {
            name: node.name.to_owned(),
            disk: disk.clone(),
            plugins: PLUGINS.map(|plugin| self.bin.join(plugin)).to_vec(),
            hierarchies: self.state.hierarchies.clone(),
            machine_id: node.machine_id(),
        };
        let file = disk.join("init.json");
        write_json(&file, &order)?;
        let holder = self.crew.start_node(node.name, net, &file, PATIENCE)?;
        self.crew.start(&node.runtime())?;
        Ok(holder)
    }

    fn network(&self, plan: &Plan, instance: &vpc::Instance) -> Result<Network> {
        match (plan.plugin, &plan.programs.holdfast) {
            (Plugin::Holdfast, Some(programs)) => {
                Ok(network::holdfast(&instance.name, programs, &instance.environment))
            }
            (Plugin::Holdfast, None) => Err(Error::Refused("the plan names no daemon".to_owned())),
            // Its daemon puts onto the node what is to be there.
            (Plugin::Chart, _) => Ok(Network::default()),
            (Plugin::Ptp, _) => Ok(network::ptp(&self.prefixes(plan, instance)?)),
        }
    }

    /// Has EC2 put prefixes on the instance's first ENI.
    fn prefixes(&self, plan: &Plan, instance: &vpc::Instance) -> Result<Vec<String>> {
        let ask = |request: &[&str]| -> Result<Value> {
            let mut argv = vec![plan.programs.vpcsim.display().to_string()];
            argv.extend(words(["admin", "--name", BOX, "--run-dir", VPCSIM]));
            argv.extend(request.iter().map(|&word| word.to_owned()));
            let answer = self.crew.run(&Place::Keeper, &argv)?;
            serde_json::from_str(&answer)
                .map_err(|source| Error::Garbled { what: format!("the answer to {request:?}"), source })
        };
        let state = ask(&["state"])?;
        let eni = vpc::first_eni(&state, &instance.instance);
        let eni = eni.ok_or_else(|| Error::Refused(format!("{} has no ENI", instance.name)))?;
        let answer = ask(&["foreign", &vpc::assign_prefixes(&eni, network::PREFIXES).to_string()])?;
        let prefixes = vpc::assigned(&answer);
        if prefixes.is_empty() {
            return Err(Error::Failed {
                what: format!("putting prefixes on {eni}"),
                said: answer.to_string(),
            });
        }
        Ok(prefixes)
    }

    fn lay_network(&mut self, node: &Node<'_>, holder: u32, network: &Network) -> Result<()> {
        // The node's own view of its files.
        let root = PathBuf::from(format!("/proc/{holder}/root"));
        let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        for plugin in &network.plugins {
            let at = inside(&Path::new("/opt/cni/bin").join(plugin.file_name().unwrap_or_default()));
            let copy = fs::copy(plugin, &at)
                .and_then(|_| fs::set_permissions(&at, fs::Permissions::from_mode(0o755)));
            copy.map_err(Error::io(format!("putting {} onto {}", plugin.display(), node.name)))?;
        }
        for file in &network.files {
            write(&inside(&file.path), &file.text)?;
        }
        for part in &network.parts {
            self.crew.start(part)?;
        }
        Ok(())
    }

    /// Gives every runtime the images, on all nodes at once.
    fn import(&mut self, plan: &Plan, simulated: &VpcBox) -> Result<()> {
        for name in &plan.nodes {
            self.crew.wait_ready(&format!("{name}-containerd"), PATIENCE)?;
        }
        let crew = &self.crew;
        let import = |name: &String| -> Result<()> {
            let node = Node::of(simulated.instance(name)?, plan, &self.bin)?;
            let packed = [PAUSE, BUSYBOX, COREDNS, AGNHOST].map(|archive| self.bin.join(archive.name));
            for archive in packed.iter().chain(plan.programs.chart.iter().map(|chart| &chart.image)) {
                crew.run(&Place::Node(name.clone()), &node.import(archive))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = plan.nodes.iter().map(|name| scope.spawn(move || import(name))).collect();
            let panicked = |_| Error::Refused("a thread that imports images has panicked".to_owned());
            running.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
        })
    }

    fn kubectl(&self, request: &[&str]) -> Vec<String> {
        let mut argv = vec![self.bin.join("kubectl").display().to_string()];
        argv.push(format!("--kubeconfig={}", self.run.kubeconfig().display()));
        argv.extend(request.iter().map(|&word| word.to_owned()));
        argv
    }

    /// Until all nodes are ready, and the account that pods run as exists.
    fn wait_for_cluster(&mut self, plan: &Plan) -> Result<()> {
        let nodes = self.kubectl(&["get", "nodes", "--output=json"]);
        let account = self.kubectl(&["get", "serviceaccount", "default", "--output=name"]);
        self.crew.wait("all nodes ready", PATIENCE, None, |crew| {
            Ok(crew.ask(&Place::Control, &nodes)?.and_then(|list| all_ready(&list, &plan.nodes)))
        })?;
        self.crew.wait(
            "the default service account made",
            PATIENCE,
            Some("kube-controller-manager"),
            |crew| Ok(crew.ask(&Place::Control, &account)?.map(drop)),
        )
    }
}

/// The first failure of the source of randomness is the outcome.
fn draw_tokens(plan: &Plan, draw: &mut dyn FnMut() -> Result<String>) -> Result<Tokens> {
    let mut failed = None;
    let tokens = Tokens::draw(&plan.nodes, &mut || {
        draw().unwrap_or_else(|error| {
            failed.get_or_insert(error);
            String::new()
        })
    });
    failed.map_or(Ok(tokens), Err)
}

fn write_all(folder: &Path, files: &[Content]) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io(format!("making {}", folder.display())))?;
    files.iter().try_for_each(|file| write(&folder.join(&file.path), &file.text))
}

/// For root's eyes: some hold tokens.
fn write(path: &Path, text: &str) -> Result<()> {
    let write = || {
        fs::write(path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    };
    write().map_err(Error::io(format!("writing {}", path.display())))
}
