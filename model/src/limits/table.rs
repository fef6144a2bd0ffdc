//! The table of all types: text that is part of the program, searched where it lies. Nothing of it is read but the lines that a
//! search touches, and nothing is kept.

use std::cmp::Ordering;

use super::{BranchEnis, Hypervisor, InstanceLimits};

#[cfg(test)]
mod tests;

/// Lines by name, each a type; before them lines with `#`, which say what the columns are. See docs/limits.md.
const TABLE: &str = include_str!("../../data/instance-types.tsv");

/// What the table has of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// As in `m5.large`.
    pub name: &'static str,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// What its ENIs carry.
    pub limits: InstanceLimits,
    /// For each network card whether EFA can be there, with addresses or without.
    pub efa_on: Vec<bool>,
    /// EFA interfaces on all cards together.
    pub efa_interfaces: u32,
    /// Branch ENIs.
    pub branch_enis: BranchEnis,
}

impl InstanceType {
    /// The type of this name, if it is in the table.
    pub fn named(name: &str) -> Option<Self> {
        find(TABLE, name).and_then(Self::of_line)
    }

    /// All types, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.lines().filter_map(Self::of_line)
    }

    /// `None`: it says something else than a type.
    fn of_line(line: &'static str) -> Option<Self> {
        let mut columns = line.split('\t');
        let name = columns.next().filter(|name| !name.starts_with('#'))?;
        let vcpus = columns.next()?.parse().ok()?;
        let hypervisor = match columns.next()? {
            "nitro" => Hypervisor::Nitro,
            "xen" => Hypervisor::Xen,
            "metal" => Hypervisor::BareMetal,
            _ => return None,
        };
        let (enis, efa_on) = cards(columns.next()?)?;
        let ipv4_per_eni = columns.next()?.parse().ok()?;
        let ipv6_per_eni = columns.next()?.parse().ok()?;
        let efa_interfaces = columns.next()?.parse().ok()?;
        let branch_enis = match columns.next()? {
            "-" => BranchEnis::NoTrunk,
            "?" => BranchEnis::Unknown,
            count => BranchEnis::UpTo(count.parse().ok()?),
        };
        let limits = InstanceLimits {
            enis,
            ipv4_per_eni,
            ipv6_per_eni: Some(ipv6_per_eni),
            hypervisor: Some(hypervisor),
        };
        let whole = columns.next().is_none();
        whole.then_some(Self { name, vcpus, limits, efa_on, efa_interfaces, branch_enis })
    }

    /// The family, as `m5` of `m5.large`.
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _size)| family)
    }
}

/// ENIs of each card, and whether EFA can be there: `8e,2x7` are three cards, EFA on the first.
fn cards(column: &str) -> Option<(Vec<u32>, Vec<bool>)> {
    let (mut enis, mut efa_on) = (Vec::new(), Vec::new());
    for run in column.split(',') {
        let (count, card) = run.split_once('x').unwrap_or(("1", run));
        let count = usize::from(count.parse::<u8>().ok()?);
        let (figure, efa) = card.strip_suffix('e').map_or((card, false), |figure| (figure, true));
        let figure: u32 = figure.parse().ok()?;
        enis.extend(std::iter::repeat_n(figure, count));
        efa_on.extend(std::iter::repeat_n(efa, count));
    }
    Some((enis, efa_on))
}

/// The line whose first column is `name`. The lines are sorted by it.
fn find<'t>(table: &'t str, name: &str) -> Option<&'t str> {
    let bytes = table.as_bytes();
    let (mut from, mut to) = (0, bytes.len());
    while from < to {
        // The line that holds the byte in the middle.
        let middle = from.midpoint(to);
        let start =
            bytes[from..middle].iter().rposition(|byte| *byte == b'\n').map_or(from, |at| from + at + 1);
        let end =
            bytes[middle..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| middle + at);
        let line = table.get(start..end)?;
        let this = line.split_once('\t').map_or(line, |(first, _)| first);
        match this.cmp(name) {
            Ordering::Equal => return Some(line),
            Ordering::Less => from = end + 1,
            Ordering::Greater => to = start,
        }
    }
    None
}
