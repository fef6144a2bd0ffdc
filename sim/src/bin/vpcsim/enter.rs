//! `vpcsim env` and `vpcsim exec`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use holdfast_datapath::netns;

use crate::description::Description;
use crate::say;

/// Prints the node's environment for a shell to evaluate.
pub(crate) fn env(described: &Description, node: &str) -> anyhow::Result<()> {
    for (key, value) in &described.node(node)?.environment {
        say(&format!("export {key}='{value}'"))?;
    }
    Ok(())
}

/// Becomes the command, inside the node. Returns only if it cannot.
pub(crate) fn exec(described: &Description, node: &str, command: &[OsString]) -> anyhow::Error {
    match enter(described, node, command) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn enter(
    described: &Description,
    node: &str,
    command: &[OsString],
) -> anyhow::Result<std::convert::Infallible> {
    let node = described.node(node)?;
    let [program, arguments @ ..] = command else {
        anyhow::bail!("no command");
    };
    // The process has one thread, this one, and exec keeps its namespace.
    netns::enter_for_good(&netns::open(&node.netns)?)?;
    let failed = Command::new(program).args(arguments).envs(&node.environment).exec();
    Err(anyhow::Error::new(failed).context(format!("run {}", program.display())))
}
