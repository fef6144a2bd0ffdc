//! What the node tells its cluster: the addresses of its pods, whether more can be given, and what is wrong. Looked at anew
//! each second; what changed is written by the cluster's room.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_cluster::watch::ObjectKey;
use holdfast_cluster::write::{Condition, ConditionStatus, PodId, Regarding, Wanted, Warning, WarningId};
use holdfast_engine::{EngineHandle, Status};
use holdfast_model::refusal::Refusal;
use holdfast_model::sandbox::PodRef;
use holdfast_model::time::{BootTime, Now, WallTime};
use holdfast_ports::Clock;
use tokio::sync::watch;

use crate::clock::KernelClock;
use crate::settings::Read;
use crate::troubles::Troubles;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A node that can give no address for less than this says nothing of it: each pod that comes may take the last one for a moment.
const SHORT_FOR: Duration = Duration::from_secs(10);

/// The condition's type: whether pods can be given addresses.
const CONDITION: &str = "HoldfastAddressesAvailable";

/// As the Amazon VPC CNI tells of it.
const MISSING_RIGHT: &str = "MissingIAMPermissions";

/// An API server keeps events for an hour. What lasts is told again before it is forgotten.
const TOLD_AGAIN: Duration = Duration::from_secs(30 * 60);

/// What is told, as far as it goes by what was before.
#[derive(Default)]
struct Teller {
    /// Since when no address can be given.
    short_since: Option<BootTime>,
    /// The call that is refused for want of a right.
    denied: Option<Warning>,
    condition: Option<Condition>,
}

/// Has what should stand in the cluster written, for as long as the engine lives.
pub(crate) async fn tell(
    engine: EngineHandle,
    troubles: Arc<Troubles>,
    settings: watch::Receiver<Arc<Read>>,
    own_pod: Option<ObjectKey>,
    clock: Arc<KernelClock>,
    wanted: watch::Sender<Wanted>,
) {
    let mut teller = Teller::default();
    loop {
        let annotates = settings.borrow().annotates;
        let pods = if annotates { engine.pods().await.map(Some) } else { Ok(None) };
        let (Ok(pods), Ok(status), Ok(denial)) = (pods, engine.status().await, engine.denial().await) else {
            return;
        };
        let now = clock.now();
        let next = Wanted {
            pod_ips: pods.map(addresses),
            conditions: teller.condition(&status, &now),
            features: Vec::new(),
            warnings: teller.warnings(
                lacking(&status, denial.as_ref()),
                own_pod.as_ref(),
                troubles.warnings(now.wall),
                now.wall,
            ),
        };
        wanted.send_if_modified(|held| {
            let changed = *held != next;
            *held = next;
            changed
        });
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Pods that the runtime named with their id; of others none is known to be the one of that name now.
fn addresses(pods: Vec<(PodRef, IpAddr)>) -> BTreeMap<PodId, IpAddr> {
    let named = |(pod, address): (PodRef, IpAddr)| {
        let key = ObjectKey::new(pod.namespace, pod.name);
        Some((PodId { key, runtime_uid: pod.uid? }, address))
    };
    pods.into_iter().filter_map(named).collect()
}

/// The right that lacks: the one that pods wait for, before one that nobody waits for yet.
fn lacking<'a>(status: &'a Status, denial: Option<&'a Refusal>) -> Option<&'a Refusal> {
    match status {
        Status::Short(cause @ Refusal::Denied { .. }) => Some(cause),
        _ => denial,
    }
}

impl Teller {
    /// True with words that never change, so that it is written once; false with the cause, when that has lasted.
    fn condition(&mut self, status: &Status, now: &Now) -> BTreeMap<String, Option<Condition>> {
        let cause = match status {
            Status::Ready | Status::Impaired(_) => None,
            // It passes in a moment, whichever way it was before.
            Status::Growing | Status::Short(Refusal::AllCooling { .. }) => return self.told(),
            Status::Short(cause) | Status::Refusing(cause) => Some(cause),
        };
        let Some(cause) = cause else {
            self.short_since = None;
            self.condition = Some(Condition {
                status: ConditionStatus::True,
                reason: "AddressesAvailable".to_owned(),
                message: "pods can be given addresses".to_owned(),
            });
            return self.told();
        };
        let since = *self.short_since.get_or_insert(now.boottime);
        if now.boottime.since(since) >= SHORT_FOR {
            self.condition = Some(Condition {
                status: ConditionStatus::False,
                reason: cause.reason().to_owned(),
                message: cause.to_string(),
            });
        }
        self.told()
    }

    fn told(&self) -> BTreeMap<String, Option<Condition>> {
        let known = self.condition.clone().map(|condition| (CONDITION.to_owned(), Some(condition)));
        known.into_iter().collect()
    }

    /// Those of pods, and that a right is missing: on the node, and on the daemon's own pod, where the Amazon VPC CNI tells of it.
    fn warnings(
        &mut self,
        lacks: Option<&Refusal>,
        own_pod: Option<&ObjectKey>,
        mut of_pods: BTreeMap<WarningId, Warning>,
        now: WallTime,
    ) -> BTreeMap<WarningId, Warning> {
        let Some(cause @ Refusal::Denied { denial, .. }) = lacks else {
            self.denied = None;
            return of_pods;
        };
        let action = denial.action.clone();
        let before =
            self.denied.take().filter(|known| known.action == action && known.message == cause.to_string());
        let mut warning = before.unwrap_or_else(|| Warning {
            action,
            message: cause.to_string(),
            count: 1,
            first: now,
            last: now,
        });
        if u128::from(now.0.saturating_sub(warning.last.0)) >= TOLD_AGAIN.as_millis() {
            (warning.count, warning.last) = (warning.count.saturating_add(1), now);
        }
        self.denied = Some(warning.clone());
        let own = own_pod.map(|key| Regarding::Pod { key: key.clone(), uid: None });
        for regarding in own.into_iter().chain([Regarding::Node]) {
            of_pods.insert(WarningId { regarding, reason: MISSING_RIGHT.to_owned() }, warning.clone());
        }
        of_pods
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::cloud::Api;
    use holdfast_model::denial::Denial;
    use holdfast_model::ids::BootId;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { boot: BootId::new("b"), boottime: BootTime(seconds * 1000), wall: WallTime(seconds * 1000) }
    }

    fn stands(teller: &mut Teller, status: &Status, seconds: u64) -> Option<(ConditionStatus, String)> {
        let conditions = teller.condition(status, &at(seconds));
        let condition = conditions.get(CONDITION)?.clone()?;
        Some((condition.status, condition.reason))
    }

    #[test]
    fn a_want_that_lasts_is_a_condition_and_passes_at_once() {
        let mut teller = Teller::default();
        let full = Status::Short(Refusal::InstanceFull {
            addresses: 9,
            instance_type: "t3.small".into(),
            set_aside: 0,
        });
        let well = Some((ConditionStatus::True, "AddressesAvailable".to_owned()));
        let short = Some((ConditionStatus::False, "InstanceFull".to_owned()));
        assert_eq!(stands(&mut teller, &Status::Growing, 0), None, "nobody knows yet");
        assert_eq!(stands(&mut teller, &Status::Ready, 1), well);
        assert_eq!(stands(&mut teller, &full, 2), well, "for a moment");
        assert_eq!(stands(&mut teller, &full, 11), well);
        assert_eq!(stands(&mut teller, &full, 12), short);
        assert_eq!(stands(&mut teller, &Status::Growing, 13), short, "till an address is there");
        let cooling = Status::Short(Refusal::AllCooling { seconds: 9 });
        assert_eq!(stands(&mut teller, &cooling, 14), short);
        assert_eq!(stands(&mut teller, &Status::Ready, 15), well);
        assert_eq!(stands(&mut teller, &full, 16), well, "it begins anew");
    }

    #[test]
    fn a_missing_right_is_told_on_the_node_and_on_the_own_pod_while_it_lasts() {
        let mut teller = Teller::default();
        let denied = |api| Status::Short(Refusal::Denied { api, denial: Denial::read(api, "", None) });
        let own = ObjectKey::new("kube-system", "aws-node-x");
        let mut told = |status: &Status, seconds| {
            teller.warnings(lacking(status, None), Some(&own), BTreeMap::new(), WallTime(seconds))
        };
        let first = told(&denied(Api::AttachNetworkInterface), 1);
        assert_eq!(first.len(), 2);
        for (id, warning) in &first {
            assert_eq!(id.reason, "MissingIAMPermissions");
            assert_eq!((warning.action.as_str(), warning.count), ("ec2:AttachNetworkInterface", 1));
            assert!(warning.message.contains("ec2:AttachNetworkInterface"), "{warning:?}");
        }
        assert_eq!(told(&denied(Api::AttachNetworkInterface), 2), first, "nothing new is nothing to write");
        let other = told(&denied(Api::CreateNetworkInterface), 3);
        assert!(other.values().all(|warning| warning.action == "ec2:CreateNetworkInterface"));
        assert!(told(&Status::Ready, 4).is_empty());
        // One that no pod waits for.
        let api = Api::DetachNetworkInterface;
        let idle = Refusal::Denied { api, denial: Denial::read(api, "", Some("eni-1".to_owned())) };
        let full = Status::Short(Refusal::EniQuota);
        let of_idle = teller.warnings(lacking(&full, Some(&idle)), None, BTreeMap::new(), WallTime(5));
        assert!(
            of_idle.values().all(|warning| warning.message.contains("ec2:DetachNetworkInterface on eni-1"))
        );
        assert_eq!(of_idle.len(), 1);
    }

    #[test]
    fn a_right_that_is_missing_for_long_is_told_before_it_is_forgotten() {
        let mut teller = Teller::default();
        let api = Api::AttachNetworkInterface;
        let denied = Status::Short(Refusal::Denied { api, denial: Denial::read(api, "", None) });
        let mut told = |minutes: u64| {
            let told =
                teller.warnings(lacking(&denied, None), None, BTreeMap::new(), WallTime(minutes * 60_000));
            let warning = told.into_values().next().unwrap();
            (warning.count, warning.first.0 / 60_000, warning.last.0 / 60_000)
        };
        assert_eq!((told(5), told(34)), ((1, 5, 5), (1, 5, 5)));
        assert_eq!((told(35), told(64)), ((2, 5, 35), (2, 5, 35)));
        assert_eq!(told(3), (2, 5, 35), "by a clock that was set back");
        assert_eq!(told(200), (3, 5, 200));
    }

    #[test]
    fn a_pod_without_an_id_is_not_annotated() {
        let pod = |name: &str, uid: Option<&str>| PodRef {
            namespace: "n".into(),
            name: name.into(),
            uid: uid.map(str::to_owned),
        };
        let address: IpAddr = "10.0.0.9".parse().unwrap();
        let known = addresses(vec![(pod("a", Some("1")), address), (pod("b", None), address)]);
        assert_eq!(known.keys().map(|pod| pod.key.name.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
