//! What a random run does.

use proptest::prelude::*;

#[derive(Debug, Clone)]
pub enum Step {
    Create { caller: u8, subnet: u8, addresses: u8, prefixes: u8, token: Option<u8> },
    Attach { caller: u8, eni: u8, instance: u8, card: u8, device: u8 },
    Detach { caller: u8, eni: u8, force: bool },
    Delete { caller: u8, eni: u8 },
    DeleteOnTermination { caller: u8, eni: u8, value: bool },
    Assign { caller: u8, eni: u8, count: u8 },
    AssignPrefixes { caller: u8, eni: u8, count: u8 },
    AssignThis { caller: u8, eni: u8, host: u8, move_it: bool },
    Unassign { caller: u8, eni: u8, place: u8 },
    UnassignPrefix { caller: u8, eni: u8, place: u8 },
    List { caller: u8, page: u8 },
    Terminate { instance: u8 },
    Harm { kind: Harm, times: u8 },
    DescribeLag { ms: u16 },
    Heal,
    Wait { ms: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Harm {
    RequestLost,
    AnswerLost,
    Throttle,
    ErrorInstead,
}

pub fn step() -> impl Strategy<Value = Step> {
    let eni = || any::<u8>();
    prop_oneof![
        6 => (0..3_u8, 0..3_u8, 0..6_u8, 0..3_u8, prop::option::of(0..3_u8)).prop_map(
            |(caller, subnet, addresses, prefixes, token)| Step::Create {
                caller, subnet, addresses, prefixes, token
            }
        ),
        6 => (0..3_u8, eni(), 0..4_u8, 0..3_u8, 0..4_u8).prop_map(|(caller, eni, instance, card, device)| {
            // Mostly the only card that most types have.
            Step::Attach { caller, eni, instance, card: card / 2, device }
        }),
        3 => (0..3_u8, eni(), any::<bool>())
            .prop_map(|(caller, eni, force)| Step::Detach { caller, eni, force }),
        3 => (0..3_u8, eni()).prop_map(|(caller, eni)| Step::Delete { caller, eni }),
        2 => (0..3_u8, eni(), any::<bool>())
            .prop_map(|(caller, eni, value)| Step::DeleteOnTermination { caller, eni, value }),
        5 => (0..3_u8, eni(), 0..8_u8).prop_map(|(caller, eni, count)| Step::Assign { caller, eni, count }),
        3 => (0..3_u8, eni(), 1..4_u8)
            .prop_map(|(caller, eni, count)| Step::AssignPrefixes { caller, eni, count }),
        3 => (0..3_u8, eni(), any::<u8>(), any::<bool>())
            .prop_map(|(caller, eni, host, move_it)| Step::AssignThis { caller, eni, host, move_it }),
        4 => (0..3_u8, eni(), 0..6_u8).prop_map(|(caller, eni, place)| Step::Unassign { caller, eni, place }),
        2 => (0..3_u8, eni(), 0..3_u8)
            .prop_map(|(caller, eni, place)| Step::UnassignPrefix { caller, eni, place }),
        2 => (0..3_u8, 4..9_u8).prop_map(|(caller, page)| Step::List { caller, page }),
        1 => (0..4_u8).prop_map(|instance| Step::Terminate { instance }),
        2 => (
            prop_oneof![
                Just(Harm::RequestLost), Just(Harm::AnswerLost), Just(Harm::Throttle), Just(Harm::ErrorInstead)
            ],
            1..3_u8
        ).prop_map(|(kind, times)| Step::Harm { kind, times }),
        1 => (1..2000_u16).prop_map(|ms| Step::DescribeLag { ms }),
        1 => Just(Step::Heal),
        6 => (1..700_u16).prop_map(|ms| Step::Wait { ms }),
    ]
}
