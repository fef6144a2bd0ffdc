//! IMDSv2 session tokens: issued for a time to live, good until it is over.

use std::collections::BTreeMap;

/// Shortest and longest time to live, in seconds, as the service documents them.
const TTL_SECONDS: std::ops::RangeInclusive<u32> = 1..=21_600;

/// Tokens of one instance's metadata service. Time is microseconds of the box's clock.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: u64,
    expires: BTreeMap<String, u64>,
}

impl Tokens {
    /// Issues a token for the time to live that the request's header asks for; `None` if the header is missing, no
    /// number, or out of range (the service answers 400).
    pub(crate) fn issue(&mut self, ttl_header: Option<&str>, now_us: u64) -> Option<(String, u32)> {
        let ttl: u32 = ttl_header?.trim().parse().ok()?;
        if !TTL_SECONDS.contains(&ttl) {
            return None;
        }
        self.expires.retain(|_, expires| *expires > now_us);
        self.issued += 1;
        // Looks like the real thing (56 characters of base64url). It guards nothing, so it need not be secret.
        let token = format!("AQAEA{:049}==", self.issued);
        self.expires.insert(token.clone(), now_us + u64::from(ttl) * 1_000_000);
        Some((token, ttl))
    }

    /// Whole seconds that a token still lives, or `None` if it is unknown or over.
    pub(crate) fn remaining(&self, token: &str, now_us: u64) -> Option<u64> {
        let left = self.expires.get(token)?.checked_sub(now_us)?;
        (left > 0).then(|| left.div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_bounded_and_tokens_end() {
        let mut tokens = Tokens::default();
        for bad in [None, Some(""), Some("0"), Some("21601"), Some("-1"), Some("ten")] {
            assert_eq!(tokens.issue(bad, 0), None, "{bad:?}");
        }
        let (token, ttl) = tokens.issue(Some("2"), 0).unwrap();
        assert_eq!((token.len(), ttl), (56, 2));
        assert_eq!(tokens.remaining(&token, 0), Some(2));
        assert_eq!(tokens.remaining(&token, 1_500_000), Some(1));
        assert_eq!(tokens.remaining(&token, 2_000_000), None);
        assert_eq!(tokens.remaining("other", 0), None);
        let (next, _) = tokens.issue(Some("21600"), 3_000_000).unwrap();
        assert_ne!(next, token);
    }
}
