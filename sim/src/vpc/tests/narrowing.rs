//! What each kind of fault can be narrowed by; anything else is refused, never ignored.

use super::*;

type Narrow = fn(&mut Fault);

/// Every way to narrow a fault, by name.
fn narrowings() -> [(&'static str, Narrow); 11] {
    [
        ("action", |fault| fault.scope.actions.push(Action::CreateTags)),
        ("caller", |fault| fault.scope.caller = Some("operator".to_owned())),
        ("resource", |fault| fault.scope.resource = Some("r".to_owned())),
        ("instance", |fault| fault.scope.instance = Some(InstanceId::new("i-0aaaaaaaaaaaaaaaa"))),
        ("eni", |fault| fault.scope.eni = Some(EniId::new("eni-0aaaaaaaaaaaaaaaa"))),
        ("subnet", |fault| fault.scope.subnet = Some(SubnetId::new("subnet-0aaaaaaaaaaaaaaaa"))),
        ("zone", |fault| fault.scope.zone = Some("us-west-2a".to_owned())),
        ("skip", |fault| fault.skip = 1),
        ("count", |fault| fault.count = Some(1)),
        ("permille", |fault| fault.permille = 999),
        ("until", |fault| fault.until = Some(Micros(1))),
    ]
}

#[test]
fn a_kind_is_narrowed_by_what_it_is_about() {
    let mut bed = Bed::new();
    let by = Duration::from_secs(1);
    let attachments = ["instance", "eni", "subnet", "zone", "until"];
    let cases: [(FaultKind, &[&str]); 8] = [
        (FaultKind::Throttle, &narrowings().map(|(name, _)| name)),
        (FaultKind::ChangesLag { by }, &narrowings().map(|(name, _)| name)),
        (FaultKind::DescribeLags { by }, &["action", "caller", "instance", "eni", "until"]),
        (FaultKind::LinkNever, &["instance", "eni", "subnet", "zone", "count", "until"]),
        (FaultKind::AttachHangs, &attachments),
        (FaultKind::DetachHangs, &attachments),
        (FaultKind::ImdsLags { by }, &["instance", "until"]),
        (FaultKind::ClockAhead { by }, &["caller", "instance", "until"]),
    ];
    for (kind, allowed) in cases {
        let taken: Vec<&str> = narrowings()
            .into_iter()
            .filter(|(_, narrow)| {
                let mut fault = Fault::new(kind.clone());
                narrow(&mut fault);
                bed.vpc.set_fault(fault).is_ok()
            })
            .map(|(name, _)| name)
            .collect();
        assert_eq!(taken, allowed, "{kind:?}");
    }
}

#[test]
fn no_fault_looks_back_further_than_anything_is_kept() {
    let mut bed = Bed::new();
    let kinds: [fn(Duration) -> FaultKind; 4] = [
        |by| FaultKind::DescribeLags { by },
        |by| FaultKind::ChangesLag { by },
        |by| FaultKind::ImdsLags { by },
        |for_| FaultKind::ImdsRemembers { for_ },
    ];
    for kind in kinds {
        assert!(bed.vpc.set_fault(Fault::new(kind(HORIZON))).is_ok());
        assert!(bed.vpc.set_fault(Fault::new(kind(HORIZON + Duration::from_millis(1)))).is_err());
    }
}

#[test]
fn a_chance_is_at_most_certain() {
    let mut bed = Bed::new();
    assert!(bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(1000)).is_ok());
    assert!(bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(1001)).is_err());
}
