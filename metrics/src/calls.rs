//! Calls of EC2, counted at the one door that all of them pass. Whatever is told of them is derived from this.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_model::cloud::{Api, CloudAnswer, CloudCall};
use holdfast_model::limits::InstanceLimits;
use holdfast_ports::cloud::known_code;
use holdfast_ports::{Cloud, CloudError, CloudFault};
use tokio::time::Instant;

/// How often, and how long altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) count: u64,
    pub(crate) took: Duration,
}

/// By action and by what came of it: nothing, or why it failed.
pub(crate) type ByOutcome = BTreeMap<(Api, Option<Failure>), Spent>;

/// Why a call failed, out of a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    /// EC2's code where it is one that we know, else a word for what became of it.
    pub(crate) code: &'static str,
    /// Whether EC2 said it.
    pub(crate) answered: bool,
}

impl Failure {
    fn of(error: &CloudError) -> Self {
        if let Some(code) = known_code(&error.code) {
            return Self { code, answered: true };
        }
        match error.fault {
            CloudFault::Unknown => Self { code: "NoAnswer", answered: false },
            CloudFault::NotSent => Self { code: "NotSent", answered: false },
            CloudFault::Credentials(_) => Self { code: "NoCredentials", answered: false },
            CloudFault::Throttled { .. } => Self { code: "Throttled", answered: true },
            // A code that EC2 has made since: a label for each would be without bound.
            _ => Self { code: "Other", answered: true },
        }
    }
}

/// All calls since the process began.
#[derive(Debug, Default)]
pub struct Calls(Mutex<ByOutcome>);

impl Calls {
    fn note(&self, api: Api, failure: Option<Failure>, took: Duration) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = calls.entry((api, failure)).or_default();
        spent.count += 1;
        spent.took = spent.took.saturating_add(took);
    }

    pub(crate) fn so_far(&self) -> ByOutcome {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// EC2, whose calls are counted.
#[derive(Debug)]
pub struct Counted<C> {
    cloud: C,
    calls: Arc<Calls>,
}

impl<C> Counted<C> {
    /// Counts the calls of `cloud` in `calls`.
    pub fn new(cloud: C, calls: Arc<Calls>) -> Self {
        Self { cloud, calls }
    }

    async fn counted<T>(
        &self,
        api: Api,
        call: impl Future<Output = Result<T, CloudError>>,
    ) -> Result<T, CloudError> {
        let began = Instant::now();
        let result = call.await;
        self.calls.note(api, result.as_ref().err().map(Failure::of), began.elapsed());
        result
    }
}

impl<C: Cloud> Cloud for Counted<C> {
    async fn perform(&self, call: &CloudCall) -> Result<CloudAnswer, CloudError> {
        self.counted(call.api(), self.cloud.perform(call)).await
    }

    async fn limits_of(&self, instance_type: &str) -> Result<InstanceLimits, CloudError> {
        self.counted(Api::DescribeInstanceTypes, self.cloud.limits_of(instance_type)).await
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::cloud::CloudRead;

    use super::*;

    /// EC2 as it answers in turn.
    struct Ec2(Mutex<Vec<Result<CloudAnswer, CloudError>>>);

    impl Cloud for Ec2 {
        async fn perform(&self, _call: &CloudCall) -> Result<CloudAnswer, CloudError> {
            tokio::time::sleep(Duration::from_millis(250)).await;
            self.0.lock().unwrap().pop().unwrap()
        }
    }

    fn error(fault: CloudFault, code: &str) -> CloudError {
        CloudError { fault, code: code.to_owned(), message: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_is_counted_by_what_came_of_it() {
        let throttled = error(CloudFault::Throttled { retry_after: None }, "RequestLimitExceeded");
        let answers = vec![Err(throttled), Ok(CloudAnswer::Done), Ok(CloudAnswer::Done)];
        let calls = Arc::new(Calls::default());
        let cloud = Counted::new(Ec2(Mutex::new(answers)), Arc::clone(&calls));
        let read = CloudCall::Read(CloudRead::Subnets { subnets: Vec::new() });
        for _ in 0..3 {
            drop(cloud.perform(&read).await);
        }
        cloud.limits_of("z9.imaginary").await.unwrap_err();
        let so_far = calls.so_far();
        let failed = Failure { code: "RequestLimitExceeded", answered: true };
        let spent =
            |api, failure| so_far.get(&(api, failure)).map(|spent| (spent.count, spent.took.as_millis()));
        assert_eq!(spent(Api::DescribeSubnets, None), Some((2, 500)));
        assert_eq!(spent(Api::DescribeSubnets, Some(failed)), Some((1, 250)));
        let other = Failure { code: "Other", answered: true };
        assert_eq!(spent(Api::DescribeInstanceTypes, Some(other)), Some((1, 0)));
        assert_eq!(so_far.len(), 3);
    }

    /// Whatever EC2 invents, there are no more series than our own words.
    #[test]
    fn codes_are_those_that_we_know_and_a_few_words() {
        let of = |fault, code| Failure::of(&error(fault, code)).code;
        assert_eq!(of(CloudFault::Denied, "UnauthorizedOperation"), "UnauthorizedOperation");
        assert_eq!(of(CloudFault::Rejected, "SomethingNew7"), "Other");
        assert_eq!(of(CloudFault::Unknown, "DeadlineExceeded"), "NoAnswer");
        assert_eq!(of(CloudFault::NotSent, "NoRegion"), "NotSent");
    }
}
