//! What the SDK reads by itself: endpoints and credentials out of a node's environment.
//!
//! The environment belongs to a process, so each case runs [`child`] in one of its own, with nothing but what the
//! case sets.

use std::io::Write as _;
use std::process::{Command, Output};

use holdfast_model::cloud::CloudAnswer;
use holdfast_model::refusal::CredentialsFault;
use holdfast_ports::cloud::{Cloud as _, CloudFault};

use super::delete;
use super::server::{Reply, Request, Server};
use crate::ec2::{Ec2Cloud, Ec2Settings};
use crate::fault::NO_CREDENTIALS;

const CHILD: &str = "HOLDFAST_TEST_CHILD";
/// Set where there are no credentials to be had: what the error says of it.
const FAILS: &str = "HOLDFAST_TEST_FAILS";

#[tokio::test]
#[ignore = "not a case: the others start it, each with its environment"]
async fn child() {
    assert!(std::env::var(CHILD).is_ok(), "started by the other cases only");
    let answer = Ec2Cloud::new(Ec2Settings::new("eu-test-1", "test")).await.perform(&delete("eni-1")).await;
    match std::env::var(FAILS) {
        Err(_unset) => assert_eq!(answer, Ok(CloudAnswer::Done)),
        Ok(words) => {
            let error = answer.unwrap_err();
            assert_eq!(
                (error.fault, &*error.code),
                (CloudFault::Credentials(CredentialsFault::Missing), NO_CREDENTIALS),
                "{error}"
            );
            assert!(error.message.contains(&words), "{error}");
            assert!(!error.message.contains('\n'), "{error}");
        }
    }
}

/// Runs the child with this environment and nothing else.
async fn run(environment: Vec<(&'static str, String)>) -> Output {
    let work = move || {
        Command::new(std::env::current_exe().unwrap())
            .args(["tests::chain::child", "--exact", "--ignored", "--nocapture"])
            .env_clear()
            .env(CHILD, "1")
            .envs(environment)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn assert_passed(output: &Output, server: &Server) {
    let text = String::from_utf8_lossy(&output.stdout);
    let seen: Vec<String> =
        server.seen().iter().map(|r| format!("{} {} {}", r.method, r.path, r.body)).collect();
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{seen:#?}");
}

const SOON: &str = "2099-01-01T00:00:00Z";

#[tokio::test]
async fn the_instances_role_and_the_endpoint_come_from_the_environment() {
    let server = Server::start(|request: &Request| match &*request.path {
        "/latest/api/token" => Reply::Answer {
            status: 200,
            headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())],
            body: "token".to_owned(),
        },
        "/latest/meta-data/iam/security-credentials/" => Reply::ok("node-role"),
        "/latest/meta-data/iam/security-credentials/node-role" => Reply::ok(format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"AKIDROLE","SecretAccessKey":"s","Token":"session",
                "LastUpdated":"2020-01-01T00:00:00Z","Expiration":"{SOON}"}}"#
        )),
        "/" => Reply::ok("<R><return>true</return></R>"),
        _ => Reply::with(404, ""),
    })
    .await;
    let output = run(vec![
        ("AWS_ENDPOINT_URL_EC2", server.url()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url()),
    ])
    .await;
    assert_passed(&output, &server);
    let seen = server.seen();
    let call = seen.last().unwrap();
    assert!(call.header("authorization").contains("Credential=AKIDROLE/"));
    assert_eq!(call.header("x-amz-security-token"), "session");
}

#[tokio::test]
async fn a_web_identity_is_exchanged_at_sts() {
    let server = Server::start(|request: &Request| match request.form().get("Action").map(String::as_str) {
        Some("AssumeRoleWithWebIdentity") => Reply::ok(format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIDWEB</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>web-session</SessionToken>\
                 <Expiration>{SOON}</Expiration></Credentials><AssumedRoleUser>\
                 <Arn>arn:aws:sts::123456789012:assumed-role/cni/x</Arn><AssumedRoleId>A:x</AssumedRoleId>\
                 </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )),
        Some("DeleteNetworkInterface") => Reply::ok("<R><return>true</return></R>"),
        _ => Reply::with(404, ""),
    })
    .await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(b"the-pod-token").unwrap();
    let output = run(vec![
        ("AWS_ENDPOINT_URL", server.url()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap().to_owned()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/cni".to_owned()),
    ])
    .await;
    assert_passed(&output, &server);
    let seen = server.seen();
    assert_eq!(seen[0].form()["WebIdentityToken"], "the-pod-token");
    let call = seen.last().unwrap();
    assert!(call.header("authorization").contains("Credential=AKIDWEB/"));
    assert_eq!(call.header("x-amz-security-token"), "web-session");
}

/// All that is known is that nothing was sent: a service that is away and a role that is not there end in the same error.
#[tokio::test]
async fn without_the_metadata_service_or_a_role_nothing_is_sent_and_the_cause_is_told() {
    let server = Server::start(|request: &Request| match &*request.path {
        "/latest/api/token" => Reply::Answer {
            status: 200,
            headers: vec![("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned())],
            body: "token".to_owned(),
        },
        _ => Reply::with(404, ""),
    })
    .await;
    let gone = Server::script([]).await;
    let away = gone.url();
    drop(gone);
    for (metadata, says) in
        [(away, "could not communicate with IMDS"), (server.url(), "received 404 from IMDS")]
    {
        let output = run(vec![
            ("AWS_ENDPOINT_URL_EC2", server.url()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata),
            (FAILS, says.to_owned()),
        ])
        .await;
        assert_passed(&output, &server);
    }
    assert!(server.seen().iter().all(|request| request.path.starts_with("/latest/")), "nothing went to EC2");
}
