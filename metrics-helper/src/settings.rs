//! Settings, by the names of the Amazon VPC CNI's metrics helper.

use std::time::Duration;

use crate::name;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `USE_CLOUDWATCH`: whether figures are published there.
    pub cloudwatch: bool,
    /// `USE_PROMETHEUS`: whether they are served on a port.
    pub prometheus: bool,
    /// `METRIC_UPDATE_INTERVAL`: from one look at the cluster to the next.
    pub interval: Duration,
    /// `AWS_CLUSTER_ID`: what the cluster is called in CloudWatch. `None`: the instance's tags say it.
    pub cluster_id: Option<String>,
    /// `AWS_REGION`: of CloudWatch. `None`: the instance's.
    pub region: Option<String>,
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: {wanted}")]
pub struct Problem {
    name: &'static str,
    value: String,
    wanted: String,
}

/// Seconds. The longest keeps what waits for CloudWatch younger than the two weeks that it takes.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=3600;

impl Settings {
    /// From the environment; an empty value is none. Everything that is wrong is told at once.
    pub fn read(environment: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        let mut wrong = Vec::new();
        let given = |name| environment(name).filter(|text| !text.is_empty());
        let mut flag = |name, default| match given(name) {
            None => default,
            Some(value) => match &*value.to_ascii_lowercase() {
                "yes" | "true" | "1" => true,
                "no" | "false" | "0" => false,
                _ => {
                    let wanted = "want true or false, or yes or no".to_owned();
                    wrong.push(Problem { name, value, wanted });
                    default
                }
            },
        };
        let (cloudwatch, prometheus) = (flag("USE_CLOUDWATCH", true), flag("USE_PROMETHEUS", false));
        if !cloudwatch && !prometheus && wrong.is_empty() {
            let wanted = "without USE_PROMETHEUS=true there is nothing to do".to_owned();
            wrong.push(Problem { name: "USE_CLOUDWATCH", value: "false".to_owned(), wanted });
        }
        let interval = given("METRIC_UPDATE_INTERVAL").and_then(|value| {
            let seconds = value.parse().ok().filter(|seconds| INTERVALS.contains(seconds));
            if seconds.is_none() {
                let wanted =
                    format!("want {} to {} seconds, as a whole number", INTERVALS.start(), INTERVALS.end());
                wrong.push(Problem { name: "METRIC_UPDATE_INTERVAL", value, wanted });
            }
            seconds
        });
        let cluster_id = given("AWS_CLUSTER_ID");
        if let Some((value, wanted)) = cluster_id.as_ref().and_then(|id| Some((id, name::refused(id)?))) {
            let (value, wanted) = (value.chars().take(256).collect(), wanted.to_owned());
            wrong.push(Problem { name: "AWS_CLUSTER_ID", value, wanted });
        }
        let region = given("AWS_REGION");
        if let Some(value) = region.as_ref().filter(|region| !is_region(region)) {
            let (value, wanted) =
                (value.chars().take(256).collect(), "want a region as us-west-2".to_owned());
            wrong.push(Problem { name: "AWS_REGION", value, wanted });
        }
        // The SDK reads them. With one that is no address each request would fail, as if no answer had come.
        for name in ["AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL"] {
            if let Some(value) = given(name).filter(|value| !is_address(value)) {
                let (value, wanted) =
                    (value.chars().take(256).collect(), "want an address as https://host:port".to_owned());
                wrong.push(Problem { name, value, wanted });
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let interval = Duration::from_secs(interval.unwrap_or(30));
        Ok(Self { cloudwatch, prometheus, interval, cluster_id, region })
    }
}

/// It becomes part of a host's name.
fn is_region(text: &str) -> bool {
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Of HTTP, with or without a path.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && rest.chars().all(|c| c.is_ascii_graphic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let look = |name: &str| given.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
        Settings::read(look).map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_given_publishes_each_half_minute() {
        let defaults = Settings {
            cloudwatch: true,
            prometheus: false,
            interval: Duration::from_secs(30),
            cluster_id: None,
            region: None,
        };
        assert_eq!(read(&[]), Ok(defaults.clone()));
        assert_eq!(read(&[("USE_CLOUDWATCH", ""), ("AWS_CLUSTER_ID", "")]), Ok(defaults));
    }

    #[test]
    fn values_are_read_as_the_incumbents_are_given() {
        let given = read(&[
            ("USE_CLOUDWATCH", "no"),
            ("USE_PROMETHEUS", "true"),
            ("METRIC_UPDATE_INTERVAL", "60"),
            ("AWS_CLUSTER_ID", "prod"),
            ("AWS_REGION", "eu-west-1"),
        ]);
        let wanted = Settings {
            cloudwatch: false,
            prometheus: true,
            interval: Duration::from_secs(60),
            cluster_id: Some("prod".to_owned()),
            region: Some("eu-west-1".to_owned()),
        };
        assert_eq!(given, Ok(wanted));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = read(&[
            ("USE_CLOUDWATCH", "maybe"),
            ("METRIC_UPDATE_INTERVAL", "0"),
            ("AWS_CLUSTER_ID", ":x"),
            ("AWS_REGION", "evil.example.com/"),
        ])
        .unwrap_err();
        assert_eq!(
            wrong,
            [
                "USE_CLOUDWATCH=\"maybe\": want true or false, or yes or no",
                "METRIC_UPDATE_INTERVAL=\"0\": want 1 to 3600 seconds, as a whole number",
                "AWS_CLUSTER_ID=\":x\": want a name that does not begin with a colon",
                "AWS_REGION=\"evil.example.com/\": want a region as us-west-2",
            ]
        );
        for bad in ["", "-1", "1.5", "30s", "3601", "99999999999999999999"] {
            let told = read(&[("METRIC_UPDATE_INTERVAL", bad)]);
            assert_eq!(told.is_err(), !bad.is_empty(), "{bad}");
        }
        assert!(read(&[("USE_CLOUDWATCH", "false")]).is_err(), "nothing to do");
    }

    #[test]
    fn an_endpoint_is_an_address() {
        for name in ["AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL"] {
            for (value, is_one) in [
                ("", true),
                ("https://monitoring.us-west-2.amazonaws.com", true),
                ("http://192.0.2.1:8080/", true),
                ("not a url", false),
                ("monitoring.us-west-2.amazonaws.com", false),
                ("https://", false),
                ("https:///path", false),
                ("https://a b", false),
            ] {
                let told = read(&[(name, value)]);
                assert_eq!(told.is_ok(), is_one, "{name}={value}: {told:?}");
            }
        }
    }
}
