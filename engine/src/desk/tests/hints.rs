//! What the metadata service is asked, and what its hints lead to.

use super::*;

fn shown() -> MetadataHint {
    let view = primary();
    let addresses = view.secondary.into_iter().chain(view.primary_ipv4.map(Into::into));
    MetadataHint {
        enis: [(PRIMARY, addresses.collect())].into(),
        security_groups: [(PRIMARY, view.security_groups)].into(),
        ..MetadataHint::default()
    }
}

/// What the ledger knows need not be told; the VPC's ranges are asked for now and then.
#[tokio::test(start_paused = true)]
async fn a_hint_is_asked_for_what_is_not_known() {
    let desk = Desk::serving(Config::default()).await;
    desk.hints(shown());
    desk.hints_asked();
    pass(82 * 8).await;
    let asked = desk.hints_asked();
    assert!((7..=9).contains(&asked.len()), "{asked:?}");
    assert!(
        asked.iter().all(|asked| asked.primary == Some(PRIMARY) && asked.ranges_known == [PRIMARY].into())
    );
    assert_eq!(asked.iter().filter(|asked| !asked.vpc_known).count(), 2, "{asked:?}");
}

/// A difference leads to a read of EC2, agreement to none; and the VPC's ranges are taken over.
#[tokio::test(start_paused = true)]
async fn a_hint_that_differs_leads_to_a_read() {
    let desk = Desk::serving(Config::default()).await;
    desk.hints(shown());
    pass(600).await;
    let before = desk.reads();
    pass(600).await;
    assert_eq!(desk.reads(), before, "it agrees");
    let mut hint = shown();
    hint.enis.get_mut(&PRIMARY).unwrap().pop_last();
    desk.hints(hint);
    pass(120).await;
    assert!((1..=2).contains(&(desk.reads() - before)), "{}", desk.reads() - before);

    let ranges = |desk: &Desk| desk.disk.ledger().node.unwrap().identity.vpc_cidrs;
    let known = ranges(&desk);
    desk.hints(shown());
    pass(600).await;
    assert_eq!(ranges(&desk), known, "none were told");
    let vpc_cidrs: Vec<_> = ["10.0.0.0/16", "10.1.0.0/16"].map(|range| range.parse().unwrap()).into();
    desk.hints(MetadataHint { vpc_cidrs: vpc_cidrs.clone(), ..shown() });
    pass(600).await;
    assert_eq!(ranges(&desk), vpc_cidrs);
}
