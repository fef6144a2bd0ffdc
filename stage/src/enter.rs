//! The command lines that lead into a stage's namespaces.

use std::path::{Path, PathBuf};

use crate::component::Place;
use crate::error::{Error, Result};
use crate::state::{Keeper, Live, LiveNode};
use crate::vpc::CONTROL;

/// Where a place is, for the keeper and what it starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doors {
    /// The control plane's network namespace.
    pub(crate) control: PathBuf,
    /// Of each node, the process whose namespaces are the node's.
    pub(crate) holders: Vec<(String, u32)>,
}

impl Doors {
    /// As the keeper has written them down.
    pub(crate) fn of(live: &Live) -> Self {
        let holder = |node: &LiveNode| (node.name.clone(), node.holder);
        Self { control: live.control.clone(), holders: live.nodes.iter().map(holder).collect() }
    }

    /// What leads from the keeper's namespaces to a place; a command is appended.
    pub(crate) fn to(&self, place: &Place) -> Result<Vec<String>> {
        match place {
            Place::Keeper => Ok(Vec::new()),
            Place::Control => {
                Ok(vec!["nsenter".to_owned(), format!("--net={}", self.control.display()), "--".to_owned()])
            }
            Place::Node(name) => {
                let holder = self.holders.iter().find(|(node, _)| node == name);
                let (_, holder) =
                    holder.ok_or_else(|| Error::Refused(format!("there is no node {name:?}")))?;
                Ok(into_node(*holder))
            }
        }
    }
}

/// The holder itself has stayed in the PID namespace above; its children are in the node's.
fn into_node(holder: u32) -> Vec<String> {
    let namespace = |option: &str, file: &str| format!("--{option}=/proc/{holder}/ns/{file}");
    vec![
        "nsenter".to_owned(),
        namespace("mount", "mnt"),
        namespace("uts", "uts"),
        namespace("ipc", "ipc"),
        namespace("net", "net"),
        namespace("cgroup", "cgroup"),
        namespace("pid", "pid_for_children"),
        "--".to_owned(),
    ]
}

/// What leads from the machine to a place of a stage that is up. `folder`: the working folder.
pub(crate) fn from_outside(keeper: Keeper, live: &Live, place: &Place, folder: &Path) -> Result<Vec<String>> {
    let mut argv = vec![
        "nsenter".to_owned(),
        format!("--target={}", keeper.first.pid),
        "--mount".to_owned(),
        "--pid".to_owned(),
        "--net".to_owned(),
        format!("--wdns={}", folder.display()),
        "--".to_owned(),
    ];
    argv.extend(Doors::of(live).to(place)?);
    Ok(argv)
}

/// A place by the name that a person gives it.
pub fn place_of(name: &str) -> Place {
    if name == CONTROL { Place::Control } else { Place::Node(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_entered_by_its_own_door() {
        let doors = Doors { control: "/c".into(), holders: vec![("node-a".to_owned(), 7)] };
        assert_eq!(doors.to(&Place::Keeper).unwrap(), [""; 0]);
        assert_eq!(doors.to(&place_of("control-plane")).unwrap(), ["nsenter", "--net=/c", "--"]);
        let node = doors.to(&place_of("node-a")).unwrap();
        assert!(node.contains(&"--pid=/proc/7/ns/pid_for_children".to_owned()), "{node:?}");
        assert!(doors.to(&place_of("node-b")).is_err());
    }
}
