use http::HeaderValue;

use super::*;
use crate::asked::{Kind, Server, Verb};

fn asked(verb: Verb, kind: Kind) -> Asked {
    Asked { server: Server::Api, verb, kind, subresource: None, namespace: None, which: None }
}

fn of(status: u16, retry_after: Option<&'static str>, body: &str) -> Cause {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    classify(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
}

/// As the server writes it.
fn status(code: u16, reason: &str, message: &str, details: &str) -> String {
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":{message:?},"reason":"{reason}","details":{details},"code":{code}}}"#
    )
}

#[test]
fn each_answer_has_its_class() {
    let forbidden = r#"nodes "n" is forbidden: User "system:anonymous" cannot patch resource "nodes/status" in API group "" at the cluster scope"#;
    let hook = r#"admission webhook "vnode.vpc.k8s.aws" denied the request: no"#;
    let cases = [
        // In the words of 1.37's own answers.
        (
            of(429, Some("1"), "Too many requests, please try again later.\n"),
            Cause::Busy { retry_after: Some(Duration::from_secs(1)) },
        ),
        (
            of(429, None, &status(429, "TooManyRequests", "m", r#"{"retryAfterSeconds":10}"#)),
            Cause::Busy { retry_after: Some(Duration::from_secs(10)) },
        ),
        (
            of(410, None, &status(410, "Expired", "The provided continue parameter is too old", "{}")),
            Cause::Gone,
        ),
        (
            of(403, None, &status(403, "Forbidden", forbidden, r#"{"name":"n","kind":"nodes"}"#)),
            Cause::Forbidden(forbidden.to_owned()),
        ),
        (of(403, None, &status(403, "Forbidden", hook, "{}")), Cause::Refused(hook.to_owned())),
        (
            of(
                403,
                None,
                &status(403, "Forbidden", "going", r#"{"causes":[{"reason":"NamespaceTerminating"}]}"#),
            ),
            Cause::Refused("going".to_owned()),
        ),
        (
            of(401, None, &status(401, "Unauthorized", "Unauthorized", "{}")),
            Cause::Unauthorized("Unauthorized".to_owned()),
        ),
        (of(404, None, &status(404, "NotFound", "m", r#"{"name":"p","kind":"pods"}"#)), Cause::NotFound),
        (
            of(404, None, &status(404, "NotFound", "the server could not find the requested resource", "{}")),
            Cause::NotServed,
        ),
        (of(404, None, "404 page not found\n"), Cause::NotServed),
        (of(409, None, &status(409, "Conflict", "m", "{}")), Cause::Conflict("m".to_owned())),
        (of(409, None, &status(409, "AlreadyExists", "m", "{}")), Cause::Exists),
        (of(422, None, &status(422, "Invalid", "m", "{}")), Cause::Refused("m".to_owned())),
        (
            of(
                504,
                None,
                &status(
                    504,
                    "Timeout",
                    "Too large resource version: 9, current: 4",
                    r#"{"causes":[{"reason":"ResourceVersionTooLarge"}],"retryAfterSeconds":1}"#,
                ),
            ),
            Cause::Ahead("Too large resource version: 9, current: 4".to_owned()),
        ),
        (
            of(500, None, &status(500, "InternalError", "m", "{}")),
            Cause::Failing { status: 500, words: "m".to_owned() },
        ),
        (of(503, Some("7"), "starting"), Cause::Busy { retry_after: Some(Duration::from_secs(7)) }),
        (
            of(502, None, "<html>\n<b>Bad  Gateway</b>"),
            Cause::Failing { status: 502, words: "<html> <b>Bad Gateway</b>".to_owned() },
        ),
        // A success that calls itself a failure's kind, from nobody who knows the API.
        (of(302, None, "{}"), Cause::Failing { status: 302, words: "{}".to_owned() }),
    ];
    for (is, wanted) in cases {
        assert_eq!(is, wanted);
    }
}

#[test]
fn a_right_that_lacks_is_named_as_roles_name_it() {
    let asked = Asked {
        subresource: Some("status"),
        which: Some("node-1".to_owned()),
        ..asked(Verb::Patch, Kind::NODES)
    };
    let words =
        ApiFault { asked: Box::new(asked), cause: Cause::Forbidden("User cannot".to_owned()) }.to_string();
    assert_eq!(
        words,
        "not allowed to patch nodes/status (node-1): User cannot: add the verb patch on nodes/status of the API group \"\" to \
         the role of this program's service account"
    );
}

#[test]
fn what_may_have_been_done_is_told_from_what_was_not() {
    assert!(Cause::Silent(Duration::from_secs(1)).outcome_unknown());
    assert!(Cause::Broken(String::new()).outcome_unknown());
    assert!(!Cause::NotReached(String::new()).outcome_unknown());
    assert!(!Cause::Busy { retry_after: None }.outcome_unknown());
}

#[test]
fn words_are_short_and_on_one_line() {
    let long = excerpt("ä\n".repeat(500).as_bytes());
    assert_eq!(long.chars().count(), 201);
    assert!(!long.contains('\n'));
}
