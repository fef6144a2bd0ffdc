//! Calls under way, whatever becomes of their callers.

use super::*;
use crate::vpc::request::{CreateTags, DescribeNetworkInterfaces, DescribeSubnets};

fn slow() -> Bed {
    let mut bed = Bed::new();
    bed.vpc.set_timing(Timing { write_latency: Duration::from_secs(6), ..Timing::default() }).unwrap();
    bed
}

#[test]
fn what_was_sent_is_carried_out_when_it_arrives_though_nobody_waits() {
    for abandoned_after in [0, 1, 5, 6, 7] {
        let mut bed = slow();
        let create = bed.create();
        let ticket = bed.vpc.send(&bed.caller.clone(), create);
        assert_eq!(bed.vpc.ready_at(ticket), Some(Micros(6_000_000)));
        bed.second(abandoned_after);
        assert_eq!(bed.vpc.log().count(Action::CreateNetworkInterface), usize::from(abandoned_after >= 6));
        bed.vpc.abandon(ticket);
        assert_eq!(bed.vpc.ready_at(ticket), None);
        bed.second(8);
        assert_eq!(bed.vpc.take(ticket), None);
        assert_eq!(bed.vpc.log().count(Action::CreateNetworkInterface), 1, "counted all the same");
        let shown = bed.call(DescribeNetworkInterfaces::default()).unwrap().items.len();
        assert_eq!(shown, 2, "seen by a later Describe");
    }
}

#[test]
fn an_answer_is_taken_once_and_not_before_it_is_there() {
    let mut bed = slow();
    let late = Fault::new(FaultKind::AnswerLate { by: Duration::from_secs(2) });
    bed.vpc.set_fault(late).unwrap();
    let create = bed.create();
    let ticket = bed.vpc.send(&bed.caller.clone(), create);
    for second in 0..8 {
        bed.second(second);
        assert_eq!(bed.vpc.take(ticket), None, "after {second} s");
    }
    bed.second(8);
    assert!(bed.vpc.take(ticket).unwrap().result.is_ok());
    assert_eq!(bed.vpc.take(ticket), None);
}

#[test]
fn calls_arrive_in_the_order_of_their_arrival_and_between_what_else_falls_due() {
    let mut bed = slow();
    let caller = bed.caller.clone();
    let slow = bed.create();
    let first_sent = bed.vpc.send(&caller, slow.clone());
    bed.second(1);
    let read = bed.vpc.send(&caller, DescribeSubnets::default());
    assert!(bed.vpc.take(read).is_some(), "without latency at once");
    let overtakes = bed.vpc.send_after(Duration::from_secs(2), &caller, slow);
    assert_eq!(bed.vpc.under_way(), 2);
    bed.second(100);
    let numbers: Vec<Micros> = bed.vpc.log().records().map(|record| record.at).collect();
    assert_eq!(numbers, [1, 3, 6].map(|second| Micros(second * 1_000_000)));
    assert!(bed.vpc.take(first_sent).is_some() && bed.vpc.take(overtakes).is_some());
}

/// A fleet that starts together calls together.
#[test]
fn thousands_of_calls_may_arrive_at_one_instant() {
    let mut bed = Bed::new();
    let eni = bed.created().to_string();
    let tag = |number: usize| Tags::from([("k".to_owned(), number.to_string())]);
    let sent: Vec<Ticket> = (0..5000)
        .map(|number| {
            let call = CreateTags { resources: vec![eni.clone()], tags: tag(number) };
            bed.vpc.send_after(Duration::from_millis(1), &bed.caller, Operation::from(call))
        })
        .collect();
    bed.second(1);
    for (number, ticket) in sent.into_iter().enumerate() {
        let reply = bed.vpc.take(ticket).expect("it has arrived");
        assert!(reply.result.is_ok(), "call {number}: {:?}", reply.result);
    }
    let shown = bed.vpc.authoritative().network_interfaces();
    let tags = shown.into_iter().find(|shown| shown.network_interface_id.to_string() == eni).unwrap().tags;
    assert_eq!(tags.get("k").map(String::as_str), Some("4999"), "in their order");
}
