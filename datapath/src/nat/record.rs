//! What this process knows of its table, and what a listing says in that light.
//!
//! Releases of `nft` list the same table in different words. So a listing is compared with the one that this `nft` gave
//! right after the table was written; with what this build would expect only until then.

use std::time::{Duration, Instant};

use holdfast_model::host::NatSeen;
use serde_json::Value;

use super::NatError;

/// Tables, chains and rules, freed of what differs without meaning.
pub(super) type Listing = Vec<Value>;

/// How soon a table that cannot be listed is written again after that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How soon it is written again after that went well: what others did to it meanwhile cannot be seen.
const UNSEEN: Duration = Duration::from_secs(50);

/// The last time that the table was written, or should have been.
pub(super) struct Attempt {
    /// The table, as this build would list it.
    pub(super) ours: Listing,
    pub(super) at: Instant,
    /// How it is listed since; none if the listing failed.
    pub(super) listed: Option<Listing>,
    /// Whether it was written.
    pub(super) written: bool,
}

/// Whether the table that this build lists as `ours` is there.
pub(super) fn judge(
    last: Option<&Attempt>,
    ours: &Listing,
    listed: &Result<Option<Listing>, NatError>,
    now: Instant,
) -> NatSeen {
    let last = last.filter(|last| last.ours == *ours);
    let as_written = match listed {
        Ok(None) => false,
        Ok(Some(seen)) => {
            let reference = last.and_then(|last| last.listed.as_ref()).unwrap_or(ours);
            seen == reference
        }
        Err(_) => {
            let recent = |last: &Attempt| {
                let pause = if last.written { UNSEEN } else { AFTER_FAILURE };
                now.saturating_duration_since(last.at) < pause
            };
            if last.is_some_and(recent) {
                return NatSeen::Unknown;
            }
            // Without a look at it: a table that stands is replaced by itself, and one that does not is what pods lack.
            false
        }
    };
    if as_written { NatSeen::AsWritten } else { NatSeen::Differs }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listing(text: &str) -> Listing {
        vec![json!({ "rule": text })]
    }

    fn attempt(ours: &str, listed: Option<&str>, written: bool, at: Instant) -> Attempt {
        Attempt { ours: listing(ours), at, listed: listed.map(listing), written }
    }

    fn failed() -> Result<Option<Listing>, NatError> {
        Err(NatError::Refused("Operation not supported".to_owned()))
    }

    #[test]
    fn before_it_was_written_the_table_is_compared_with_this_builds_words() {
        let now = Instant::now();
        let judged = |seen: Option<&str>| judge(None, &listing("ours"), &Ok(seen.map(listing)), now);
        assert_eq!(judged(Some("ours")), NatSeen::AsWritten);
        assert_eq!(judged(Some("in tomorrow's words")), NatSeen::Differs);
        assert_eq!(judged(None), NatSeen::Differs);
    }

    #[test]
    fn afterwards_with_the_words_of_the_nft_that_is_here() {
        let now = Instant::now();
        let last = attempt("ours", Some("in tomorrow's words"), true, now);
        let judged = |ours: &str, seen| judge(Some(&last), &listing(ours), &Ok(Some(listing(seen))), now);
        assert_eq!(judged("ours", "in tomorrow's words"), NatSeen::AsWritten);
        assert_eq!(judged("ours", "something else"), NatSeen::Differs);
        assert_eq!(judged("another table", "in tomorrow's words"), NatSeen::Differs, "not the one written");
    }

    #[test]
    fn what_cannot_be_listed_is_written_at_once_and_again_after_a_while() {
        let now = Instant::now();
        let ours = listing("ours");
        assert_eq!(judge(None, &ours, &failed(), now), NatSeen::Differs, "never written");
        for (written, pause) in [(true, UNSEEN), (false, AFTER_FAILURE)] {
            let last = attempt("ours", None, written, now);
            let judged = |at| judge(Some(&last), &ours, &failed(), at);
            assert_eq!(judged(now), NatSeen::Unknown, "no loop");
            assert_eq!(judged(now + pause), NatSeen::Differs);
            assert_eq!(judge(Some(&last), &listing("another"), &failed(), now), NatSeen::Differs);
        }
    }
}
