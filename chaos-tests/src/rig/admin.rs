//! The person in charge of the box: a client of `vpcsim`'s admin interface (see `holdfast_sim::admin`).

use std::path::Path;

use anyhow::{Context, bail};
use holdfast_sim::admin::{Counts, FaultSet, ForeignAnswer, ForeignCall, Occupy, State};
use holdfast_sim::fault::{Fault, FaultId};
use holdfast_sim::server::client::AdminClient;
use holdfast_sim::vpc::response::NetworkInterface;
use holdfast_sim::vpc::{Call, CallRecord, ImdsView, InstanceId, SubnetId, Timing};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A client of the box's admin interface.
#[derive(Debug, Clone)]
pub struct Admin {
    client: AdminClient,
}

impl Admin {
    pub(super) fn at(socket: &Path) -> Self {
        Self { client: AdminClient::at(socket) }
    }

    /// Counts of calls since the last reset.
    pub fn counts(&self) -> anyhow::Result<Counts> {
        self.ask("GET", "/log/counts", &Value::Null)
    }

    /// All EC2 calls since the last reset.
    pub fn calls(&self) -> anyhow::Result<Vec<CallRecord>> {
        self.ask("GET", "/log", &Value::Null)
    }

    /// Forgets calls and counts.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.ask::<Value>("POST", "/log/reset", &Value::Null).map(drop)
    }

    /// Lets something go wrong from now on.
    pub fn set_fault(&self, fault: &Fault) -> anyhow::Result<FaultId> {
        Ok(self.ask::<FaultSet>("POST", "/faults", fault)?.id)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) -> anyhow::Result<()> {
        self.ask::<Value>("DELETE", "/faults", &Value::Null).map(drop)
    }

    /// The box's delays.
    pub fn timing(&self) -> anyhow::Result<Timing> {
        self.ask("GET", "/timing", &Value::Null)
    }

    /// Sets the box's delays.
    pub fn set_timing(&self, timing: &Timing) -> anyhow::Result<()> {
        self.ask::<Timing>("PUT", "/timing", timing).map(drop)
    }

    /// Makes a change as somebody who is not the daemon.
    pub fn foreign<C: Call>(&self, call: C) -> anyhow::Result<C::Output> {
        let operation = call.into();
        let what = operation.action();
        match self.ask("POST", "/foreign", &ForeignCall { operation })? {
            ForeignAnswer::Ok(response) => {
                C::output(*response).with_context(|| format!("{what} was answered with something else"))
            }
            ForeignAnswer::Error(error) => bail!("{what}: {error}"),
        }
    }

    /// Others take addresses of a subnet until only this many are free.
    pub fn occupy(&self, subnet: &SubnetId, leave: u32) -> anyhow::Result<()> {
        self.ask::<Value>("POST", &format!("/subnets/{subnet}/occupy"), &Occupy { leave }).map(drop)
    }

    /// Everything there is, without lag or fault.
    pub fn state(&self) -> anyhow::Result<State> {
        self.ask("GET", "/state/ec2", &Value::Null)
    }

    /// The ENIs that are attached to an instance, in truth.
    pub fn enis_of(&self, instance: &InstanceId) -> anyhow::Result<Vec<NetworkInterface>> {
        let mut enis = self.state()?.network_interfaces;
        enis.retain(|eni| eni.attachment.as_ref().is_some_and(|at| at.instance_id == *instance));
        Ok(enis)
    }

    /// What the metadata service of an instance shows just now.
    pub fn imds_view(&self, instance: &InstanceId) -> anyhow::Result<ImdsView> {
        self.ask("GET", &format!("/instances/{instance}/imds"), &Value::Null)
    }

    /// The box's own broken rules: empty unless the simulator is wrong.
    pub fn broken_rules(&self) -> anyhow::Result<Vec<String>> {
        self.ask("GET", "/check", &Value::Null)
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        let body = match json!(body) {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let context = || format!("asking the box: {method} {path} {body}");
        let answer = self.client.send(method.parse()?, path, body.clone());
        let (status, content) = answer.with_context(context)?;
        if status != 200 {
            bail!("{method} {path} {body}: {content}");
        }
        serde_json::from_str(&content).with_context(|| format!("{method} {path} was answered with {content}"))
    }
}
