//! Settings from the environment, under upstream's names (reference: the Amazon VPC CNI's README), read once.
//!
//! Upstream takes its default for most values that it cannot read, and refuses to start for some. Both are kept, so
//! that a manifest which works there works here; but every such value is reported, all at once. Of a list the entries
//! that cannot be used are left out and the others count: one mistake does not undo what was asked for beside it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_model::config::{Config, READ_INTERVALS, Setting, WarmTargets};
use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing_subscriber::filter::LevelFilter;

use crate::logging;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: {wanted}")]
pub(crate) struct Problem {
    name: &'static str,
    value: String,
    wanted: String,
}

/// The configuration, and what is wrong with the environment.
#[derive(Debug)]
pub(crate) struct Read {
    /// What to run with.
    pub(crate) config: Config,
    /// What to log.
    pub(crate) log_level: LevelFilter,
    /// Each variable that is read, with its value and where that comes from.
    pub(crate) by_name: Map<String, Value>,
    /// Values in whose place the default stands.
    pub(crate) ignored: Vec<Problem>,
    /// Parts of values that are left out.
    pub(crate) left_out: Vec<Problem>,
    /// Values that are well formed and ask for what this version does not do.
    pub(crate) unsupported: Vec<Problem>,
    /// Values with which the daemon does not start.
    pub(crate) refused: Vec<Problem>,
}

impl Read {
    /// What does not keep the daemon from starting, with what becomes of it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let all = [
            (&self.ignored, "the default is used"),
            (&self.left_out, "what is left is used"),
            (&self.unsupported, "it has no effect"),
        ];
        let told = |(problems, effect): (&Vec<Problem>, &str)| {
            problems.iter().map(|problem| format!("{problem}; {effect}")).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(told).collect()
    }
}

/// What becomes of a value that cannot be read.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Ignored,
    Refused,
}

struct Reader<F> {
    lookup: F,
    by_name: Map<String, Value>,
    ignored: Vec<Problem>,
    left_out: Vec<Problem>,
    refused: Vec<Problem>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn get<T: Serialize>(
        &mut self,
        name: &'static str,
        bad: Bad,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Setting<T> {
        self.get_in_part(name, bad, default, |text| parse(text).map(|value| (value, Vec::new())))
    }

    /// A setting of which parts may be left out; `parse` says what is wrong with each.
    fn get_in_part<T: Serialize>(
        &mut self,
        name: &'static str,
        bad: Bad,
        default: T,
        parse: impl FnOnce(&str) -> Result<(T, Vec<String>), String>,
    ) -> Setting<T> {
        let setting = match (self.lookup)(name).filter(|value| !value.is_empty()) {
            None => Setting::default_of(default),
            Some(value) => match parse(&value) {
                Ok((parsed, left_out)) => {
                    let problem = |wanted| Problem { name, value: value.clone(), wanted };
                    self.left_out.extend(left_out.into_iter().map(problem));
                    Setting::from_environment(parsed)
                }
                Err(wanted) => {
                    let problem = Problem { name, value, wanted };
                    match bad {
                        Bad::Ignored => self.ignored.push(problem),
                        Bad::Refused => self.refused.push(problem),
                    }
                    Setting::default_of(default)
                }
            },
        };
        self.by_name.insert(name.to_owned(), json!(setting));
        setting
    }

    fn seconds(&mut self, name: &'static str, default: Duration) -> Setting<Duration> {
        self.seconds_within(name, default, &(0..=u64::MAX))
    }

    fn seconds_within(
        &mut self,
        name: &'static str,
        default: Duration,
        bounds: &RangeInclusive<u64>,
    ) -> Setting<Duration> {
        let within = |text: &str| {
            let wanted = || format!("want {} to {} seconds", bounds.start(), bounds.end());
            seconds(text).and_then(|value| if bounds.contains(&value) { Ok(value) } else { Err(wanted()) })
        };
        let Setting { value, origin } = self.get(name, Bad::Refused, default.as_secs(), within);
        Setting { value: Duration::from_secs(value), origin }
    }
}

/// Reads all settings.
pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Read {
    let base = Config::default();
    let mut reader = Reader {
        lookup,
        by_name: Map::new(),
        ignored: Vec::new(),
        left_out: Vec::new(),
        refused: Vec::new(),
    };

    let mut unsupported = Vec::new();
    for (name, asks_for_it, severity, wanted) in NOT_YET {
        if let Some(value) = (reader.lookup)(name).filter(|value| asks_for_it(value)) {
            let problem = Problem { name, value, wanted: (*wanted).to_owned() };
            match severity {
                Bad::Refused => reader.refused.push(problem),
                Bad::Ignored => unsupported.push(problem),
            }
        }
    }

    let warm_enis = reader.get("WARM_ENI_TARGET", Bad::Ignored, 1, count);
    let warm_ips = reader.get("WARM_IP_TARGET", Bad::Ignored, 0, count);
    let minimum_ips = reader.get("MINIMUM_IP_TARGET", Bad::Ignored, 0, count);
    let origin = [warm_enis.origin, warm_ips.origin, minimum_ips.origin]
        .into_iter()
        .find(|origin| *origin != base.warm.origin)
        .unwrap_or(base.warm.origin);
    let warm = Setting {
        value: WarmTargets {
            warm_enis: warm_enis.value,
            warm_ips: warm_ips.value,
            minimum_ips: minimum_ips.value,
        },
        origin,
    };
    let eni_mtu = reader.get("AWS_VPC_ENI_MTU", Bad::Refused, base.eni_mtu.value, mtu);
    let pod_mtu = reader.get_in_part("POD_MTU", Bad::Refused, eni_mtu.value, |text| {
        let asked = mtu(text)?;
        let most = eni_mtu.value;
        // Pods would send what no ENI carries.
        let over = (asked > most).then(|| format!("no more than the ENI's {most} can be carried"));
        Ok((asked.min(most), over.into_iter().collect()))
    });
    let level = reader.get("AWS_VPC_K8S_CNI_LOGLEVEL", Bad::Ignored, "info".to_owned(), |text| {
        logging::level(text).map(|_known| text.to_ascii_lowercase())
    });
    let log_level = logging::level(&level.value).unwrap_or(LevelFilter::INFO);
    let config = Config {
        warm,
        max_enis: reader.get("MAX_ENI", Bad::Ignored, None, |text| {
            // Upstream's "no limit" is any number below one.
            text.parse::<i64>()
                .map(|limit| u32::try_from(limit).ok().filter(|limit| *limit >= 1))
                .map_err(|error| format!("want a whole number ({error})"))
        }),
        max_pods: reader.get("HOLDFAST_MAX_PODS", Bad::Refused, None, |text| count(text).map(Some)),
        cooldown: reader.seconds("IP_COOLDOWN_PERIOD", base.cooldown.value),
        add_hold: reader.seconds("HOLDFAST_ADD_HOLD", base.add_hold.value),
        ec2_read_interval: reader.seconds_within(
            "HOLDFAST_EC2_READ_INTERVAL",
            base.ec2_read_interval.value,
            &READ_INTERVALS,
        ),
        eni_mtu,
        pod_mtu,
        veth_prefix: reader.get(
            "AWS_VPC_K8S_CNI_VETHPREFIX",
            Bad::Refused,
            base.veth_prefix.value,
            veth_prefix,
        ),
        external_snat: reader.get("AWS_VPC_K8S_CNI_EXTERNALSNAT", Bad::Ignored, false, boolean),
        node_ports: reader.get("AWS_VPC_CNI_NODE_PORT_SUPPORT", Bad::Ignored, true, boolean),
        snat_exclusions: reader.get_in_part(
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
            Bad::Ignored,
            Vec::new(),
            |text| Ok(ranges(text)),
        ),
        cluster: reader.get("CLUSTER_NAME", Bad::Ignored, None, |text| Ok(Some(text.to_owned()))),
        extra_tags: reader.get_in_part("ADDITIONAL_ENI_TAGS", Bad::Ignored, BTreeMap::new(), tags),
        manage_untagged: reader.get("MANAGE_UNTAGGED_ENI", Bad::Ignored, true, boolean),
        provisioning_disabled: reader.get(
            "DISABLE_NETWORK_RESOURCE_PROVISIONING",
            Bad::Ignored,
            false,
            boolean,
        ),
        ledger: reader.get("HOLDFAST_LEDGER", Bad::Refused, base.ledger.value, absolute),
        socket: reader.get("HOLDFAST_SOCKET", Bad::Refused, base.socket.value, absolute),
        spool: reader.get("HOLDFAST_SPOOL", Bad::Refused, base.spool.value, absolute),
        proc_sys: reader.get("HOLDFAST_PROC_SYS", Bad::Refused, base.proc_sys.value, absolute),
    };
    Read {
        config,
        log_level,
        by_name: reader.by_name,
        ignored: reader.ignored,
        left_out: reader.left_out,
        unsupported,
        refused: reader.refused,
    }
}

/// A variable of upstream's that this version does not honour: which values ask for it, whether pods would be wrong
/// without it, and what to tell.
type NotYet = (&'static str, fn(&str) -> bool, Bad, &'static str);

/// What would give pods another network than was asked for stops the start; the rest is told.
const NOT_YET: &[NotYet] = &[
    ("ENABLE_IPv4", off, Bad::Refused, "this version serves IPv4: unset it"),
    (
        "ENABLE_IPv6",
        on,
        Bad::Refused,
        "this version serves IPv4 only: unset it, or stay with the Amazon VPC CNI",
    ),
    (
        "ENABLE_PREFIX_DELEGATION",
        on,
        Bad::Refused,
        "this version assigns single addresses only: unset it, or stay with the Amazon VPC CNI",
    ),
    (
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG",
        on,
        Bad::Refused,
        "this version takes pods' addresses from the node's own subnet only: unset it, or stay with the Amazon VPC CNI",
    ),
    (
        "ENABLE_POD_ENI",
        on,
        Bad::Refused,
        "this version knows no security groups for pods: unset it, or stay with the Amazon VPC CNI",
    ),
    (
        "ENABLE_MULTI_NIC",
        on,
        Bad::Refused,
        "this version uses the first network card only: unset it, or stay with the Amazon VPC CNI",
    ),
    (
        "ENABLE_IMDS_ONLY_MODE",
        on,
        Bad::Refused,
        "this version leases nothing that EC2 has not shown, so it must be able to ask EC2: unset it",
    ),
    (
        "NETWORK_POLICY_ENFORCING_MODE",
        |value| value.eq_ignore_ascii_case("strict"),
        Bad::Refused,
        "this version enforces no network policy, and strict mode asks for pods that start isolated: unset it",
    ),
    (
        "NETWORK_POLICY_ENFORCING_MODE",
        |value| value.eq_ignore_ascii_case("standard"),
        Bad::Ignored,
        "this version enforces no network policy",
    ),
    (
        "AWS_EXTERNAL_SERVICE_CIDRS",
        |value| !value.is_empty(),
        Bad::Ignored,
        "this version makes no rules for them",
    ),
    (
        "AWS_VPC_K8S_CNI_CONNMARK",
        |value| !matches!(value, "" | "0x80" | "128"),
        Bad::Ignored,
        "this version always uses 0x80",
    ),
    (
        "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
        |value| !matches!(value, "" | "prng"),
        Bad::Ignored,
        "this version always chooses source ports at random",
    ),
    ("ENABLE_V6_EGRESS", on, Bad::Ignored, "this version serves IPv4 only"),
];

fn on(value: &str) -> bool {
    boolean(value) == Ok(true)
}

fn off(value: &str) -> bool {
    boolean(value) == Ok(false)
}

fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|error| format!("want a whole number from 0 upwards ({error})"))
}

fn seconds(text: &str) -> Result<u64, String> {
    count(text).map(u64::from).map_err(|error| format!("{error}, in seconds"))
}

/// Go's grammar, as upstream reads them.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("want true or false".to_owned()),
    }
}

fn mtu(text: &str) -> Result<u32, String> {
    let wanted = || "want an MTU from 576 to 9001".to_owned();
    text.parse()
        .map_err(|_not_a_number| wanted())
        .and_then(|mtu| if (576..=9001).contains(&mtu) { Ok(mtu) } else { Err(wanted()) })
}

fn veth_prefix(text: &str) -> Result<String, String> {
    holdfast_wire::ids::VethPrefix::new(text)
        .map(|prefix| prefix.to_string())
        .map_err(|error| error.to_string())
}

/// The ranges, and what is wrong with the rest.
fn ranges(text: &str) -> (Vec<Ipv4Net>, Vec<String>) {
    let (mut ranges, mut wrong) = (Vec::new(), Vec::new());
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        match range.parse::<Ipv4Net>() {
            Ok(net) => ranges.push(net.trunc()),
            Err(_syntax) => wrong.push(format!(
                "{range:?} is not an IPv4 range; want ranges like 10.0.0.0/8, with commas between"
            )),
        }
    }
    (ranges, wrong)
}

/// EC2's limits ("Tag restrictions"): characters of a key and of a value. A creation with one tag that breaks them makes no ENI.
const TAG_KEY: usize = 128;
const TAG_VALUE: usize = 256;
/// Of the fifty tags that EC2 takes on an object, those that are not our own.
const TAGS: usize = 45;

/// The tags, and what is wrong with the rest: those in upstream's and in AWS's reserved space are not for users to set, and
/// others EC2 does not take.
fn tags(text: &str) -> Result<(BTreeMap<String, String>, Vec<String>), String> {
    let all: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|error| format!("want a JSON object of texts, as in {{\"team\":\"web\"}} ({error})"))?;
    let (mut tags, mut wrong) = (BTreeMap::new(), Vec::new());
    for (key, value) in all {
        let (long_key, long_value) = (key.chars().count(), value.chars().count());
        if key.contains("k8s.amazonaws.com") || key.to_lowercase().starts_with("aws:") {
            wrong.push(format!("the key {key:?} is reserved"));
        } else if !(1..=TAG_KEY).contains(&long_key) {
            wrong.push(format!("a key has {long_key} characters; EC2 takes 1 to {TAG_KEY}"));
        } else if long_value > TAG_VALUE {
            wrong.push(format!("the value of {key:?} has {long_value} characters; EC2 takes {TAG_VALUE}"));
        } else if tags.len() == TAGS {
            wrong.push(format!("{key:?} is one too many; EC2 takes {TAGS} beside our own"));
        } else {
            tags.insert(key, value);
        }
    }
    Ok((tags, wrong))
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(absolute_wanted(&path.display())) }
}

fn absolute_wanted(path: &impl Display) -> String {
    format!("want an absolute path, not {path}")
}

#[cfg(test)]
mod tests {
    use holdfast_model::config::Origin;

    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Read {
        read(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let read = from(&[]);
        assert_eq!(read.config, Config::default());
        assert!(read.warnings().is_empty() && read.refused.is_empty());
        assert_eq!(read.log_level, LevelFilter::INFO);
    }

    /// EC2 would refuse a creation with any of them, and the ledger a record that is as large as one can make it.
    #[test]
    fn tags_that_ec2_does_not_take_are_left_out_and_told() {
        let (key, value) = ("k".repeat(129), "v".repeat(70_000));
        let text = format!(r#"{{"{key}":"a","":"b","aws:x":"c","note":"{value}","team":"web"}}"#);
        let (kept, wrong) = tags(&text).unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "web".to_owned())]);
        let wrong = wrong.join("; ");
        for words in ["129 characters", "0 characters", "\"aws:x\" is reserved", "\"note\" has 70000"] {
            assert!(wrong.contains(words), "{words}: {wrong}");
        }
        let most = ("k".repeat(128), "ä".repeat(256));
        let text = format!(r#"{{"{}":"{}"}}"#, most.0, most.1);
        assert_eq!(tags(&text), Ok(([most].into(), Vec::new())));
        let many: BTreeMap<String, String> = (0..60).map(|n| (format!("k{n:02}"), String::new())).collect();
        let (kept, wrong) = tags(&serde_json::to_string(&many).unwrap()).unwrap();
        assert_eq!((kept.len(), wrong.len()), (45, 15));
    }

    #[test]
    fn a_part_that_cannot_be_used_leaves_the_others() {
        let read = from(&[
            ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.168.1.1/16,fd00::/8, 10.0.0.0/8, ten"),
            ("ADDITIONAL_ENI_TAGS", r#"{"node.k8s.amazonaws.com/x":"y","team":"web"}"#),
            ("AWS_VPC_ENI_MTU", "1500"),
            ("POD_MTU", "9001"),
        ]);
        let ranges = ["192.168.0.0/16", "10.0.0.0/8"].map(|range| range.parse().unwrap());
        assert_eq!(read.config.snat_exclusions, Setting::from_environment(ranges.to_vec()));
        assert_eq!(read.config.extra_tags.value.keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(read.config.pod_mtu, Setting::from_environment(1500));
        assert!(read.refused.is_empty() && read.ignored.is_empty(), "{read:?}");
        let told = read.warnings();
        for (told, words) in
            told.iter().zip(["than the ENI's 1500", "fd00::/8", "\"ten\"", "node.k8s.amazonaws.com/x"])
        {
            assert!(told.contains(words) && told.ends_with("what is left is used"), "{words}: {told}");
        }
        assert_eq!(told.len(), 4, "{told:?}");
    }

    #[test]
    fn a_level_that_is_none_is_told() {
        let read = from(&[("AWS_VPC_K8S_CNI_LOGLEVEL", "loud")]);
        assert_eq!(read.log_level, LevelFilter::INFO);
        assert!(read.warnings()[0].starts_with("AWS_VPC_K8S_CNI_LOGLEVEL=\"loud\": want trace"), "{read:?}");
        assert_eq!(from(&[("AWS_VPC_K8S_CNI_LOGLEVEL", "Fatal")]).log_level, LevelFilter::ERROR);
    }

    #[test]
    fn settings_are_shown_under_the_names_by_which_they_are_set() {
        let shown = from(&[("WARM_IP_TARGET", "5"), ("IP_COOLDOWN_PERIOD", "7")]).by_name;
        assert_eq!(shown["WARM_IP_TARGET"], json!({ "value": 5, "origin": "Environment" }));
        assert_eq!(shown["WARM_ENI_TARGET"], json!({ "value": 1, "origin": "Default" }));
        assert_eq!(shown["IP_COOLDOWN_PERIOD"], json!({ "value": 7, "origin": "Environment" }));
        assert!(shown.keys().all(|name| !name.contains(|c: char| c.is_lowercase())), "{shown:?}");
    }

    /// From a minute to a day.
    #[test]
    fn ec2_is_read_neither_all_the_time_nor_never() {
        let name = "HOLDFAST_EC2_READ_INTERVAL";
        for (value, seconds) in [("60", 60), ("120", 120), ("86400", 86_400)] {
            let read = from(&[(name, value)]);
            assert!(read.refused.is_empty(), "{read:?}");
            let asked = Setting::from_environment(Duration::from_secs(seconds));
            assert_eq!(read.config.ec2_read_interval, asked);
            assert_eq!(read.by_name[name], json!({ "value": seconds, "origin": "Environment" }));
        }
        for value in ["0", "59", "86401", "2m", "-60"] {
            let read = from(&[(name, value)]);
            assert_eq!(read.refused.len(), 1, "{value}");
            assert_eq!(read.config.ec2_read_interval, Config::default().ec2_read_interval);
        }
        assert!(from(&[(name, "59")]).refused[0].to_string().ends_with("want 60 to 86400 seconds"));
    }

    #[test]
    fn prefixes_of_other_interfaces_and_patterns_are_refused() {
        for prefix in ["eth", "ens", "vlan", "lo", "e%d"] {
            let read = from(&[("AWS_VPC_K8S_CNI_VETHPREFIX", prefix)]);
            assert_eq!(read.refused.len(), 1, "{prefix}");
        }
    }

    #[test]
    fn what_upstreams_chart_sets_is_no_reason_to_complain_beyond_network_policy() {
        let read = from(&[
            ("ENABLE_IPv4", "true"),
            ("ENABLE_IPv6", "false"),
            ("ENABLE_PREFIX_DELEGATION", "false"),
            ("ENABLE_POD_ENI", "false"),
            ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
            ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
            ("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
            ("WARM_ENI_TARGET", "1"),
            ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
        ]);
        assert!(read.ignored.is_empty() && read.refused.is_empty(), "{read:?}");
        assert_eq!(read.unsupported.len(), 1);
    }

    #[test]
    fn upstreams_names_are_read() {
        let read = from(&[
            ("WARM_IP_TARGET", "5"),
            ("MINIMUM_IP_TARGET", "10"),
            ("MAX_ENI", "-1"),
            ("IP_COOLDOWN_PERIOD", "7"),
            ("AWS_VPC_ENI_MTU", "1500"),
            ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "T"),
            ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "False"),
            ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.168.1.1/16, 10.0.0.0/8"),
            ("ADDITIONAL_ENI_TAGS", r#"{"team":"web"}"#),
        ]);
        assert!(read.ignored.is_empty() && read.refused.is_empty(), "{read:?}");
        let config = read.config;
        assert_eq!(config.warm.value, WarmTargets { warm_enis: 1, warm_ips: 5, minimum_ips: 10 });
        assert_eq!(config.warm.origin, Origin::Environment);
        assert_eq!(config.max_enis.value, None);
        assert_eq!(config.cooldown.value, Duration::from_secs(7));
        assert_eq!((config.eni_mtu.value, config.pod_mtu.value), (1500, 1500), "the pod's follows the ENI's");
        assert!(config.external_snat.value && !config.node_ports.value);
        assert_eq!(config.snat_exclusions.value.len(), 2);
        assert_eq!(config.extra_tags.value["team"], "web");
    }

    #[test]
    fn all_bad_values_are_reported_at_once() {
        let read = from(&[
            ("WARM_ENI_TARGET", "many"),
            ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "yes"),
            ("ADDITIONAL_ENI_TAGS", r#"{"team":7}"#),
            ("IP_COOLDOWN_PERIOD", "-3"),
            ("AWS_VPC_ENI_MTU", "90000"),
            ("AWS_VPC_K8S_CNI_VETHPREFIX", "eth"),
            ("HOLDFAST_LEDGER", "ledger.redb"),
            ("ENABLE_IPv6", "true"),
            ("ENABLE_PREFIX_DELEGATION", "true"),
            ("NETWORK_POLICY_ENFORCING_MODE", "Strict"),
            ("AWS_VPC_K8S_CNI_CONNMARK", "0x100"),
        ]);
        let names = |problems: &[Problem]| problems.iter().map(|problem| problem.name).collect::<Vec<_>>();
        assert_eq!(
            names(&read.ignored),
            ["WARM_ENI_TARGET", "AWS_VPC_K8S_CNI_EXTERNALSNAT", "ADDITIONAL_ENI_TAGS"]
        );
        assert_eq!(names(&read.unsupported), ["AWS_VPC_K8S_CNI_CONNMARK"]);
        assert_eq!(
            names(&read.refused),
            [
                "ENABLE_IPv6",
                "ENABLE_PREFIX_DELEGATION",
                "NETWORK_POLICY_ENFORCING_MODE",
                "AWS_VPC_ENI_MTU",
                "IP_COOLDOWN_PERIOD",
                "AWS_VPC_K8S_CNI_VETHPREFIX",
                "HOLDFAST_LEDGER"
            ]
        );
        assert_eq!(read.config.warm, Config::default().warm, "what is ignored leaves the default");
    }
}
