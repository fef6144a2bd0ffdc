//! `vpcsim admin`: a small client of the admin interface, for scripts.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use holdfast_sim::server::client::AdminClient;
use serde_json::{Value, json};

use crate::run_dir::RunDir;
use crate::say;

/// What can be asked. The box's own documentation of the interface: `holdfast_sim::admin`.
#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Counts of EC2 calls and IMDS reads since the last reset.
    Counts,
    /// Every EC2 call since the last reset, with its parameters and outcome.
    Calls,
    /// IMDS reads per node and path.
    Imds,
    /// Forgets calls, reads and counts.
    Reset,
    /// The faults in force.
    Faults,
    /// Sets a fault, such as '{"kind": {"type": "throttle"}, "count": 5}'.
    Fault {
        /// The fault as JSON.
        fault: String,
        /// Scopes it to this node.
        #[arg(long)]
        node: Option<String>,
    },
    /// Takes one fault away, or all.
    Clear {
        /// The number that setting it printed.
        id: Option<u64>,
    },
    /// Makes a change as someone else, without faults, delay or log, such as '{"DeleteNetworkInterface":
    /// {"networkInterfaceId": "eni-…"}}'. Fails if EC2 refuses it.
    Foreign {
        /// The operation as JSON.
        operation: String,
    },
    /// Ends a node's instance.
    Terminate {
        /// The node, or an instance id.
        node: String,
    },
    /// What IMDS of a node shows now.
    View {
        /// The node, or an instance id.
        node: String,
    },
    /// Shows the delays, or sets them, such as '{"read_latency": 30}'; those not named become zero.
    Timing {
        /// The delays as JSON, in milliseconds.
        timing: Option<String>,
    },
    /// Everything that there is in EC2, without lag or fault.
    State,
    /// Broken rules of EC2: empty while the simulator is right.
    Check,
    /// Any other request of the interface, such as: ask POST /subnets/subnet-…/fragment
    Ask {
        /// GET, POST, PUT or DELETE.
        method: String,
        /// The path.
        path: String,
        /// The body as JSON.
        body: Option<String>,
    },
}

/// Sends the request and prints the answer. Fails when the box, or EC2 in it, refuses.
pub(crate) fn send(folder: &RunDir, request: Request) -> anyhow::Result<ExitCode> {
    let (method, path, body) = translate(folder, request)?;
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let client = AdminClient::at(&folder.admin_socket());
    let (status, answer) = client.send(method.parse()?, &path, body)?;
    say(&answer)?;
    let refused = serde_json::from_str(&answer).is_ok_and(|answer: Value| answer.get("error").is_some());
    Ok(if status.as_u16() < 400 && !refused { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn translate(folder: &RunDir, request: Request) -> anyhow::Result<(String, String, Option<Value>)> {
    let get = |path: &str| Ok(("GET".to_owned(), path.to_owned(), None));
    let instance = |node: &str| -> anyhow::Result<String> {
        if node.starts_with("i-") {
            return Ok(node.to_owned());
        }
        Ok(folder.description()?.node(node)?.instance.to_string())
    };
    match request {
        Request::Counts => get("/log/counts"),
        Request::Calls => get("/log"),
        Request::Imds => get("/log/imds"),
        Request::Reset => Ok(("POST".to_owned(), "/log/reset".to_owned(), None)),
        Request::Faults => get("/faults"),
        Request::Fault { fault, node } => {
            let mut fault = parse(&fault)?;
            if let Some(node) = node {
                let Value::Object(fields) = &mut fault else { bail!("a fault is a JSON object") };
                let scope = fields.entry("scope").or_insert_with(|| json!({}));
                let Value::Object(scope) = scope else { bail!("a fault's scope is a JSON object") };
                scope.insert("instance".to_owned(), instance(&node)?.into());
            }
            Ok(("POST".to_owned(), "/faults".to_owned(), Some(fault)))
        }
        Request::Clear { id } => {
            Ok(("DELETE".to_owned(), id.map_or("/faults".to_owned(), |id| format!("/faults/{id}")), None))
        }
        Request::Foreign { operation } => {
            Ok(("POST".to_owned(), "/foreign".to_owned(), Some(json!({ "operation": parse(&operation)? }))))
        }
        Request::Terminate { node } => {
            Ok(("POST".to_owned(), format!("/instances/{}/terminate", instance(&node)?), None))
        }
        Request::View { node } => {
            Ok(("GET".to_owned(), format!("/instances/{}/imds", instance(&node)?), None))
        }
        Request::Timing { timing: None } => get("/timing"),
        Request::Timing { timing: Some(timing) } => {
            Ok(("PUT".to_owned(), "/timing".to_owned(), Some(parse(&timing)?)))
        }
        Request::State => get("/state"),
        Request::Check => get("/check"),
        Request::Ask { method, path, body } => Ok((method, path, body.as_deref().map(parse).transpose()?)),
    }
}

fn parse(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| format!("{text:?} is not JSON"))
}
