//! What cannot be done or can never hit, as far as a fault tells by itself. What the box must know for it is in
//! `vpc/can_hit.rs`.

use std::time::Duration;

use super::{BadFault, Fault, FaultKind, Reach, always};
use crate::vpc::{Action, HORIZON};

impl Fault {
    /// Refuses what this kind of fault cannot do.
    pub(crate) fn check(&self) -> Result<(), BadFault> {
        self.check_ids()?;
        self.check_narrowing()?;
        self.kind.check()?;
        self.check_actions()
    }

    fn check_ids(&self) -> Result<(), BadFault> {
        let (scope, kind) = (&self.scope, &self.kind);
        let enis = [scope.eni.as_ref(), kind.eni()];
        let instances = [scope.instance.as_ref(), kind.instance()];
        let malformed = |id: &str, like: &str| Err(BadFault(format!("{id:?} is no id like {like}")));
        if let Some(eni) = enis.into_iter().flatten().find(|eni| !eni.is_well_formed()) {
            return malformed(eni.as_str(), "eni-0123456789abcdef0");
        }
        if let Some(instance) = instances.into_iter().flatten().find(|id| !id.is_well_formed()) {
            return malformed(instance.as_str(), "i-0123456789abcdef0");
        }
        match &scope.subnet {
            Some(subnet) if !subnet.is_well_formed() => {
                malformed(subnet.as_str(), "subnet-0123456789abcdef0")
            }
            _ => Ok(()),
        }
    }

    fn check_narrowing(&self) -> Result<(), BadFault> {
        let no = |text: &str| Err(BadFault(text.to_owned()));
        let scope = &self.scope;
        let counted = self.skip > 0 || self.count.is_some() || self.permille != always();
        let of_calls = !scope.actions.is_empty() || scope.caller.is_some() || scope.resource.is_some();
        let of_places = scope.eni.is_some() || scope.subnet.is_some() || scope.zone.is_some();
        if self.permille == 0 || self.permille > always() {
            return no("a chance is 1 to 1000 thousandths");
        }
        if self.count == Some(0) {
            return no("a count of 0 never hits");
        }
        match self.kind.reach() {
            Reach::Describe if counted => no("it hits whole periods, not single calls"),
            Reach::Describe if scope.subnet.is_some() || scope.zone.is_some() || scope.resource.is_some() => {
                no("it can be narrowed to an action, a caller, an instance or an ENI")
            }
            Reach::Attachment if of_calls || self.skip > 0 || self.permille != always() => {
                no("it hits attachments, not calls: narrow it by instance, ENI, subnet or zone")
            }
            Reach::Attachment
                if self.count.is_some()
                    && matches!(self.kind, FaultKind::AttachHangs | FaultKind::DetachHangs) =>
            {
                no("it hits for as long as it is set, and cannot be counted down")
            }
            Reach::Imds if of_calls || of_places || counted => no(
                "the metadata service is of one instance, and each look at it is hit: narrow it by instance only",
            ),
            Reach::Instance if scope.instance.is_none() => no("it is of one instance: say of which"),
            Reach::Instance if of_calls || of_places || counted || self.until.is_some() => {
                no("it happens once, when its time has come: narrow it by instance only")
            }
            Reach::Clock if of_places || counted || !scope.actions.is_empty() || scope.resource.is_some() => {
                no("EC2 has one clock: narrow it by instance or caller only")
            }
            Reach::Call
            | Reach::Describe
            | Reach::Attachment
            | Reach::Imds
            | Reach::Instance
            | Reach::Clock => Ok(()),
        }
    }

    /// Refuses actions that the kind or the places have nothing to do with.
    fn check_actions(&self) -> Result<(), BadFault> {
        let scope = &self.scope;
        let places = scope.subnet.is_some() || scope.zone.is_some();
        let demands = [
            self.kind.demand(),
            scope.eni.map(|_| Demand("names an ENI", names_eni)),
            places.then_some(Demand("names a subnet or an ENI", names_subnet)),
        ];
        let demands: Vec<Demand> = demands.into_iter().flatten().collect();
        let good = |action: Action| demands.iter().all(|Demand(_, meets)| meets(action));
        for action in &scope.actions {
            let Some(Demand(what, _)) = demands.iter().find(|Demand(_, meets)| !meets(*action)) else {
                continue;
            };
            let others: Vec<&str> =
                Action::ALL.iter().filter(|action| good(**action)).map(|action| action.name()).collect();
            return Err(BadFault(format!(
                "{action} is never hit, since it is no call that {what}; those are {}",
                others.join(", ")
            )));
        }
        Ok(())
    }
}

/// What an action must do to be hit, and which actions do.
struct Demand(&'static str, fn(Action) -> bool);

impl FaultKind {
    fn demand(&self) -> Option<Demand> {
        match self {
            Self::FewerAddresses { .. } => Some(Demand("assigns addresses", assigns)),
            Self::DescribeOmitsEni { .. } | Self::DescribeOmitsAddress { .. } => {
                Some(Demand("shows ENIs", shows_enis))
            }
            Self::DescribeLags { .. } => Some(Demand("shows what may change", shows_changes)),
            Self::ChangesLag { .. } => Some(Demand("changes an ENI that it names", changes_eni)),
            Self::ShortPages { .. } => Some(Demand("has pages", Action::is_read)),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), BadFault> {
        let no = |text: String| Err(BadFault(text));
        if self.looks_back() > HORIZON {
            return no(format!("nothing older than {HORIZON:?} is kept"));
        }
        if let Some((key, Duration::ZERO)) = self.time() {
            return no(format!("{key} = 0 changes nothing: say how many milliseconds, 1 or more"));
        }
        match self {
            Self::ShortPages { most: 0 } => no("a page has one result at least".to_owned()),
            // Below 200 an HTTP status is no answer yet.
            Self::ImdsStatus { status, .. } | Self::AnswerReplaced { status, .. }
                if !(200..=599).contains(status) =>
            {
                no(format!("{status} is no HTTP status that ends a request: say 200 to 599"))
            }
            Self::ErrorInstead { code, .. } | Self::ErrorAfterEffect { code, .. }
                if code.as_str().trim().is_empty() =>
            {
                no("an error has a code, such as InternalError".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn assigns(action: Action) -> bool {
    matches!(action, Action::AssignPrivateIpAddresses | Action::AssignIpv6Addresses)
}

fn shows_enis(action: Action) -> bool {
    matches!(action, Action::DescribeNetworkInterfaces | Action::DescribeInstances)
}

fn shows_changes(action: Action) -> bool {
    action.is_read() && action != Action::DescribeInstanceTypes
}

fn changes_eni(action: Action) -> bool {
    !action.is_read() && names_eni(action)
}

/// Whether a call can name an ENI or its attachment: by a parameter, or by a filter that EC2 has for it.
fn names_eni(action: Action) -> bool {
    match action {
        Action::DescribeNetworkInterfaces
        | Action::DescribeInstances
        | Action::DescribeTags
        | Action::AttachNetworkInterface
        | Action::DetachNetworkInterface
        | Action::DeleteNetworkInterface
        | Action::ModifyNetworkInterfaceAttribute
        | Action::AssignPrivateIpAddresses
        | Action::UnassignPrivateIpAddresses
        | Action::AssignIpv6Addresses
        | Action::UnassignIpv6Addresses
        | Action::CreateTags
        | Action::DeleteTags => true,
        Action::CreateNetworkInterface
        | Action::DescribeInstanceStatus
        | Action::DescribeSubnets
        | Action::DescribeSecurityGroups
        | Action::DescribeVpcs
        | Action::DescribeInstanceTypes => false,
    }
}

fn names_subnet(action: Action) -> bool {
    names_eni(action) || matches!(action, Action::CreateNetworkInterface | Action::DescribeSubnets)
}
