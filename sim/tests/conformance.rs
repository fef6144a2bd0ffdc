//! The box held to what others know of EC2: botocore's service model, boto3, the AWS CLI and moto.
//!
//! The checks are Python (`sim/conformance`) and run in a virtual environment at `target/conformance-venv`, which this
//! test makes if it is missing: that needs `python3` with `venv`, and the network once. Without them it fails.

mod loopback;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use holdfast_sim::server::ClockMode;
use loopback::Loopback;

#[test]
fn the_box_is_what_botocore_boto3_the_cli_and_moto_take_for_ec2() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let python = environment(&scripts);
    let sim = Loopback::start(ClockMode::Running);
    let start = Instant::now();
    let status = Command::new(python)
        // No bytecode beside the sources.
        .arg("-B")
        .arg(scripts.join("run.py"))
        .args(["--ec2", &format!("http://{}", sim.ec2)])
        .args(["--imds", &format!("http://{}", sim.imds)])
        .args(["--admin", &format!("http://{}", sim.admin)])
        .status()
        .expect("the environment's python runs");
    println!("conformance took {:.1} s", start.elapsed().as_secs_f32());
    assert!(status.success(), "conformance failed ({status}); its report is above");
}

/// The environment's interpreter; the environment is made, or made anew when the requirements changed.
fn environment(scripts: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder inside the target folder");
    let venv = target.join("conformance-venv");
    let python = venv.join("bin/python");
    let requirements = scripts.join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("requirements.txt is read");
    let stamp = venv.join("installed-requirements.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    println!("making {} (python3 -m venv, pip install -r {})", venv.display(), requirements.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(&requirements));
    std::fs::write(&stamp, wanted).expect("the stamp is written");
    python
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
