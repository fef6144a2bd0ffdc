use holdfast_model::cloud::Api;
use holdfast_model::ids::{BootId, EniId};

use super::*;
use crate::toy::{Fate, Toy, by_address, by_eni};
use crate::{Fault, PauseScope};

#[test]
fn of_a_ledger_of_another_boot_nothing_is_planned_and_that_is_said() {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.now.boot = BootId::new("another");
    let made = toy.planned();
    assert_eq!((&made.steps[..], made.refusal(), made.next_look), (&[][..], Some(&Refusal::NotReady), None));
}

/// An intent whose call never left: what made the call rest counts for its repetition too.
#[test]
fn what_is_repeated_rests_as_what_is_new() {
    let repeated = |toy: &Toy| toy.planned().steps.iter().any(|step| matches!(step, Step::Repeat(_)));
    for (fault, scope) in [(Fault::SubnetFull, PauseScope::Api), (Fault::Denied, PauseScope::Api)] {
        let mut toy = Toy::new("m5.large", by_address(0, 9));
        toy.add_pods(9);
        toy.run_to_rest();
        toy.fates = Box::new(|| Fate::NotSent);
        toy.set_waiting(1);
        toy.round();
        assert!(toy.ledger.intents.values().any(|intent| intent.change.api() == Api::CreateNetworkInterface));
        toy.sleep(std::time::Duration::from_secs(60));
        assert!(repeated(&toy));
        toy.set_back(Api::CreateNetworkInterface, scope, Some(fault));
        assert!(!repeated(&toy), "{fault:?}");
    }
    let mut toy = Toy::new("m5.large", by_address(0, 1));
    toy.run_to_rest();
    toy.fates = Box::new(|| Fate::NotSent);
    toy.set_waiting(2);
    toy.round();
    toy.sleep(std::time::Duration::from_secs(60));
    assert!(repeated(&toy));
    toy.observed.reads.want(crate::wanted::Reason::Contradicted(EniId::new("eni-primary")), toy.now.boottime);
    assert!(!repeated(&toy), "what is known of the ENI is in doubt");
}
