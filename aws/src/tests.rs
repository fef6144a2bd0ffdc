//! The wire, end to end: the real SDK against a plain-http server in the test, so that encoding, signing, decoding,
//! timeouts and broken connections are the real ones.

mod chain;
mod changes;
mod cloudwatch;
mod faults;
mod metadata;
mod reads;
mod server;
mod subnets;
mod surroundings;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use holdfast_model::cloud::{CloudCall, CloudChange, CloudRead};
use holdfast_model::ids::{ClientToken, EniId};

use self::server::Server;
use crate::ec2::{Ec2Cloud, Ec2Settings};
use crate::http::LazyHttp;

const DEADLINE: Duration = Duration::from_secs(5);

fn settings(server: &Server) -> Ec2Settings {
    Ec2Settings { endpoint: Some(server.url()), deadline: DEADLINE, ..Ec2Settings::new("eu-test-1", "1.2/x") }
}

fn keys() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("AKIDTEST", "secret", None, None, "test"))
}

async fn cloud(server: &Server) -> Ec2Cloud {
    Ec2Cloud::with_parts(settings(server), LazyHttp::default(), Some(keys())).await
}

fn change(change: CloudChange) -> CloudCall {
    CloudCall::Change { change, token: ClientToken::new("holdfast-token-1") }
}

/// The shortest call there is.
fn delete(eni: &str) -> CloudCall {
    change(CloudChange::DeleteEni { eni: EniId::new(eni) })
}

fn by_ids(ids: &[&str]) -> CloudCall {
    CloudCall::Read(CloudRead::Enis { enis: ids.iter().map(|id| EniId::new(*id)).collect() })
}
