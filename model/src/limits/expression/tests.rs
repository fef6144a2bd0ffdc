use std::collections::BTreeMap;

use cel::extractors::Arguments;
use cel::{Context, Program, Value};

use super::*;

const TOOLS: [Tool; 2] = [Tool::Nodeadm, Tool::Karpenter];

/// Each is compiled once.
#[derive(Default)]
struct Programs(BTreeMap<String, Program>);

impl Programs {
    fn of(&mut self, expression: String) -> &Program {
        let compile =
            |text: &String| Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        self.0.entry(expression).or_insert_with_key(compile)
    }
}

/// What the tool evaluates for a node of this type. Facts: nodeadm's and Karpenter's declared variables and functions, and no others.
fn evaluate(tool: Tool, program: &Program, known: &InstanceType) -> i64 {
    let mut context = Context::default();
    let limits = &known.limits;
    let mut figures = vec![
        ("default_enis", limits.enis_on(0)),
        ("ips_per_eni", limits.ipv4_per_eni),
        ("max_pods", limits.max_pods()),
    ];
    if tool == Tool::Karpenter {
        figures.push(("vcpus", known.vcpus));
        context.add_variable("instance_type", known.name).unwrap();
        let min = |Arguments(of): Arguments| match of.as_slice() {
            [Value::Int(a), Value::Int(b)] => *a.min(b),
            other => panic!("min of {other:?}"),
        };
        context.add_function("min", min).unwrap();
    }
    for (name, figure) in figures {
        context.add_variable(name, i64::from(figure)).unwrap();
    }
    match program.execute(&context) {
        Ok(Value::Int(pods)) => pods,
        other => panic!("{:?} for {}: {other:?}", program.expression(), known.name),
    }
}

/// Pods that can run. On the host's network some always can.
fn served(known: &InstanceType, mode: Mode) -> u64 {
    known.max_pods(mode).map_or(u64::from(ON_HOST_NETWORK), |pods| pods.served)
}

fn all() -> Vec<InstanceType> {
    InstanceType::all().collect()
}

fn none_promises_too_much(tool: Tool, mode: Mode, expression: &str, types: &[InstanceType], cap: Cap) {
    let program = Program::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    for known in types {
        let promised = evaluate(tool, &program, known);
        // A tool takes another figure where this one is not above zero.
        assert!(promised > 0 && promised <= i64::from(i32::MAX), "{} {mode:?}: {promised}", known.name);
        // Where prefixes are asked for and cannot be had, single addresses are served.
        let (single, alone) = match mode {
            Mode::Prefix => (Mode::Secondary, known.max_pods(mode).is_none()),
            Mode::CustomNetworkingPrefix => (Mode::CustomNetworking, known.max_pods(mode).is_none()),
            other => (other, false),
        };
        let most = served(known, if alone { single } else { mode });
        assert!(
            promised.unsigned_abs() <= most,
            "{} {mode:?}: {promised} promised, {most} served",
            known.name
        );
        if cap == Cap::Recommended {
            assert!(
                promised <= i64::from(recommended_for(known.vcpus)),
                "{} {mode:?}: {promised}",
                known.name
            );
        }
    }
}

#[test]
fn no_type_of_the_whole_table_promises_more_than_it_can_serve() {
    let all = all();
    for cap in [Cap::Recommended, Cap::Addresses] {
        for mode in Mode::ALL {
            for tool in TOOLS {
                match expression(tool, mode, &all, cap) {
                    Ok(expression) => none_promises_too_much(tool, mode, &expression, &all, cap),
                    Err(unable) => {
                        assert_eq!((tool, mode), (Tool::Nodeadm, Mode::Ipv6), "{unable}");
                        assert_eq!(unable.types.len(), 80, "those on Xen");
                    }
                }
            }
        }
    }
}

#[test]
fn types_that_all_take_prefixes_get_an_expression_that_counts_them() {
    let takers: Vec<InstanceType> =
        all().into_iter().filter(|known| known.limits.supports_prefixes() == Some(true)).collect();
    assert!(takers.len() > 1300);
    for cap in [Cap::Recommended, Cap::Addresses] {
        for mode in Mode::ALL {
            let expression = expression(Tool::Nodeadm, mode, &takers, cap).unwrap();
            assert_eq!(expression.contains("* 16"), mode.delegates(), "{expression}");
            none_promises_too_much(Tool::Nodeadm, mode, &expression, &takers, cap);
        }
    }
}

/// No type is given less than it could have, either.
#[test]
fn for_nodes_of_one_type_each_tool_says_just_what_the_type_can_have() {
    let mut programs = Programs::default();
    for known in all() {
        let own = std::slice::from_ref(&known);
        for mode in Mode::ALL {
            let Some(pods) = known.max_pods(mode) else { continue };
            for tool in TOOLS {
                let mut of =
                    |cap| evaluate(tool, programs.of(expression(tool, mode, own, cap).unwrap()), &known);
                assert_eq!(
                    of(Cap::Recommended),
                    i64::from(pods.recommended),
                    "{} {mode:?} {tool:?}",
                    known.name
                );
                if mode != Mode::Ipv6 {
                    assert_eq!(
                        of(Cap::Addresses).unsigned_abs(),
                        pods.served,
                        "{} {mode:?} {tool:?}",
                        known.name
                    );
                }
            }
        }
    }
}

/// Karpenter's expressions name them.
#[test]
fn the_families_without_prefixes_are_those_of_the_table() {
    for known in all() {
        let named = XEN_FAMILIES.contains(&known.family());
        assert_eq!(known.limits.supports_prefixes(), Some(!named), "{}", known.name);
    }
}

#[test]
fn expressions_read_like_this() {
    let of = |tool, mode, names: &[&str], cap| {
        let types: Vec<InstanceType> = names.iter().map(|name| InstanceType::named(name).unwrap()).collect();
        expression(tool, mode, &types, cap).map_err(|unable| unable.to_string())
    };
    let capped = "default_enis * (ips_per_eni - 1) + 2 < 110 ? default_enis * (ips_per_eni - 1) + 2 : 110";
    let cap = Cap::Recommended;
    assert_eq!(of(Tool::Nodeadm, Mode::Secondary, &["m5.large"], cap).unwrap(), capped);
    let mixed = &["m5.large", "m4.large"];
    assert_eq!(of(Tool::Nodeadm, Mode::Prefix, mixed, cap).unwrap(), capped, "one of them takes no prefixes");
    let large = of(Tool::Nodeadm, Mode::CustomNetworkingPrefix, &["m5.8xlarge"], cap).unwrap();
    assert!(
        large.ends_with(": 250") && large.starts_with("(default_enis - 1) * (ips_per_eni - 1) * 16 + 2 <"),
        "{large}"
    );
    assert_eq!(of(Tool::Nodeadm, Mode::Ipv6, &["m5.large", "m5.8xlarge"], cap).unwrap(), "110");
    let xen = ["m4.large"; 7];
    assert_eq!(
        of(Tool::Nodeadm, Mode::Ipv6, &xen, cap).unwrap_err(),
        "ipv6 is not to be had on m4.large, m4.large, m4.large, m4.large, m4.large and 2 more"
    );
    assert_eq!(
        of(Tool::Karpenter, Mode::Secondary, &[], cap).unwrap(),
        "min((vcpus < 30 ? 110 : 250), default_enis * (ips_per_eni - 1) + 2)"
    );
    assert_eq!(
        of(Tool::Karpenter, Mode::CustomNetworking, &[], Cap::Addresses).unwrap(),
        "(default_enis - 1) * (ips_per_eni - 1) + 2"
    );
    assert_eq!(
        of(Tool::Nodeadm, Mode::Prefix, &[], cap).unwrap(),
        of(Tool::Nodeadm, Mode::Prefix, &["m5.large"], cap).unwrap()
    );
}
