//! Each class of failure, as the SDK reports it after a real exchange.

use std::error::Error as _;
use std::time::{Duration, Instant};

use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use holdfast_model::block::Ask;
use holdfast_model::cloud::CloudChange;
use holdfast_model::ids::EniId;
use holdfast_model::refusal::CredentialsFault;
use holdfast_ports::cloud::{Cloud as _, CloudError, CloudFault};

use super::server::{Reply, Server};
use super::{change, cloud, delete, keys, settings};
use crate::ec2::{Ec2Cloud, Ec2Settings};
use crate::fault;
use crate::http::LazyHttp;

/// What one reply is taken for. Fails if it was asked for twice.
async fn classified(reply: Reply) -> CloudError {
    let server = Server::script([reply]).await;
    // A call whose answer is read: of one that only says "done" the SDK looks at nothing but the status.
    let call = change(CloudChange::Assign { eni: EniId::new("eni-1"), ask: Ask::addresses(1) });
    let error = cloud(&server).await.perform(&call).await.unwrap_err();
    assert_eq!(server.seen().len(), 1, "a failed call is not repeated here: {error}");
    error
}

const THROTTLED: CloudFault = CloudFault::Throttled { retry_after: None };

/// One of each kind, through the SDK: which code means what is the table's own test.
#[tokio::test]
async fn ec2s_code_and_words_reach_the_table_and_the_caller() {
    let cases = [
        (503, "RequestLimitExceeded", "Request limit exceeded.", THROTTLED),
        (
            400,
            "InvalidParameterValue",
            "There aren't sufficient free Ipv4 addresses or prefixes",
            CloudFault::SubnetFull,
        ),
        (400, "InvalidParameterValue", "Value (0) for parameter count is invalid", CloudFault::Rejected),
        (
            403,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
            CloudFault::Denied,
        ),
        (500, "InternalError", "An internal error has occurred", CloudFault::Unknown),
        (400, "SomethingNew", "?", CloudFault::Rejected),
        (500, "SomethingNew", "?", CloudFault::Unknown),
    ];
    for (status, code, message, want) in cases {
        let error = classified(Reply::error(status, code, message)).await;
        assert_eq!((error.fault, &*error.code, &*error.message), (want, code, message));
    }
}

#[tokio::test]
async fn a_throttle_carries_the_wait_that_was_asked_for() {
    for (name, value, wait) in [
        ("Retry-After", "7", Some(Duration::from_secs(7))),
        ("x-amz-retry-after", "1500", Some(Duration::from_millis(1500))),
        ("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT", None),
    ] {
        let Reply::Answer { status, body, .. } = Reply::error(503, "RequestLimitExceeded", "slower") else {
            unreachable!("an error is an answer")
        };
        let error = classified(Reply::Answer { status, body, headers: vec![(name, value.to_owned())] }).await;
        assert_eq!(error.fault, CloudFault::Throttled { retry_after: wait }, "{name}: {value}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_ec2s_leaves_the_outcome_open() {
    for (status, body) in [
        (503, "<html>Service Unavailable</html>"),
        (502, ""),
        (403, "Forbidden by the proxy"),
        (200, "this is not XML"),
    ] {
        let error = classified(Reply::with(status, body)).await;
        assert_eq!(
            (error.fault, &*error.code),
            (CloudFault::Unknown, fault::BAD_ANSWER),
            "{status} {body:?}: {error}"
        );
    }
    assert_eq!(classified(Reply::with(429, "slow down")).await.fault, THROTTLED);
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_leaves_the_outcome_open() {
    for reply in [Reply::Close, Reply::Half] {
        let error = classified(reply.clone()).await;
        assert_eq!(error.fault, CloudFault::Unknown, "{reply:?}: {error}");
        assert_ne!(error.code, fault::NOT_SENT, "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closes_is_not_a_second_attempt() {
    let ok = Reply::ok("<R><return>true</return></R>");
    let server = Server::script([ok, Reply::Close]).await;
    let cloud = cloud(&server).await;
    cloud.perform(&delete("eni-1")).await.unwrap();
    // On the same connection: sent, then closed. The client below the SDK must not send it again.
    let error = cloud.perform(&delete("eni-2")).await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::Unknown, fault::NO_ANSWER), "{error}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_answer_too_late_leaves_the_outcome_open() {
    let server = Server::script([Reply::Silence]).await;
    let settings = Ec2Settings { deadline: Duration::from_millis(300), ..settings(&server) };
    let cloud = Ec2Cloud::with_parts(settings, LazyHttp::default(), Some(keys())).await;
    let begun = Instant::now();
    let error = cloud.perform(&delete("eni-1")).await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::Unknown, fault::DEADLINE_EXCEEDED));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_says_that_nothing_was_sent() {
    let server = Server::script([]).await;
    let settings = settings(&server);
    drop(server);
    tokio::task::yield_now().await;
    let cloud = Ec2Cloud::with_parts(settings, LazyHttp::default(), Some(keys())).await;
    let error = cloud.perform(&delete("eni-1")).await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::NotSent, fault::NOT_SENT), "{error}");
    assert!(error.message.contains("refused"), "the cause is in the words: {error}");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_request_is_not_told_from_one_that_breaks_after_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let closing = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let settings = Ec2Settings { endpoint, ..Ec2Settings::new("eu-test-1", "test") };
    let cloud = Ec2Cloud::with_parts(settings, LazyHttp::default(), Some(keys())).await;
    for _ in 0..20 {
        let error = cloud.perform(&delete("eni-1")).await.unwrap_err();
        assert_eq!((error.fault, &*error.code), (CloudFault::Unknown, fault::NO_ANSWER), "{error}");
    }
    closing.abort();
}

/// By the resolver, or by the limit on how long a connection may take to stand.
#[tokio::test]
async fn a_name_that_leads_nowhere_says_that_nothing_was_sent() {
    let settings = Ec2Settings {
        endpoint: Some("http://ec2.invalid".to_owned()),
        connect_timeout: Duration::from_millis(300),
        ..Ec2Settings::new("eu-test-1", "test")
    };
    let cloud = Ec2Cloud::with_parts(settings, LazyHttp::default(), Some(keys())).await;
    let error = cloud.perform(&delete("eni-1")).await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::NotSent, fault::NOT_SENT), "{error}");
}

/// Whatever the reason: nothing was sent, and none of these says that the role lacks a right.
#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let server = Server::script([]).await;
    for why in [
        || CredentialsError::not_loaded("nobody has any"),
        || CredentialsError::invalid_configuration("the profile makes no sense"),
        || CredentialsError::provider_error("STS is down"),
    ] as [fn() -> CredentialsError; 3]
    {
        let none = SharedCredentialsProvider::new(provide_credentials_fn(move || async move { Err(why()) }));
        let cloud = Ec2Cloud::with_parts(settings(&server), LazyHttp::default(), Some(none)).await;
        let error = cloud.perform(&delete("eni-1")).await.unwrap_err();
        assert_eq!(
            (error.fault, &*error.code),
            (CloudFault::Credentials(CredentialsFault::Missing), fault::NO_CREDENTIALS),
            "{error}"
        );
        let cause = why();
        let cause = cause.source().unwrap().to_string();
        assert!(error.message.contains(&cause), "{error} does not tell {cause}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn tls_is_loaded_by_the_first_https_request_only() {
    let server = Server::start(|_| Reply::ok("<R><return>true</return></R>")).await;
    let http = LazyHttp::default();
    let cloud = Ec2Cloud::with_parts(settings(&server), http.clone(), Some(keys())).await;
    cloud.perform(&delete("eni-1")).await.unwrap();
    assert!(!http.has_loaded_tls());

    let secure = server.url().replace("http:", "https:");
    let settings = Ec2Settings { endpoint: Some(secure), ..settings(&server) };
    let cloud = Ec2Cloud::with_parts(settings, http.clone(), Some(keys())).await;
    let error = cloud.perform(&delete("eni-1")).await.unwrap_err();
    assert_eq!((error.fault, &*error.code), (CloudFault::NotSent, fault::NOT_SENT), "{error}");
    assert!(http.has_loaded_tls());
}
