//! `holdfast limits`: what instance types carry, and what that says to those who set up nodes. From the program itself: neither
//! AWS nor a daemon is asked.

use std::fmt::Write as _;

use holdfast_model::limits::expression::{Cap, Tool, expression};
use holdfast_model::limits::max_pods::{MaxPods, Mode};
use holdfast_model::limits::{BranchEnis, Hypervisor, InstanceType};
use serde_json::{Map, Value, json};
use strsim::osa_distance;

#[cfg(test)]
mod tests;

/// Of one column each.
const TITLES: [&str; 5] = ["secondary", "prefix", "custom", "custom+prefix", "ipv6"];

/// No type has a longer name, and no typing error is worse.
const LONGEST_NAME: usize = 64;
const MOST_ERRORS: usize = 3;
const SUGGESTED: usize = 5;

/// From the 32nd address of an ENI on, on these types, AWS's own services at link-local addresses do not answer (EC2 user
/// guide, "IP addresses per network interface").
const DEAF_BEYOND_31: [&str; 5] = ["f1.16xlarge", "g3.16xlarge", "h1.16xlarge", "i3.16xlarge", "r4.16xlarge"];

/// What is asked for.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// Instance types, as in `m5.large`.
    #[arg(required_unless_present = "all", value_name = "TYPE")]
    types: Vec<String>,
    /// All types that this version knows.
    #[arg(long, conflicts_with = "types")]
    all: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
    /// Expressions for as many pods as have addresses, not for what EKS recommends at most.
    #[arg(long)]
    uncapped: bool,
}

/// What is printed.
pub(crate) fn limits(asked: &Asked) -> anyhow::Result<String> {
    let types = if asked.all { InstanceType::all().collect() } else { named(&asked.types)? };
    let cap = if asked.uncapped { Cap::Addresses } else { Cap::Recommended };
    Ok(if asked.json {
        serde_json::to_string_pretty(&as_json(&types, cap))?
    } else {
        let listed = match types.as_slice() {
            few @ ([] | [_] | [_, _] | [_, _, _]) => few.iter().map(described).collect::<Vec<_>>().join("\n"),
            many => table(many),
        };
        format!("{listed}\n{}", expressions(&types, cap))
    })
}

/// All that are not known are named at once.
fn named(names: &[String]) -> anyhow::Result<Vec<InstanceType>> {
    let (mut known, mut unknown) = (Vec::new(), String::new());
    for name in names {
        match InstanceType::named(name) {
            Some(found) => known.push(found),
            None => write!(unknown, "\n  {}", not_known(name))?,
        }
    }
    if unknown.is_empty() { Ok(known) } else { anyhow::bail!("not in this version's table:{unknown}") }
}

/// EC2 may have it all the same.
fn not_known(name: &str) -> String {
    let shown: String = name.chars().take(LONGEST_NAME).collect();
    let near = nearest(name);
    let advice = if near.is_empty() {
        "if EC2 has it (`aws ec2 describe-instance-types`), its nodes ask EC2 by themselves".to_owned()
    } else {
        format!("nearest: {}", near.join(", "))
    };
    format!("{shown:?}: {advice}")
}

/// Names that were meant, most likely first.
fn nearest(name: &str) -> Vec<&'static str> {
    if name.len() > LONGEST_NAME {
        return Vec::new();
    }
    let meant = name.trim().to_lowercase();
    let mut near: Vec<(usize, &str)> = InstanceType::all()
        .map(|known| (osa_distance(&meant, known.name), known.name))
        .filter(|(errors, known)| *errors <= MOST_ERRORS.min(known.len() / 3))
        .collect();
    near.sort_unstable();
    // What is much further off was not meant where something nearer is there.
    let limit = near.first().map_or(0, |(errors, _)| errors + 1);
    near.into_iter().filter(|(errors, _)| *errors <= limit).map(|(_, known)| known).take(SUGGESTED).collect()
}

fn runs_on(known: &InstanceType) -> &'static str {
    match known.limits.hypervisor {
        Some(Hypervisor::Nitro) => "Nitro",
        Some(Hypervisor::Xen) => "Xen",
        Some(Hypervisor::BareMetal) => "bare metal",
        None => "not known",
    }
}

/// Network cards that are alike, together: from which on, how many, ENIs of each, and whether EFA can be there.
fn runs_of_cards(known: &InstanceType) -> Vec<(usize, usize, u32, bool)> {
    let mut runs: Vec<(usize, usize, u32, bool)> = Vec::new();
    for (card, (enis, efa)) in known.limits.enis.iter().zip(&known.efa_on).enumerate() {
        match runs.last_mut() {
            Some((_, count, alike, alike_efa)) if alike == enis && alike_efa == efa => *count += 1,
            _ => runs.push((card, 1, *enis, *efa)),
        }
    }
    runs
}

fn cards(known: &InstanceType) -> String {
    let run = |(first, count, enis, efa): (usize, usize, u32, bool)| {
        let efa = if efa { ", EFA possible" } else { "" };
        match count {
            1 => format!("card {first}: {enis} ENIs{efa}"),
            _ => format!("cards {first} to {}: {enis} ENIs each{efa}", first + count - 1),
        }
    };
    runs_of_cards(known).into_iter().map(run).collect::<Vec<_>>().join("; ")
}

fn notes(known: &InstanceType) -> Vec<String> {
    let mut notes = Vec::new();
    if known.limits.enis.len() > 1 {
        notes.push("pods' addresses are counted on card 0".to_owned());
    }
    if known.limits.enis_on(0) < 2 {
        notes.push("custom networking leaves no ENI for pods".to_owned());
    }
    if DEAF_BEYOND_31.contains(&known.name) {
        notes.push(
            "from an ENI's 32nd address on, metadata, VPC DNS and time sync do not answer on this type"
                .to_owned(),
        );
    }
    notes
}

/// One type, in lines.
fn described(known: &InstanceType) -> String {
    let ipv6 = match known.limits.ipv6_per_eni {
        Some(0) => "none".to_owned(),
        Some(slots) => slots.to_string(),
        None => "not known".to_owned(),
    };
    let per_eni = known.limits.pod_addresses_per_eni();
    let prefixes =
        if known.limits.supports_prefixes() == Some(true) { " or /28 prefixes" } else { "; no prefixes" };
    let ipv4 =
        format!("{}: its own address, and {per_eni} addresses{prefixes} for pods", known.limits.ipv4_per_eni);
    let facts = [
        ("network", cards(known)),
        ("IPv4 per ENI", ipv4),
        ("IPv6 per ENI", ipv6),
        ("EFA interfaces", known.efa_interfaces.to_string()),
        ("branch ENIs", known.branch_enis.to_string()),
    ];
    let notes = notes(known).into_iter().map(|note| ("note", note));
    let head = format!("{}: {}, {} vCPUs", known.name, runs_on(known), known.vcpus);
    let facts = facts.into_iter().chain(notes).map(|(what, fact)| format!("  {what:<15} {fact}"));
    let titles = row("mode", "addresses", "max pods", "recommended");
    let modes = Mode::ALL.into_iter().map(|mode| {
        let name = mode.name();
        match known.max_pods(mode) {
            Some(pods) if mode == Mode::Ipv6 => row(name, "2^48", "2^48", &pods.recommended.to_string()),
            Some(MaxPods { addresses, served, recommended }) => {
                row(name, &addresses.to_string(), &served.to_string(), &recommended.to_string())
            }
            None => format!("  {name:<25} {:>10}  {}", "-", known.lacks(mode).unwrap_or_default()),
        }
    });
    lines(std::iter::once(head).chain(facts).chain([titles]).chain(modes))
}

fn row(name: &str, addresses: &str, served: &str, recommended: &str) -> String {
    format!("  {name:<25} {addresses:>10}  {served:>8}  {recommended:>12}")
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

/// A line for each type: pods that can run, by mode.
fn table(types: &[InstanceType]) -> String {
    let line = |facts: [String; 8], pods: [String; 5]| {
        let [name, vcpus, runs_on, cards, enis, ipv4, ipv6, branch] = facts;
        let pods = pods.map(|pods| format!("{pods:>13}")).join(" ");
        format!(
            "{name:<18} {vcpus:>5} {runs_on:<10} {cards:>5} {enis:>4} {ipv4:>5} {ipv6:>5} {branch:>6} {pods}"
        )
    };
    let titles = ["type", "vCPUs", "runs on", "cards", "ENIs", "IPv4", "IPv6", "branch"];
    let head = line(titles.map(str::to_owned), TITLES.map(str::to_owned));
    let types = types.iter().map(|known| {
        let facts = [
            known.name.to_owned(),
            known.vcpus.to_string(),
            runs_on(known).to_owned(),
            known.limits.enis.len().to_string(),
            known.limits.enis_on(0).to_string(),
            known.limits.ipv4_per_eni.to_string(),
            known.limits.ipv6_per_eni.map_or_else(|| "?".to_owned(), |slots| slots.to_string()),
            match known.branch_enis {
                BranchEnis::UpTo(count) => count.to_string(),
                BranchEnis::NoTrunk => "-".to_owned(),
                BranchEnis::Unknown => "?".to_owned(),
            },
        ];
        line(facts, Mode::ALL.map(|mode| in_table(known, mode)))
    });
    let foot = "ENIs, IPv4 and IPv6: of card 0, and per ENI. Then pods that can run, by mode; for IPv6 what EKS \
                recommends at most.";
    lines(std::iter::once(head).chain(types).chain([foot.to_owned()]))
}

/// By IPv6 there are more than anybody runs.
fn in_table(known: &InstanceType, mode: Mode) -> String {
    match known.max_pods(mode) {
        Some(pods) if mode == Mode::Ipv6 => pods.recommended.to_string(),
        Some(pods) => pods.served.to_string(),
        None => "-".to_owned(),
    }
}

const TOOLS: [(Tool, &str, &str); 2] = [
    (Tool::Nodeadm, "nodeadm", "NodeConfig, spec.kubelet.maxPodsExpression, for nodes of these types"),
    (
        Tool::Karpenter,
        "karpenter",
        "EC2NodeClass, spec.kubelet.maxPods, for any type; with feature gate NodeClassCEL, else a plain number",
    ),
];

fn expressions(types: &[InstanceType], cap: Cap) -> String {
    let said = |tool, mode: Mode| {
        let said = expression(tool, mode, types, cap).unwrap_or_else(|unable| format!("none: {unable}"));
        format!("  {:<25} {said}", mode.name())
    };
    lines(TOOLS.into_iter().flat_map(|(tool, name, place)| {
        std::iter::once(format!("{name}: {place}")).chain(Mode::ALL.map(|mode| said(tool, mode)))
    }))
}

fn as_json(types: &[InstanceType], cap: Cap) -> Value {
    let said = |tool| {
        let said = |mode: Mode| {
            let said = match expression(tool, mode, types, cap) {
                Ok(expression) => json!({ "expression": expression }),
                Err(unable) => json!({ "expression": null, "why": unable.to_string() }),
            };
            (mode.name().to_owned(), said)
        };
        Value::Object(Mode::ALL.into_iter().map(said).collect())
    };
    let tools: Map<String, Value> =
        TOOLS.into_iter().map(|(tool, name, _)| (name.to_owned(), said(tool))).collect();
    json!({ "types": types.iter().map(type_as_json).collect::<Vec<_>>(), "expressions": tools })
}

fn type_as_json(known: &InstanceType) -> Value {
    let limits = &known.limits;
    let cards: Vec<Value> = (limits.enis.iter().zip(&known.efa_on))
        .map(|(enis, efa)| json!({ "enis": enis, "efa": efa }))
        .collect();
    let takes_prefixes = limits.supports_prefixes() == Some(true);
    let pods: Map<String, Value> =
        Mode::ALL.into_iter().map(|mode| (mode.name().to_owned(), json!(known.max_pods(mode)))).collect();
    json!({
        "type": known.name,
        "vcpus": known.vcpus,
        "hypervisor": limits.hypervisor,
        "network_cards": cards,
        "default_card": 0,
        "ipv4_per_eni": limits.ipv4_per_eni,
        "ipv6_per_eni": limits.ipv6_per_eni,
        "pod_addresses_per_eni": limits.pod_addresses_per_eni(),
        "prefixes_per_eni": if takes_prefixes { limits.pod_addresses_per_eni() } else { 0 },
        "efa_interfaces": known.efa_interfaces,
        "branch_enis": known.branch_enis,
        "max_pods": pods,
        "notes": notes(known),
    })
}
