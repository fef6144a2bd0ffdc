//! Another world under the SDK: no socket, no environment, another clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use holdfast_model::ids::BootId;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::cloud::{Cloud as _, CloudFault};
use holdfast_ports::{Clock, Metadata as _};

use super::delete;
use crate::{
    Ec2Cloud, Ec2Settings, Exchange, Imds, ImdsSettings, Surroundings, Transport, TransportError, fault,
};

/// 2026-01-01.
const BEGAN: WallTime = WallTime(1_767_225_600_000);

/// A clock that anybody may move.
#[derive(Debug, Default)]
struct Told(Mutex<Duration>);

impl Told {
    fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for Told {
    fn now(&self) -> Now {
        let passed = u64::try_from(self.0.lock().unwrap().as_millis()).unwrap();
        Now { boot: BootId::new("b"), boottime: BootTime(passed), wall: WallTime(BEGAN.0 + passed) }
    }

    fn random(&self) -> u128 {
        0
    }
}

type Answer = Result<http::Response<Bytes>, TransportError>;

/// A VPC of one role: its key is numbered, and good for an hour.
#[derive(Debug, Default)]
struct Vpc {
    seen: Mutex<Vec<http::Request<Bytes>>>,
    clock: Arc<Told>,
    /// What EC2 answers, in the place of success.
    ec2: Mutex<Option<TransportError>>,
    silent: bool,
}

impl Vpc {
    fn answer(&self, request: http::Request<Bytes>) -> Answer {
        let (host, path) = (request.uri().host().unwrap().to_owned(), request.uri().path().to_owned());
        let mut seen = self.seen.lock().unwrap();
        seen.push(request);
        let keys = seen.iter().filter(|request| request.uri().path().ends_with("/node-role")).count();
        let text = match (&*host, &*path) {
            ("169.254.169.254", "/latest/api/token") => {
                let answer =
                    http::Response::builder().header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
                return Ok(answer.body("token".into()).unwrap());
            }
            ("169.254.169.254", "/latest/meta-data/iam/security-credentials/") => "node-role".to_owned(),
            ("169.254.169.254", "/latest/meta-data/iam/security-credentials/node-role") => {
                let hour = 1 + self.clock.now().boottime.0 / 3_600_000;
                format!(
                    r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE{keys}","SecretAccessKey":"s",
                    "Token":"session","LastUpdated":"2026-01-01T00:00:00Z",
                    "Expiration":"2026-01-01T{hour:02}:00:00Z"}}"#
                )
            }
            ("ec2.eu-test-1.amazonaws.com", "/") => match *self.ec2.lock().unwrap() {
                Some(error) => return Err(error),
                None => "<R><return>true</return></R>".to_owned(),
            },
            other => panic!("{other:?} was asked"),
        };
        Ok(http::Response::new(text.into()))
    }
}

#[derive(Debug, Clone)]
struct To(Arc<Vpc>);

impl Transport for To {
    fn exchange(&self, request: http::Request<Bytes>) -> Exchange {
        let vpc = Arc::clone(&self.0);
        Box::pin(async move { if vpc.silent { std::future::pending().await } else { vpc.answer(request) } })
    }
}

fn inside(vpc: &Arc<Vpc>) -> Surroundings {
    Surroundings { transport: Arc::new(To(Arc::clone(vpc))), clock: Arc::<Told>::clone(&vpc.clock) }
}

async fn cloud(vpc: &Arc<Vpc>) -> Ec2Cloud {
    let settings = Ec2Settings { surroundings: Some(inside(vpc)), ..Ec2Settings::new("eu-test-1", "test") };
    Ec2Cloud::new(settings).await
}

fn header<'r>(request: &'r http::Request<Bytes>, name: &str) -> &'r str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn calls_are_signed_with_the_roles_key_and_by_that_worlds_clock() {
    let vpc = Arc::new(Vpc::default());
    let cloud = cloud(&vpc).await;
    cloud.perform(&delete("eni-1")).await.unwrap();
    vpc.clock.pass(Duration::from_secs(3 * 3600));
    cloud.perform(&delete("eni-1")).await.unwrap();
    let seen = vpc.seen.lock().unwrap();
    let calls: Vec<_> = seen.iter().filter(|request| request.uri().path() == "/").collect();
    let signed: Vec<_> =
        calls.iter().map(|call| (header(call, "authorization"), header(call, "x-amz-date"))).collect();
    assert!(signed[0].0.contains("Credential=ASIAROLE1/20260101/eu-test-1/ec2/"), "{signed:?}");
    assert_eq!((signed[0].1, signed[1].1), ("20260101T000000Z", "20260101T030000Z"));
    // The first key is over by that clock, and by no other.
    assert!(signed[1].0.contains("Credential=ASIAROLE2/"), "{signed:?}");
    assert_eq!(header(calls[0], "x-amz-security-token"), "session");
}

#[tokio::test(start_paused = true)]
async fn what_the_transport_says_is_told_apart() {
    let vpc = Arc::new(Vpc::default());
    let cloud = cloud(&vpc).await;
    for (error, want) in [
        (TransportError::NotConnected, (CloudFault::NotSent, fault::NOT_SENT)),
        (TransportError::Closed, (CloudFault::Unknown, fault::NO_ANSWER)),
    ] {
        *vpc.ec2.lock().unwrap() = Some(error);
        let failed = cloud.perform(&delete("eni-1")).await.unwrap_err();
        assert_eq!((failed.fault, &*failed.code), want, "{failed}");
        assert!(failed.message.contains(&error.to_string()), "{failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_measured_in_that_worlds_time() {
    let vpc = Arc::new(Vpc { silent: true, ..Vpc::default() });
    let begun = std::time::Instant::now();
    let imds =
        Imds::new(ImdsSettings { surroundings: Some(inside(&vpc)), ..ImdsSettings::default() }).unwrap();
    let error = imds.identity().await.unwrap_err();
    assert!(!error.cause.is_empty());
    let error = cloud(&vpc).await.perform(&delete("eni-1")).await.unwrap_err();
    assert_ne!(error.fault, CloudFault::Denied, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?} of real time", begun.elapsed());
}
