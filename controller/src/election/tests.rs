use super::*;

const TIMING: Timing = Timing::USUAL;

fn candidate(me: &str) -> Candidate {
    Candidate::new(me, TIMING)
}

fn at(seconds: u64) -> BootTime {
    BootTime(1_000_000 + seconds * 1000)
}

fn held(by: &str, version: u64) -> (Record, Version) {
    let record = Record { holder: by.to_owned(), duration: TIMING.duration, transitions: 3 };
    (record, Version::new(version.to_string()))
}

fn claim(step: Step) -> Claim {
    match step {
        Step::Write(claim) => claim,
        other => panic!("no write: {other:?}"),
    }
}

/// Leads since the write that was sent then.
fn leader(sent: BootTime) -> Candidate {
    let mut me = candidate("me");
    assert_eq!(me.next(sent), Step::Read);
    me.read(Ok(None), sent, 0);
    let first = claim(me.next(sent));
    assert_eq!((first.based_on.clone(), first.record.transitions, first.taken), (None, 0, true));
    me.wrote(&first, sent, Ok(Version::new("1")), sent, 0);
    me
}

#[test]
fn who_finds_none_makes_it_and_leads_from_when_it_sent() {
    let me = leader(at(0));
    assert_eq!(me.leads(at(0)), Some(at(10)));
    assert_eq!(me.next(at(1)), Step::WaitUntil(at(2)));
    let renewal = claim(me.next(at(2)));
    assert_eq!((renewal.taken, renewal.based_on), (false, Some(Version::new("1"))));
}

#[test]
fn a_slow_answer_does_not_lengthen_the_lead() {
    let mut me = leader(at(0));
    let renewal = claim(me.next(at(2)));
    me.wrote(&renewal, at(2), Ok(Version::new("2")), at(9), 0);
    assert_eq!(me.leads(at(9)), Some(at(12)), "counted from the sending");
}

#[test]
fn who_cannot_renew_stops_before_another_starts() {
    let silent = Cause::Silent(Duration::from_secs(10));
    for random in [0, 1, u128::MAX] {
        let mut me = leader(at(0));
        // The other one sees that write as early as it can be seen.
        let mut other = candidate("other");
        other.read(Ok(Some(held("me", 1))), at(0), random);
        let (mut stopped, mut started) = (None, None);
        for millis in (0..40_000).step_by(100) {
            let now = at(0).after(Duration::from_millis(millis));
            if let Step::Write(claim) = me.next(now) {
                me.wrote(&claim, now, Err(&silent), now, random);
            } else if me.next(now) == Step::Read {
                me.read(Err(&silent), now, random);
            }
            if me.leads(now).is_none() {
                stopped = stopped.or(Some(now));
            }
            match other.next(now) {
                Step::Read => other.read(Ok(Some(held("me", 1))), now, random),
                Step::Write(claim) => {
                    assert_eq!((claim.record.transitions, claim.taken), (4, started.is_none()));
                    other.wrote(&claim, now, Ok(Version::new("2")), now, random);
                    started = started.or(Some(now));
                }
                Step::WaitUntil(_) => {}
            }
        }
        let (stopped, started) = (stopped.unwrap(), started.unwrap());
        assert_eq!(stopped, at(10));
        assert!(started >= at(15) && started <= at(18), "{started:?}");
    }
}

#[test]
fn a_lease_that_is_renewed_is_left_alone_and_its_wall_clock_is_not_asked() {
    let mut other = candidate("other");
    for second in 0..120 {
        // A new version every ten seconds: less often than its holder should, and often enough.
        if let Step::Read = other.next(at(second)) {
            other.read(Ok(Some(held("me", second / 10))), at(second), 0);
        }
        assert!(!matches!(other.next(at(second)), Step::Write(_)), "{second}");
    }
}

#[test]
fn a_holder_that_asks_for_longer_is_given_longer() {
    let mut other = candidate("other");
    let (mut record, version) = held("me", 1);
    record.duration = Duration::from_secs(60);
    other.read(Ok(Some((record, version))), at(0), 0);
    assert_eq!(other.next(at(59)), Step::Read);
    assert!(matches!(other.next(at(60)), Step::Write(_)));
}

#[test]
fn what_was_given_back_is_taken_at_once() {
    let mut me = leader(at(0));
    let last = me.resign().unwrap();
    assert_eq!((last.record.holder.as_str(), last.based_on.clone()), ("", Some(Version::new("1"))));
    assert_eq!(me.leads(at(0)), None);
    let mut other = candidate("other");
    other.read(Ok(Some((last.record, Version::new("2")))), at(1), 0);
    assert!(matches!(other.next(at(1)), Step::Write(_)));
    assert_eq!(other.resign(), None, "who does not have it gives nothing back");
}

#[test]
fn who_was_outrun_looks_before_it_writes_again() {
    let mut me = candidate("me");
    me.read(Ok(None), at(0), 0);
    let first = claim(me.next(at(0)));
    me.wrote(&first, at(0), Err(&Cause::Conflict(String::new())), at(0), 0);
    assert_eq!(me.leads(at(0)), None);
    assert_eq!(me.next(at(3)), Step::Read);
    me.read(Ok(Some(held("other", 5))), at(3), 0);
    assert_eq!(me.next(at(6)), Step::Read);
}

#[test]
fn a_lost_answer_does_not_lead_until_a_write_has_succeeded() {
    let mut me = candidate("me");
    me.read(Ok(None), at(0), 0);
    let first = claim(me.next(at(0)));
    me.wrote(&first, at(0), Err(&Cause::Broken(String::new())), at(1), 0);
    assert_eq!(me.next(at(4)), Step::Read);
    // It was carried out.
    me.read(Ok(Some(held("me", 7))), at(4), 0);
    assert_eq!(me.leads(at(4)), None, "nobody knows when that was sent");
    let renewal = claim(me.next(at(4)));
    assert_eq!((renewal.taken, renewal.based_on.clone()), (false, Some(Version::new("7"))));
    me.wrote(&renewal, at(4), Ok(Version::new("8")), at(4), 0);
    assert_eq!(me.leads(at(4)), Some(at(14)));
}

#[test]
fn who_sees_another_holder_stops_at_once() {
    let mut me = leader(at(0));
    let renewal = claim(me.next(at(2)));
    me.wrote(&renewal, at(2), Err(&Cause::Conflict(String::new())), at(2), 0);
    assert!(me.leads(at(5)).is_some());
    assert_eq!(me.next(at(5)), Step::Read);
    me.read(Ok(Some(held("other", 9))), at(5), 0);
    assert_eq!(me.leads(at(5)), None);
}

#[test]
fn one_that_was_deleted_is_made_anew() {
    let mut me = leader(at(0));
    let renewal = claim(me.next(at(2)));
    me.wrote(&renewal, at(2), Err(&Cause::NotFound), at(2), 0);
    assert_eq!(me.next(at(5)), Step::Read);
    me.read(Err(&Cause::NotFound), at(5), 0);
    assert_eq!(claim(me.next(at(5))).based_on, None);
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let mut me = candidate("me");
    me.read(Err(&Cause::Busy { retry_after: Some(Duration::from_secs(7)) }), at(0), 0);
    assert_eq!(me.next(at(6)), Step::WaitUntil(at(7)));
}
