//! VPC in a box: a simulated EC2, its metadata service, and a network to go with them, on one machine.
//!
//! It plays AWS and knows nothing of the program under test. Start reading at [`vpc::SimVpc`], the state machine
//! that everything else only gives a face to; [`fault`] lists what can be made to go wrong.

pub mod admin;
pub mod cloudwatch;
pub(crate) mod ec2;
pub mod fabric;
pub mod fault;
pub(crate) mod imds;
pub mod scenario;
pub mod server;
pub mod vpc;
