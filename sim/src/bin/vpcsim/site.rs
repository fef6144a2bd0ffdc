//! A box that stands, and what is changed of it while it does.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use holdfast_sim::fabric::Fabric;
use holdfast_sim::scenario::{InternetTable, NodeTable, Scenario, SubnetTable};
use holdfast_sim::server::{ClockMode, SharedVpc};
use holdfast_sim::vpc::{ApiError, InstanceId, SimVpc, SubnetId, VpcId};
use ipnet::Ipv4Net;

use crate::control::Request;
use crate::description::{Description, NodeDescription};
use crate::run_dir::RunDir;

/// How long the network may take to follow, also on a busy machine.
const SETTLED: Duration = Duration::from_secs(30);

/// The box, its network, and what is said of them. The network ends with it.
pub(crate) struct Site {
    folder: RunDir,
    shared: SharedVpc,
    fabric: Fabric,
    vpc: VpcId,
    subnets: BTreeMap<String, SubnetId>,
    internet: InternetTable,
    description: Description,
}

impl Site {
    /// Makes it. To be called inside a runtime. Nothing is published yet.
    pub(crate) fn up(folder: &RunDir, name: &str, scenario: &Scenario) -> anyhow::Result<Self> {
        let built = scenario.build()?;
        let spec = built.fabric();
        let shared = SharedVpc::new(built.vpc, ClockMode::Running, SystemTime::now());
        let fabric = Fabric::up(&shared, &spec)
            .context("make the network (this needs root, if only of a user namespace)")?;
        for node in fabric.nodes() {
            folder.link_netns(node.name(), &node.path())?;
        }
        for namespace in [fabric.router(), fabric.internet()] {
            folder.link_netns(namespace.name(), &namespace.path())?;
        }
        let description =
            Description::of(name, &shared, &fabric, folder.admin_socket(), |name| folder.netns(name))?;
        Ok(Self {
            folder: folder.clone(),
            shared,
            fabric,
            vpc: built.vpc_id,
            subnets: built.subnets,
            internet: built.internet,
            description,
        })
    }

    pub(crate) fn shared(&self) -> &SharedVpc {
        &self.shared
    }

    pub(crate) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// Tells others how it is now.
    pub(crate) fn publish(&self) -> anyhow::Result<()> {
        self.folder.publish(&serde_json::to_string(&self.description)?)
    }

    /// Carries out a request; gives what was asked for, if anything was. Blocks while the kernel works.
    pub(crate) fn change(&mut self, request: Request) -> anyhow::Result<Option<String>> {
        match request {
            Request::Add(table) => self.add(&table)?,
            Request::Remove(node) => self.remove(&node)?,
            Request::Reboot(node) => self.power(&node, SimVpc::reboot_instance)?,
            Request::Stop(node) => self.power(&node, SimVpc::stop_instance)?,
            Request::Start(node) => self.power(&node, SimVpc::start_instance)?,
            Request::Lose(node, losses) => self.fabric.lose(&self.name_of(&node)?, &losses)?,
            Request::Lost(node) => return Ok(Some(self.fabric.lost(&self.name_of(&node)?)?.to_string())),
            Request::AddSubnet(table) => return Ok(Some(self.add_subnet(&table)?.to_string())),
            Request::AddCidr(cidr) => self.add_cidr(cidr)?,
        }
        self.publish()?;
        Ok(None)
    }

    fn add(&mut self, table: &NodeTable) -> anyhow::Result<()> {
        if self.fabric.node(&table.name).is_some() {
            bail!("there is a node {:?} already", table.name);
        }
        let spec = self.shared.with(|vpc| table.run(vpc, &self.subnets))?;
        let node = self.fabric.add_node(&spec)?;
        self.folder.link_netns(node.name(), &node.path())?;
        let netns = self.folder.netns(node.name());
        self.description.nodes.push(NodeDescription::of(&self.shared, node, netns)?);
        Ok(())
    }

    fn add_subnet(&mut self, table: &SubnetTable) -> anyhow::Result<SubnetId> {
        if let Some(id) = self.subnets.get(&table.name) {
            bail!("there is a subnet {:?} already: {id}", table.name);
        }
        let id = self.shared.with(|vpc| table.make(vpc, self.vpc))?;
        self.subnets.insert(table.name.clone(), id);
        self.fabric.settle(SETTLED)?;
        Ok(id)
    }

    fn add_cidr(&self, cidr: Ipv4Net) -> anyhow::Result<()> {
        if let Some(problem) = self.internet.inside(cidr.into()) {
            bail!(problem);
        }
        self.shared.with(|vpc| vpc.add_vpc_cidr(&self.vpc, cidr)).with_context(|| format!("add {cidr}"))?;
        Ok(self.fabric.settle(SETTLED)?)
    }

    fn remove(&mut self, wanted: &str) -> anyhow::Result<()> {
        let name = self.name_of(wanted)?;
        if let Some(node) = self.fabric.remove_node(&name)? {
            self.shared.with(|vpc| vpc.terminate_instance(node.instance()))?;
        }
        self.description.nodes.retain(|node| node.name != name);
        self.folder.unlink_netns(&name)
    }

    /// Switches a node's instance. Returns when all that this changed at once is there; the rest takes its time.
    fn power(
        &self,
        wanted: &str,
        switch: impl FnOnce(&mut SimVpc, &InstanceId) -> Result<(), ApiError>,
    ) -> anyhow::Result<()> {
        let instance = &self.description.node(wanted)?.instance;
        self.shared.with(|vpc| switch(vpc, instance))?;
        Ok(self.fabric.settle(SETTLED)?)
    }

    /// The name of the node of this name or instance id.
    fn name_of(&self, wanted: &str) -> anyhow::Result<String> {
        Ok(self.description.node(wanted)?.name.clone())
    }
}
