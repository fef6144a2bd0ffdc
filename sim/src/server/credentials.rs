//! Who may call: the role credentials that the metadata service hands out, and static keys that the box knows.
//!
//! Signatures are not checked, since nothing here is worth forging; who signed, when, and with which session is.

use std::time::Duration;

use crate::vpc::{Caller, InstanceId};

/// How long role credentials last, and how long before their end IMDS shows new ones.
const LAST: Duration = Duration::from_hours(6);
const TURN: Duration = Duration::from_hours(1);

/// What the access key ids of role credentials start with.
const ROLE_KEY: &str = "ASIA";
/// What static keys start with.
const STATIC_KEY: &str = "AKIA";

/// The role credentials of one instance, issued at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleCredentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    /// Since the box began.
    pub(crate) issued: Duration,
    /// Since the box began.
    pub(crate) expires: Duration,
}

impl RoleCredentials {
    /// Those that IMDS shows at this moment of the box's clock.
    pub(crate) fn at(instance: InstanceId, now: Duration) -> Self {
        let turn = TURN.as_secs();
        Self::issued(instance, Duration::from_secs(now.as_secs() / turn * turn))
    }

    fn issued(instance: InstanceId, issued: Duration) -> Self {
        let seconds = issued.as_secs();
        Self {
            access_key_id: access_key_id(&instance),
            secret_access_key: format!("secret-of-{instance}-in-the-box"),
            session_token: format!("session-of-{instance}-{seconds}"),
            issued,
            expires: issued + LAST,
        }
    }

    /// Of the same instance, but over at this moment of the box's clock.
    pub(crate) fn expired(instance: InstanceId, now: Duration) -> Self {
        // Before the box began there was no moment: the token then says when it would have been issued.
        let token = format!("session-of-{instance}-expired");
        let issued = now.saturating_sub(LAST);
        Self { session_token: token, expires: now, ..Self::issued(instance, issued) }
    }
}

/// The access key id that IMDS hands out to `instance`: `ASIA`, then the digits of its id in upper case.
pub fn access_key_id(instance: &InstanceId) -> String {
    key_of(ROLE_KEY, instance)
}

/// An access key id for clients of `instance` that cannot ask IMDS: it needs no session token and never expires.
pub fn static_key_id(instance: &InstanceId) -> String {
    key_of(STATIC_KEY, instance)
}

fn key_of(kind: &str, instance: &InstanceId) -> String {
    let digits = instance.as_str().strip_prefix(InstanceId::PREFIX).unwrap_or(instance.as_str());
    format!("{kind}{}", digits.to_ascii_uppercase())
}

fn instance_of_key(kind: &str, key: &str) -> Option<InstanceId> {
    let digits = key.strip_prefix(kind)?.to_ascii_lowercase();
    let instance = InstanceId::new(format!("{}{digits}", InstanceId::PREFIX));
    instance.is_well_formed().then_some(instance)
}

/// Why a caller is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// No such key, or not with this session.
    Unknown,
    /// The session is over.
    Expired,
}

/// Who signed. Any static key (`AKIA` and 16 letters or digits, as EC2 makes them) is somebody of that name.
pub(crate) fn caller(
    access_key_id: &str,
    session_token: Option<&str>,
    now: Duration,
) -> Result<Caller, Stranger> {
    if let Some(instance) = instance_of_key(ROLE_KEY, access_key_id) {
        let prefix = format!("session-of-{instance}-");
        let session = session_token.and_then(|token| token.strip_prefix(prefix.as_str()));
        if session == Some("expired") {
            return Err(Stranger::Expired);
        }
        let issued = session.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        return match issued {
            Some(issued) if issued > now => Err(Stranger::Unknown),
            Some(issued) if now >= issued + LAST => Err(Stranger::Expired),
            Some(_) => Ok(Caller::instance(&instance)),
            None => Err(Stranger::Unknown),
        };
    }
    if let Some(instance) = instance_of_key(STATIC_KEY, access_key_id)
        && session_token.is_none()
    {
        return Ok(Caller::instance(&instance));
    }
    let is_static = access_key_id.strip_prefix(STATIC_KEY).is_some_and(|rest| {
        rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    });
    if is_static && session_token.is_none() {
        Ok(Caller::named(access_key_id))
    } else {
        Err(Stranger::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_credentials_lead_back_to_their_instance_until_they_are_over() {
        let instance = InstanceId::new("i-0123456789abcdef0");
        let now = Duration::from_secs(4000);
        let role = RoleCredentials::at(instance, now);
        assert_eq!(role.access_key_id, "ASIA0123456789ABCDEF0");
        assert_eq!(role.issued, Duration::from_secs(3600));
        let who = |token: Option<&str>, now| caller(&role.access_key_id, token, now);
        let token = Some(role.session_token.as_str());
        assert_eq!(who(token, now), Ok(Caller::instance(&instance)));
        assert_eq!(who(token, role.issued + LAST), Err(Stranger::Expired));
        assert_eq!(who(None, now), Err(Stranger::Unknown));
        assert_eq!(who(Some("session-of-i-0123456789abcdef1-3600"), now), Err(Stranger::Unknown));
        assert_eq!(
            who(Some("session-of-i-0123456789abcdef0-9000"), now),
            Err(Stranger::Unknown),
            "not issued yet"
        );
        let over = RoleCredentials::expired(instance, now);
        assert_eq!(who(Some(&over.session_token), now), Err(Stranger::Expired));
    }

    #[test]
    fn static_keys_are_told_from_nonsense() {
        let now = Duration::ZERO;
        let instance = InstanceId::new("i-0123456789abcdef0");
        let key = static_key_id(&instance);
        assert_eq!(caller(&key, None, now), Ok(Caller::instance(&instance)));
        assert_eq!(caller(&key, Some("a session"), now), Err(Stranger::Unknown));
        assert_eq!(caller("AKIAVPCSIMOPERATOR00", None, now), Ok(Caller::named("AKIAVPCSIMOPERATOR00")));
        for key in ["AKIA", "AKIAvpcsimoperator00", "ASIAEXAMPLE", "nobody", ""] {
            assert_eq!(caller(key, None, now), Err(Stranger::Unknown), "{key}");
        }
    }

    #[test]
    fn role_credentials_are_good_from_the_moment_of_their_issue() {
        let instance = InstanceId::new("i-0123456789abcdef0");
        for now in [Duration::ZERO, TURN, 7 * TURN] {
            let role = RoleCredentials::at(instance, now);
            let who = caller(&role.access_key_id, Some(&role.session_token), now);
            assert_eq!((role.issued, who), (now, Ok(Caller::instance(&instance))));
        }
    }
}
