//! Which bucket a call is taken out of.

use serde_json::json;

use super::*;

#[test]
fn each_describe_that_asks_for_everything_at_once_has_a_bucket_of_its_own() {
    let mut bed = Bed::new();
    let unfiltered = Some(Bucket { capacity: 1, refill_per_second: 0 });
    bed.vpc.set_request_limits(RequestLimits { actions: BTreeMap::new(), unfiltered });
    let mut is_taken = |operation: Operation| bed.vpc.serve(&bed.caller, operation).result.is_ok();
    for action in Action::ALL.iter().copied().filter(|action| action.is_read()) {
        let asks = |parameters| Operation::read(action, parameters).unwrap();
        let everything = || asks(json!({}));
        assert_eq!([(); 3].map(|()| is_taken(everything())), [true, false, false], "{action}");
        assert_eq!([(); 2].map(|()| is_taken(asks(json!({ "maxResults": 5 })))), [true, true], "{action}");
    }
}
