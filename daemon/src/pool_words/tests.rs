//! What is said, word by word.

use std::collections::BTreeMap;

use holdfast_engine::{Level, SubnetRoom};
use holdfast_model::ids::SubnetId;
use holdfast_model::pool::PoolKey;
use holdfast_model::warm::{Quantile, WarmMode};

use super::*;

fn told() -> PoolTold {
    let explained = Explained {
        unit: Unit::Address,
        level: Level { leased: 30, free: 9, cooling: 3, ..Level::default() },
        coming: 2,
        least: 6,
        filled: 7,
        most: Some(12),
        minimum: 0,
        source: Source::Learned,
        learned: 6,
        remembered: 812,
        largest: 8,
        recess: 5,
        lead: Duration::from_secs(10),
        lead_seen: Some(Duration::from_millis(4250)),
        yields_to: None,
        subnets: vec![
            SubnetRoom {
                subnet: SubnetId::new("subnet-a"),
                shown: Some(RoomShown { free: 4007, kept: 256, ago: Duration::from_secs(61) }),
            },
            SubnetRoom { subnet: SubnetId::new("subnet-b"), shown: None },
        ],
    };
    PoolTold {
        mode: WarmMode::Adaptive,
        quantile: Quantile::default(),
        refusal: None,
        pools: BTreeMap::from([(PoolKey::DEFAULT, explained)]),
    }
}

#[test]
fn a_pool_explains_itself() {
    let mut told = told();
    let expected = "\
IPv4 on card 0: single addresses, adaptive
  held        42: 30 leased, 9 free (2 of them on their way), 3 resting; 0 ADDs wait
  to be free  6 at least, filled up to 7, given back down to 12
  whose word  what this node has learned
  learned     99.9 % of ADDs are to find one; of 812 ADDs remembered the largest demand within 10 s was 8: 6 free; EC2 is reckoned to bring more within that (it took 4.2 s at the most lately); 5 more were in use lately
  subnet      subnet-a: 4007 free addresses 61 s ago, low below 256; at most 250 /28s, how the addresses lie is not told
  subnet      subnet-b: EC2 was not asked, or does not show it
";
    assert_eq!(Pools::of(&told).text(), expected);
    let explained = told.pools.values_mut().next().unwrap();
    (explained.most, explained.minimum, explained.yields_to) = (None, 20, Some(3));
    explained.source = Source::SetWhileLearning(Some(Duration::from_secs(61)));
    told.refusal = Some("no right".to_owned());
    let text = Pools::of(&told).text();
    for said in [
        "given back by whole ENIs; 20 in all at least",
        "set, for 2 more minutes of learning",
        "yielding    a subnet runs low: 3 free at the most",
        "missing     what is missing does not come: no right",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// The asker is this very program, or an older or newer one for people: what it reads is what was said.
#[test]
fn what_goes_over_the_socket_says_the_same() {
    let said = Pools::of(&told());
    let json = serde_json::to_value(&said).unwrap();
    assert_eq!(json["pools"][0]["targets"]["free_at_least"], 6);
    assert_eq!(json["pools"][0]["subnets"][0]["prefixes_at_most"], 250);
    let read: Pools = serde_json::from_value(json).unwrap();
    assert_eq!(read.text(), said.text());
}
