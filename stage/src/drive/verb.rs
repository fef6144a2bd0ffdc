//! Verbs of `stage`, for programs beside it that bring clusters up by themselves.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};

/// Runs a verb of the program `stage` that is beside this one, on the stage of this name, with what it prints for whoever looks.
pub fn verb(root: &Path, name: &str, arguments: &[&str]) -> Result<()> {
    let this = std::env::current_exe().map_err(Error::io("the path of this program"))?;
    let program = this.with_file_name("stage");
    let mut command = Command::new(&program);
    command.args(&arguments[..1]).args(["--name", name, "--root"]).arg(root).args(&arguments[1..]);
    let status = command.status().map_err(Error::io(format!("running {}", program.display())))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { what: format!("stage {}", arguments.join(" ")), said: status.to_string() })
}
