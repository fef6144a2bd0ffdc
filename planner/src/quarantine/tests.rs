use holdfast_model::cloud::CloudRead;
use holdfast_model::host::{HostObserved, LinkAlias, LinkSeen};
use holdfast_model::ids::{EniId, InstanceId};
use holdfast_model::ledger::Standing;
use holdfast_model::sandbox::{SandboxKey, SandboxNames};
use holdfast_model::time::BootTime;

use super::*;
use crate::toy::{Toy, by_eni, now_at};
use crate::{Reading, adopt};

fn addresses(toy: &Toy) -> Vec<IpAddr> {
    toy.ledger.blocks.keys().map(ipnet::IpNet::addr).collect()
}

/// A link of ours that no lease explains, and the address that leads to it.
fn leading_to(address: IpAddr) -> Traces {
    let sandbox = SandboxKey::from(SandboxNames {
        container_id: "c".into(),
        ifname: "eth0".into(),
        network: "aws-cni".into(),
    });
    let link = LinkSeen {
        index: 7,
        name: "eni0".into(),
        mac: None,
        mtu: 9001,
        up: true,
        alias: Some(LinkAlias::of(&sandbox)),
        ..LinkSeen::default()
    };
    let links = link.alias.iter().cloned().collect();
    Traces { looked: true, in_use: BTreeMap::from([(address, link)]), links }
}

/// An address that an older ledger has for free while a pod has it.
#[test]
fn a_free_address_that_leads_to_a_sandbox_is_leased_to_nobody_else() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.run_to_rest();
    let (free, other) = {
        let mut free = addresses(&toy).into_iter().filter(|ip| toy.ledger.is_free(*ip, &toy.now));
        (free.next().unwrap(), free.next().unwrap())
    };
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    toy.commit(&review_quarantine(&desired, &toy.ledger, &leading_to(free), &toy.now));
    assert_eq!(toy.ledger.standing(free), Standing::Suspect(Suspicion::MaybeInUse));
    assert_eq!(toy.ledger.standing(other), Standing::Free);
}

/// A ledger that was lost, beside an EC2 that was not.
fn rebuilt(traces: &Traces) -> Toy {
    let mut lived = Toy::new("t3.small", by_eni(1));
    lived.add_pods(2);
    lived.run_to_rest();
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.cloud = lived.cloud;
    toy.observed.traces = traces.clone();
    let read = CloudRead::InstanceEnis { instance: InstanceId::new("i-1") };
    let views = toy.cloud.read(&read, 0);
    let reading = Reading { read: &read, views: &views, began: toy.now.boottime };
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    let changes = adopt(&desired, &toy.ledger, &toy.observed, reading, &toy.now);
    toy.commit(&changes);
    toy
}

#[test]
fn after_the_loss_of_the_ledger_nothing_is_leased_that_is_not_proven_idle() {
    let suspect = Traces::default();
    let mut toy = rebuilt(&suspect);
    assert!(!toy.ledger.blocks.is_empty());
    let lost = Standing::Suspect(Suspicion::LedgerRebuilt);
    assert!(addresses(&toy).into_iter().all(|ip| toy.ledger.standing(ip) == lost));
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    assert_eq!(review_quarantine(&desired, &toy.ledger, &suspect, &toy.now), [], "not looked at yet");

    let used = addresses(&toy)[0];
    let seen = leading_to(used);
    toy.commit(&review_quarantine(&desired, &toy.ledger, &seen, &toy.now));
    for ip in addresses(&toy) {
        if ip == used {
            assert_eq!(toy.ledger.standing(ip), Standing::Suspect(Suspicion::MaybeInUse));
        } else {
            assert_eq!(toy.ledger.standing(ip), Standing::Cooling(&rest(&desired, &toy.now)), "in full");
        }
    }
    assert_eq!(review_quarantine(&desired, &toy.ledger, &seen, &toy.now), [], "twice is once");
    let idle = Traces { looked: true, ..Traces::default() };
    toy.commit(&review_quarantine(&desired, &toy.ledger, &idle, &toy.now));
    assert!(matches!(toy.ledger.standing(used), Standing::Cooling(_)));
}

#[test]
fn an_address_with_unexplained_traces_is_set_aside_when_it_is_found() {
    let known = rebuilt(&Traces { looked: true, ..Traces::default() });
    let full = rest(&Desired { config: &known.config, limits: known.limits.clone() }, &known.now);
    for ip in addresses(&known) {
        assert_eq!(known.ledger.standing(ip), Standing::Cooling(&full), "a pod may have been there");
    }
    let traced = addresses(&known)[0];
    let toy = rebuilt(&leading_to(traced));
    for ip in addresses(&toy) {
        let suspect = toy.ledger.standing(ip) == Standing::Suspect(Suspicion::MaybeInUse);
        assert_eq!(suspect, ip == traced, "{ip}");
    }
}

/// EC2 took the address away while it was suspect: when nobody uses it any more, nothing is ours of it but its rest.
#[test]
fn a_suspect_that_ec2_took_away_leaves_the_pool() {
    let mut toy = rebuilt(&Traces { looked: true, ..Traces::default() });
    let ip = addresses(&toy)[0];
    let block = Block { state: BlockState::Withdrawn, ..toy.ledger.block_of(ip).unwrap().clone() };
    toy.commit(&[Change::PutBlock(block), Change::PutUse(ip, Use::Suspect(Suspicion::MaybeInUse))]);
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    let idle = Traces { looked: true, ..Traces::default() };
    toy.commit(&review_quarantine(&desired, &toy.ledger, &idle, &toy.now));
    assert_eq!(toy.ledger.block_of(ip).unwrap().state, BlockState::Gone(toy.now.boottime));
    assert!(matches!(toy.ledger.standing(ip), Standing::Cooling(_)));
}

/// Put onto the node by hand or by a script: free in the ledger, and in use.
#[test]
fn an_address_that_the_host_bears_is_set_aside_as_long_as_it_does() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.run_to_rest();
    let config = toy.config.clone();
    let desired = Desired { config: &config, limits: toy.limits.clone() };
    let ip = addresses(&toy)[0];
    let IpAddr::V4(address) = ip else { panic!("IPv4") };
    let link = LinkSeen { name: "ens5".into(), addresses: vec![address.into()], ..LinkSeen::default() };
    let observed = HostObserved { links: vec![link], ..HostObserved::default() };
    let looked = Traces { looked: true, ..Traces::default() };
    assert_eq!(toy.ledger.standing(ip), Standing::Free);
    let borne = looked.clone().and_of_the_host(&observed);
    assert!(borne.is_empty(), "that is no sign of a lost sandbox");
    toy.commit(&review_quarantine(&desired, &toy.ledger, &borne, &toy.now));
    assert_eq!(toy.ledger.standing(ip), Standing::Suspect(Suspicion::MaybeInUse));
    toy.commit(&review_quarantine(&desired, &toy.ledger, &looked, &toy.now));
    assert!(matches!(toy.ledger.standing(ip), Standing::Cooling(_)), "it rests before it is given to a pod");
}

/// What EC2 took away is kept for its users, and leaves with the last of them.
#[test]
fn a_block_that_was_taken_away_leaves_with_its_last_user() {
    let [own, more, others]: [IpAddr; 3] =
        ["10.0.1.17", "10.0.1.18", "10.0.1.19"].map(|ip| ip.parse().unwrap());
    let lease = |container: &str| {
        Use::Leased(SandboxKey::from(SandboxNames {
            container_id: container.into(),
            ifname: "eth0".into(),
            network: "n".into(),
        }))
    };
    let taken = Block {
        state: BlockState::Withdrawn,
        ..Block::held("10.0.1.16/28".parse().unwrap(), EniId::new("eni-1"), BootTime(1))
    };
    let mut ledger = Ledger::default();
    ledger.apply(&Change::PutBlock(taken.clone()));
    for ip in [own, more] {
        ledger.apply(&Change::PutUse(ip, lease("a")));
    }
    let now = now_at(100);
    let gone = Change::PutBlock(Block { state: BlockState::Gone(now.boottime), ..taken });
    let both = |suspect: Option<IpAddr>| {
        move |ip: IpAddr| (suspect == Some(ip)).then_some(Use::Suspect(Suspicion::MaybeInUse))
    };
    let leaves = |ledger: &Ledger, addresses: &[IpAddr], suspect| {
        ended(ledger, addresses, both(suspect), &now).iter().filter(|change| **change == gone).count()
    };
    assert_eq!(leaves(&ledger, &[own, more], None), 1, "once, for both");
    assert_eq!(leaves(&ledger, &[own], None), 0, "the other one is used still");
    assert_eq!(leaves(&ledger, &[own, more], Some(own)), 0, "somebody may use it");
    let elsewhere = "10.0.2.17".parse().unwrap();
    assert_eq!(leaves(&ledger, &[own, more, elsewhere], Some(elsewhere)), 1, "no address of this block");
    ledger.apply(&Change::PutUse(others, lease("b")));
    assert_eq!(leaves(&ledger, &[own, more], None), 0, "another sandbox uses a third");
    ledger.apply(&Change::PutUse(
        others,
        Use::Cooling(Cooldown { boot: now.boot.clone(), since: now.boottime, period_ms: 9 }),
    ));
    assert_eq!(leaves(&ledger, &[own, more], None), 1, "a rest keeps nothing");
}

/// What is leased has its explanation, and what is not ours is nobody's to give.
#[test]
fn only_what_could_be_leased_is_set_aside() {
    let mut toy = Toy::new("t3.small", by_eni(1));
    toy.add_pods(1);
    toy.run_to_rest();
    let leased = toy.ledger.leases.values().next().unwrap().faces[0].address;
    let desired = Desired { config: &toy.config, limits: toy.limits.clone() };
    for ip in [leased, "10.0.99.9".parse().unwrap()] {
        assert_eq!(review_quarantine(&desired, &toy.ledger, &leading_to(ip), &toy.now), [], "{ip}");
    }
}
