//! The `CNI_*` variables, read once through a lookup that the caller gives.

use std::ffi::OsString;
use std::fmt;

use crate::ids::{BadName, ContainerId, IfName, PodRef};
use crate::trace::{self, TraceParent};

/// The longest name that Kubernetes gives to anything.
const MAX_POD_NAME: usize = 253;

/// What the runtime wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect a container.
    Add,
    /// Disconnect it.
    Del,
    /// Is it connected as its ADD said?
    Check,
    /// Would an ADD work?
    Status,
    /// Remove what belongs to no listed container.
    Gc,
    /// Which versions of the specification?
    Version,
}

impl Command {
    /// The command of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "STATUS" => Self::Status,
            "GC" => Self::Gc,
            "VERSION" => Self::Version,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

/// All that is wrong with the environment, each with the variable's name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvError {
    /// Variable and complaint.
    pub problems: Vec<(&'static str, String)>,
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (variable, problem)) in self.problems.iter().enumerate() {
            let gap = if i == 0 { "" } else { "; " };
            write!(f, "{gap}{variable}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for EnvError {}

impl EnvError {
    /// One complaint.
    pub fn one(variable: &'static str, problem: impl Into<String>) -> Self {
        Self { problems: vec![(variable, problem.into())] }
    }

    /// Keeps the value, or its complaints and `None`.
    fn collect<T>(&mut self, outcome: Result<T, Self>) -> Option<T> {
        outcome.map_err(|e| self.problems.extend(e.problems)).ok()
    }
}

/// The variables as they are; each command checks those that it needs.
///
/// An empty variable counts as missing. `CNI_PATH` is not among them: this plugin runs no other.
#[derive(Debug, Clone, Default)]
pub struct CniEnv {
    container_id: Option<OsString>,
    netns: Option<OsString>,
    ifname: Option<OsString>,
    args: Option<OsString>,
    trace: Option<TraceParent>,
}

impl CniEnv {
    /// Reads the variables through `lookup`.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        Self {
            container_id: get("CNI_CONTAINERID"),
            netns: get("CNI_NETNS"),
            ifname: get("CNI_IFNAME"),
            args: get("CNI_ARGS"),
            trace: get(trace::VARIABLE).and_then(|text| TraceParent::parse(text.to_str()?)),
        }
    }

    /// What ADD needs: container, interface, namespace and pod.
    pub fn for_add(&self) -> Result<(ContainerId, IfName, String, PodRef), EnvError> {
        let mut wrong = EnvError::default();
        let id = wrong.collect(self.container_id());
        let ifname = wrong.collect(self.ifname());
        let netns = wrong.collect(self.required_netns());
        let pod = wrong.collect(self.pod());
        match (id, ifname, netns, pod) {
            (Some(id), Some(ifname), Some(netns), Some(pod)) => Ok((id, ifname, netns, pod)),
            _ => Err(wrong),
        }
    }

    /// What CHECK needs: container, interface and namespace.
    pub fn for_check(&self) -> Result<(ContainerId, IfName, String), EnvError> {
        let mut wrong = EnvError::default();
        let id = wrong.collect(self.container_id());
        let ifname = wrong.collect(self.ifname());
        let netns = wrong.collect(self.required_netns());
        match (id, ifname, netns) {
            (Some(id), Some(ifname), Some(netns)) => Ok((id, ifname, netns)),
            _ => Err(wrong),
        }
    }

    /// What DEL needs: container and interface. All else of a container may be gone already.
    pub fn for_del(&self) -> Result<(ContainerId, IfName), EnvError> {
        let mut wrong = EnvError::default();
        match (wrong.collect(self.container_id()), wrong.collect(self.ifname())) {
            (Some(id), Some(ifname)) => Ok((id, ifname)),
            _ => Err(wrong),
        }
    }

    /// `CNI_NETNS`, if it is there and readable as text.
    pub fn netns(&self) -> Option<&str> {
        self.netns.as_ref()?.to_str()
    }

    /// The trace that the call belongs to, if it has one.
    pub fn trace(&self) -> Option<&TraceParent> {
        self.trace.as_ref()
    }

    /// `CNI_CONTAINERID` and `CNI_IFNAME` as they are, for logs.
    pub fn unchecked(&self) -> (Option<&str>, Option<&str>) {
        (self.container_id.as_ref().and_then(|v| v.to_str()), self.ifname.as_ref().and_then(|v| v.to_str()))
    }

    /// The pod of `CNI_ARGS`: `K8S_POD_NAMESPACE`, `K8S_POD_NAME` and, if given, `K8S_POD_UID`, in any order.
    ///
    /// Other keys are ignored, with or without `IgnoreUnknown`: runtimes add their own.
    pub fn pod(&self) -> Result<PodRef, EnvError> {
        const ARGS: &str = "CNI_ARGS";
        let text = text(ARGS, self.args.as_ref())?;
        let (mut namespace, mut name, mut uid) = (None, None, None);
        for pair in text.split(';').filter(|p| !p.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(EnvError::one(ARGS, format!("{pair:?} is not of the form KEY=VALUE")));
            };
            match key {
                "K8S_POD_NAMESPACE" => namespace = Some(value),
                "K8S_POD_NAME" => name = Some(value),
                "K8S_POD_UID" => uid = Some(value),
                _ => {}
            }
        }
        let mut wrong = EnvError::default();
        let mut part = |key: &str, value: Option<&str>| match value {
            Some(v) if pod_name(v) => Some(v.to_owned()),
            Some(v) => {
                wrong.collect(Err(EnvError::one(ARGS, format!("{key} {v:?} is not a Kubernetes name"))))
            }
            None => wrong.collect(Err(EnvError::one(ARGS, format!("{key} is missing")))),
        };
        let namespace = part("K8S_POD_NAMESPACE", namespace);
        let name = part("K8S_POD_NAME", name);
        match (namespace, name) {
            (Some(namespace), Some(name)) => {
                Ok(PodRef { namespace, name, uid: uid.filter(|u| !u.is_empty()).map(str::to_owned) })
            }
            _ => Err(wrong),
        }
    }

    fn container_id(&self) -> Result<ContainerId, EnvError> {
        const NAME: &str = "CNI_CONTAINERID";
        ContainerId::new(text(NAME, self.container_id.as_ref())?).map_err(|e| refused(NAME, &e))
    }

    fn ifname(&self) -> Result<IfName, EnvError> {
        const NAME: &str = "CNI_IFNAME";
        IfName::new(text(NAME, self.ifname.as_ref())?).map_err(|e| refused(NAME, &e))
    }

    fn required_netns(&self) -> Result<String, EnvError> {
        text("CNI_NETNS", self.netns.as_ref()).map(str::to_owned)
    }
}

fn text<'a>(name: &'static str, value: Option<&'a OsString>) -> Result<&'a str, EnvError> {
    let value = value.ok_or_else(|| EnvError::one(name, "missing or empty"))?;
    value.to_str().ok_or_else(|| EnvError::one(name, "not UTF-8"))
}

fn refused(name: &'static str, why: &BadName) -> EnvError {
    EnvError::one(name, why.to_string())
}

fn pod_name(text: &str) -> bool {
    (1..=MAX_POD_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> CniEnv {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        CniEnv::read(move |key| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.into()))
    }

    const ARGS: &str = "K8S_POD_UID=u-1;IgnoreUnknown=1;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=3f;K8S_POD_NAMESPACE=default";

    #[test]
    fn add_reads_arguments_in_any_order() {
        let all = env(&[
            ("CNI_CONTAINERID", "3f"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/n"),
            ("CNI_ARGS", ARGS),
        ]);
        let (id, ifname, netns, pod) = all.for_add().unwrap();
        assert_eq!((id.as_str(), ifname.as_str(), netns.as_str()), ("3f", "eth0", "/n"));
        assert_eq!(pod.to_string(), "default/web-0");
        assert_eq!(pod.uid.as_deref(), Some("u-1"));
    }

    #[test]
    fn every_bad_variable_is_named_at_once() {
        let message =
            env(&[("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", ""), ("CNI_ARGS", "a=b;K8S_POD_NAME=w w")])
                .for_add()
                .unwrap_err()
                .to_string();
        for part in [
            "CNI_CONTAINERID: ",
            "CNI_IFNAME: missing",
            "CNI_NETNS: missing",
            "K8S_POD_NAMESPACE is missing",
            "\"w w\"",
        ] {
            assert!(message.contains(part), "{part} not in {message}");
        }
    }

    #[test]
    fn del_needs_neither_namespace_nor_pod() {
        let little = env(&[
            ("CNI_CONTAINERID", "3f"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", ""),
            ("CNI_ARGS", "broken"),
        ]);
        assert!(little.for_del().is_ok());
        assert!(little.netns().is_none());
        assert!(little.pod().is_err());
    }

    #[test]
    fn a_variable_that_is_no_text_is_an_error_not_a_panic() {
        let odd = CniEnv::read(|_| Some(OsString::from_vec(vec![0xff, 0xfe])));
        assert_eq!(odd.for_add().unwrap_err().problems.len(), 4);
        assert!(odd.netns().is_none());
    }

    #[test]
    fn every_command_reads_back() {
        for command in ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] {
            assert_eq!(Command::parse(command).unwrap().as_str(), command);
        }
        assert_eq!(Command::parse("add"), None);
    }

    proptest! {
        #[test]
        fn arguments_of_any_text_never_panic(args in ".{0,80}") {
            // Only that it returns: what it returns is covered above.
            drop(env(&[("CNI_ARGS", &args)]).pod());
        }
    }
}
