use std::time::Duration;

use holdfast_model::cloud::{Api, EniView};
use holdfast_model::ids::{EniId, InstanceId, SecurityGroupId};
use holdfast_model::ledger::Change;
use holdfast_model::refusal::Refusal;

use super::*;
use crate::adopt;
use crate::reading::Reading;
use crate::toy::{Toy, by_eni, writes};

/// A node whose ENIs others have made, with pods on them.
fn without_ec2() -> Toy {
    let mut toy = Toy::new("m5.large", by_eni(1));
    toy.add_pods(12);
    toy.run_to_rest();
    toy.config.metadata_only.value = true;
    toy.restart();
    toy.cloud.calls.clear();
    toy
}

/// Whatever happens, the plan holds no call of EC2's but the one read that the metadata service is asked.
#[test]
fn nothing_is_asked_of_ec2() {
    let mut toy = without_ec2();
    for round in 0..200_usize {
        let made = toy.planned();
        let asks = |step: &Step| step.api(&toy.ledger).is_some();
        let asked: Vec<&Step> = made.steps.iter().filter(|step| asks(step)).collect();
        let full = |step: &Step| matches!(step, Step::Read(CloudRead::InstanceEnis { .. }));
        assert!(asked.len() <= 1 && asked.iter().all(|step| full(step)), "{asked:?}");
        toy.round();
        match round % 20 {
            5 => toy.add_pods(4),
            10 => toy.delete_pod(round),
            15 => {
                toy.cloud.groups = [SecurityGroupId::new(format!("sg-{round}"))].into();
            }
            _ => {}
        }
        toy.sleep(Duration::from_secs(40));
    }
    assert!(
        toy.cloud.calls.iter().all(|api| *api == Api::DescribeNetworkInterfaces),
        "{:?}",
        toy.cloud.calls
    );
    assert!(toy.cloud.calls.len() <= 20, "in two hours: {}", toy.cloud.calls.len());
    toy.add_pods(40);
    toy.run_to_rest();
    assert_eq!(toy.choose().unwrap_err().cause, Refusal::MetadataOnly);
}

/// The service leaves attached ENIs out for minutes.
#[test]
fn an_eni_that_is_left_out_is_there_as_long_as_its_link_is() {
    let mut toy = without_ec2();
    toy.run_to_rest();
    toy.sleep(Duration::from_secs(3600));
    toy.look();
    let partial = |toy: &mut Toy| -> Vec<EniView> {
        let read = CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
        toy.cloud.read(&read, 0).into_iter().filter(|view| view.id != EniId::new("eni-0001")).collect()
    };
    let views = partial(&mut toy);
    let read = CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
    let reading = Reading { read: &read, views: &views, began: toy.now.boottime };
    let adopted =
        |toy: &Toy| toy.with_desired(|desired| adopt(desired, &toy.ledger, &toy.observed, reading, &toy.now));
    assert_eq!(writes(&adopted(&toy)), Vec::<&Change>::new());
    toy.config.metadata_only.value = false;
    assert!(!writes(&adopted(&toy)).is_empty(), "of EC2 it is believed");
}
