//! What each kind of fault can be narrowed by; anything else is refused, never ignored.

use super::*;

type Narrow = Box<dyn Fn(&mut Fault)>;

/// Every way to narrow a fault, by name.
fn narrowings(bed: &Bed) -> [(&'static str, Narrow); 11] {
    let (node, subnet) = (bed.node, bed.subnet);
    [
        ("action", Box::new(|fault| fault.scope.actions.push(action_for(&fault.kind)))),
        ("caller", Box::new(|fault| fault.scope.caller = Some("operator".to_owned()))),
        ("resource", Box::new(|fault| fault.scope.resource = Some("r".to_owned()))),
        ("instance", Box::new(move |fault| fault.scope.instance = Some(node))),
        ("eni", Box::new(|fault| fault.scope.eni = Some(EniId::new("eni-0aaaaaaaaaaaaaaaa")))),
        ("subnet", Box::new(move |fault| fault.scope.subnet = Some(subnet))),
        ("zone", Box::new(|fault| fault.scope.zone = Some("us-west-2a".to_owned()))),
        ("skip", Box::new(|fault| fault.skip = 1)),
        ("count", Box::new(|fault| fault.count = Some(1))),
        ("permille", Box::new(|fault| fault.permille = 999)),
        ("until", Box::new(|fault| fault.until = Some(Micros(1)))),
    ]
}

/// An action that this kind can hit, where it is about calls.
fn action_for(kind: &FaultKind) -> Action {
    match kind {
        FaultKind::DescribeLags { .. } => Action::DescribeTags,
        _ => Action::CreateTags,
    }
}

#[test]
fn a_kind_is_narrowed_by_what_it_is_about() {
    let mut bed = Bed::new();
    let by = Duration::from_secs(1);
    let attachments = ["instance", "eni", "subnet", "zone", "until"];
    let cases: [(FaultKind, &[&str]); 8] = [
        (FaultKind::Throttle, &narrowings(&bed).map(|(name, _)| name)),
        (FaultKind::ChangesLag { by }, &narrowings(&bed).map(|(name, _)| name)),
        (FaultKind::DescribeLags { by }, &["action", "caller", "instance", "eni", "until"]),
        (FaultKind::LinkNever, &["instance", "eni", "subnet", "zone", "count", "until"]),
        (FaultKind::AttachHangs, &attachments),
        (FaultKind::DetachHangs, &attachments),
        (FaultKind::ImdsLags { by }, &["instance", "until"]),
        (FaultKind::ClockAhead { by }, &["caller", "instance", "until"]),
    ];
    for (kind, allowed) in cases {
        let taken: Vec<&str> = narrowings(&bed)
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
        bed.vpc.clear_faults();
        assert!(bed.vpc.set_fault(Fault::new(kind(HORIZON))).is_ok());
        bed.vpc.clear_faults();
        assert!(bed.vpc.set_fault(Fault::new(kind(HORIZON + Duration::from_millis(1)))).is_err());
    }
}

#[test]
fn a_chance_is_at_most_certain_and_more_than_none() {
    let mut bed = Bed::new();
    assert!(bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(1000)).is_ok());
    assert!(bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(1001)).is_err());
    assert!(bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(1)).is_ok());
    assert!(bed.vpc.set_fault(Fault::new(FaultKind::Throttle).with_permille(0)).is_err());
}
