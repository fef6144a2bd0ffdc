//! How long client tokens are remembered, and how many.

use super::*;
use crate::vpc::request::DeleteNetworkInterface;
use crate::vpc::tokens::KEPT;

const DAY: u64 = 24 * 3600;

impl Bed {
    /// Which ENI a creation with this token gives.
    fn made_with(&mut self, token: &str) -> EniId {
        let operation = CreateNetworkInterface { client_token: Some(token.to_owned()), ..self.create() };
        self.vpc.call(&self.caller, operation).unwrap().network_interface.network_interface_id
    }

    fn delete(&mut self, eni: EniId) {
        self.vpc.call(&self.caller, DeleteNetworkInterface { network_interface_id: eni }).unwrap();
    }
}

#[test]
fn a_client_token_is_good_for_its_eni_while_that_lives_and_a_day_after() {
    let mut bed = Bed::new();
    let (first, other) = (bed.made_with("a"), bed.made_with("b"));
    bed.second(3 * DAY);
    assert_eq!((bed.made_with("a"), bed.made_with("b")), (first, other));
    bed.delete(first);
    bed.second(4 * DAY - 1);
    // Something happens in between.
    bed.created();
    assert_eq!(bed.made_with("a"), first, "gone, and not made again");
    bed.second(4 * DAY);
    let second = bed.made_with("a");
    assert_ne!(second, first);
    bed.second(5 * DAY);
    assert_eq!((bed.made_with("a"), bed.made_with("b")), (second, other));
    bed.delete(second);
    assert_eq!(bed.vpc.world.tokens.len(), 2);
    bed.second(6 * DAY);
    bed.created();
    assert_eq!(bed.vpc.world.tokens.len(), 1, "what is over takes no room");
    assert_ne!(bed.made_with("a"), second);
    assert_eq!(
        (bed.made_with("b"), bed.vpc.forgotten()),
        (other, Forgotten::default()),
        "nothing is missing"
    );
    assert!(bed.vpc.world.tokens.is_sound());
}

#[test]
fn of_too_many_client_tokens_the_oldest_are_forgotten() {
    let mut bed = Bed::new();
    let stays = bed.made_with("stays");
    let gone = bed.made_with("gone");
    bed.delete(gone);
    for number in 2..KEPT {
        let eni = bed.made_with(&number.to_string());
        bed.delete(eni);
    }
    assert_eq!((bed.made_with("stays"), bed.made_with("gone")), (stays, gone));
    assert_eq!(bed.vpc.forgotten(), Forgotten::default());
    bed.made_with("one more");
    bed.made_with("another");
    assert_eq!(bed.vpc.forgotten(), Forgotten { client_tokens: 2, ..Forgotten::default() });
    assert_eq!(bed.made_with("2"), bed.made_with("2"));
    assert_eq!(bed.vpc.forgotten().client_tokens, 2, "it was there still");
    assert_ne!(bed.made_with("stays"), stays);
    assert_eq!(bed.vpc.forgotten().client_tokens, 3);
    assert!(bed.vpc.world.tokens.is_sound());
}

#[test]
fn a_creation_that_is_only_tried_spends_no_token() {
    let mut bed = Bed::new();
    let operation = CreateNetworkInterface { client_token: Some("t".to_owned()), ..bed.create() };
    let before = bed.vpc.world.clone();
    let tried = bed.vpc.serve(&bed.caller, Request { dry_run: true, operation: operation.into() });
    assert!(tried.result.is_err());
    assert_eq!(bed.vpc.world, before);
}
