use super::*;
use crate::toy::{Toy, by_address, now_at};
use holdfast_model::block::Ask;
use holdfast_model::denial::Denial;
use holdfast_model::ids::{EniId, SubnetId};

const HOLD: Duration = Duration::from_secs(10);

fn told(report: &Report) -> Shortage {
    report.shortage(HOLD, &now_at(100))
}

/// An address that rests until so many milliseconds from now.
fn resting(millis: u64) -> Report {
    let ready = Some(now_at(100).boottime.after(Duration::from_millis(millis)));
    Report { ready, level: Level { waiting: 1, ..Level::default() }, ..Report::default() }
}

#[test]
fn a_node_that_is_not_known_yet_says_so() {
    let shortage = told(&Report::unknown());
    assert_eq!((shortage.cause, shortage.hold), (Refusal::NotReady, true));
}

/// Seconds are rounded up: whoever asks again then is served.
#[test]
fn while_all_rest_and_nothing_is_under_way_the_rest_is_the_cause() {
    for (millis, seconds) in [(4000, 4), (4001, 5), (4999, 5), (0, 0)] {
        assert_eq!(told(&resting(millis)).cause, Refusal::AllCooling { seconds }, "{millis} ms");
    }
    let cause = told(&Report { under_way: true, ..resting(4000) }).cause;
    assert!(matches!(cause, Refusal::Unreachable { .. }), "what was asked for comes as well: {cause:?}");
}

/// What only somebody else can change is told at once, whatever is under way; a limit is not, while something comes.
#[test]
fn what_no_waiting_mends_is_not_waited_for() {
    let (api, subnet) = (Api::CreateNetworkInterface, SubnetId::new("subnet-1"));
    for (refusal, hold) in [
        (Refusal::Denied { api, denial: Denial::read(api, "", None) }, false),
        (Refusal::SubnetFull { subnet }, false),
        (Refusal::EniQuota, true),
        (Refusal::ConfiguredLimit { setting: "MAX_ENI".into() }, true),
    ] {
        let report = Report { refusal: Some(refusal.clone()), under_way: true, ..Report::default() };
        assert_eq!(told(&report).hold, hold, "{refusal:?}");
        let report = Report { refusal: Some(refusal.clone()), ..Report::default() };
        assert!(!told(&report).hold, "{refusal:?}");
    }
}

/// The call that an ADD waits for is named.
#[test]
fn what_is_under_way_is_said_to_be() {
    let mut toy = Toy::new("m5.large", by_address(0, 1));
    toy.add_pods(1);
    toy.run_to_rest();
    let report = |toy: &Toy| {
        let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
        super::report(PoolKey::DEFAULT, &desired, &toy.ledger, &toy.observed, &toy.now)
    };
    toy.open(CloudChange::Assign { eni: EniId::new("eni-primary"), ask: Ask::addresses(1) });
    let shortage = report(&toy).shortage(HOLD, &toy.now);
    assert!(shortage.hold && !shortage.hindered, "{shortage:?}");
    let Refusal::Unreachable { api, .. } = shortage.cause else { panic!("{shortage:?}") };
    assert_eq!(api, Api::AssignPrivateIpAddresses);

    // A rest that ends as well is not the cause, as long as more comes.
    let mut toy = Toy::new("m5.large", by_address(0, 2));
    toy.add_pods(2);
    toy.run_to_rest();
    toy.delete_pod(0);
    toy.open(CloudChange::Assign { eni: EniId::new("eni-primary"), ask: Ask::addresses(1) });
    let cause = report(&toy).shortage(HOLD, &toy.now).cause;
    assert!(matches!(cause, Refusal::Unreachable { .. }), "{cause:?}");

    let mut toy = Toy::new("m5.large", by_address(0, 9));
    toy.add_pods(9);
    toy.run_to_rest();
    toy.set_waiting(1);
    toy.round();
    let eni = toy.ledger.enis.values().find(|eni| !eni.is_primary()).expect("one is being made").clone();
    assert!(eni.attachment().is_none());
    let before = report(&toy);
    assert!(
        before.coming > 0 && before.shortage(HOLD, &toy.now).hold,
        "on an ENI that is not attached: {before:?}"
    );
    let slot = eni.slot().unwrap();
    let instance = toy.ledger.node.as_ref().unwrap().identity.instance.clone();
    toy.open(CloudChange::AttachEni { eni: eni.id, instance, slot });
    let shortage = report(&toy).shortage(HOLD, &toy.now);
    assert!(
        matches!(shortage.cause, Refusal::Unreachable { api: Api::AttachNetworkInterface, .. }),
        "{shortage:?}"
    );
}
