//! A small box on loopback to try things on: `cargo run -p holdfast-sim --example box`, then any EC2 client in another
//! terminal with the environment that it prints. Ends with its standard input or Ctrl-C.

#[path = "../tests/loopback/mod.rs"]
mod loopback;

use std::io::Read as _;

use holdfast_sim::server::ClockMode;
use loopback::Loopback;

fn main() {
    let sim = Loopback::start(ClockMode::Running);
    println!("export AWS_ENDPOINT_URL_EC2=http://{}", sim.ec2);
    println!("export AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{}", sim.imds);
    println!("export AWS_REGION=us-west-2 AWS_DEFAULT_REGION=us-west-2");
    println!("# admin: http://{}  instance behind IMDS: {}", sim.admin, sim.node_a);
    let mut nothing = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut nothing) {
        eprintln!("standard input: {error}");
    }
}
