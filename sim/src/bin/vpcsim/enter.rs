//! `vpcsim env` and `vpcsim exec`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use holdfast_datapath::netns;

use crate::description::Description;
use crate::say;

/// What leads a client to other credentials than the node's.
const FOREIGN: [&str; 4] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"];

/// Prints the node's environment for a shell to evaluate.
pub(crate) fn env(described: &Description, node: &str, static_keys: bool) -> anyhow::Result<()> {
    let node = described.node(node)?;
    say(&format!("unset {}", FOREIGN.join(" ")))?;
    for (key, value) in node.environment(static_keys) {
        say(&format!("export {key}='{value}'"))?;
    }
    Ok(())
}

/// Becomes the command, inside the node. Returns only if it cannot.
pub(crate) fn exec(
    described: &Description,
    node: &str,
    static_keys: bool,
    command: &[OsString],
) -> anyhow::Error {
    match enter(described, node, static_keys, command) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn enter(
    described: &Description,
    node: &str,
    static_keys: bool,
    command: &[OsString],
) -> anyhow::Result<std::convert::Infallible> {
    let node = described.node(node)?;
    let [program, arguments @ ..] = command else {
        anyhow::bail!("no command");
    };
    // The process has one thread, this one, and exec keeps its namespace.
    netns::enter_for_good(&netns::open(&node.netns)?)?;
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    let failed = command.args(arguments).envs(node.environment(static_keys)).exec();
    Err(anyhow::Error::new(failed).context(format!("run {}", program.display())))
}
