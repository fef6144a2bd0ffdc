//! Instants as AWS writes them: UTC, ISO 8601.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-01-31T23:59:59Z`, as IMDS writes instants.
pub(crate) fn seconds(at: SystemTime) -> String {
    let (date, clock) = parts(at);
    format!("{date}T{clock}Z")
}

/// `2026-01-31T23:59:59.000Z`, as EC2 writes instants: with milliseconds that are always zero.
pub(crate) fn millis(at: SystemTime) -> String {
    let (date, clock) = parts(at);
    format!("{date}T{clock}.000Z")
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `31 Jan 2026 23:59:59 GMT`, as IMDS writes the instants of scheduled events.
pub(crate) fn day_first(at: SystemTime) -> String {
    let (year, month, day) = date(at);
    let month = MONTHS.iter().zip(1..).find(|(_, number)| *number == month).map_or("", |(name, _)| name);
    format!("{day:02} {month} {year:04} {} GMT", parts(at).1)
}

/// `20260131T235959Z`, as SigV4 writes instants.
pub(crate) fn basic(at: SystemTime) -> String {
    let (date, clock) = parts(at);
    format!("{date}T{clock}Z").replace(['-', ':'], "")
}

/// Reads what [`basic`] writes.
pub(crate) fn parse_basic(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || clock.len() != 6 {
        return None;
    }
    let date = (digits(date.get(..4)?)?, digits(date.get(4..6)?)?, digits(date.get(6..)?)?);
    instant(date, (digits(clock.get(..2)?)?, digits(clock.get(2..4)?)?, digits(clock.get(4..)?)?))
}

/// Reads `Sat, 31 Jan 2026 23:59:59 GMT`, as HTTP writes instants, and mail: with `-0000` or `+0000` for its zone.
pub(crate) fn parse_http(text: &str) -> Option<SystemTime> {
    let words: Vec<&str> = text.split(' ').collect();
    let [_weekday, day, month, year, clock, "GMT" | "-0000" | "+0000"] = words[..] else { return None };
    let month = MONTHS.iter().zip(1..).find(|(name, _)| **name == month)?.1;
    let clock: Vec<u64> = clock.split(':').map(digits).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    instant((digits(year)?, month, digits(day)?), (hour, minute, second))
}

/// A number of at most four digits, and of nothing else.
fn digits(text: &str) -> Option<u64> {
    let plain = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Each number is a small one: see [`digits`].
fn instant(
    (year, month, day): (u64, u64, u64),
    (hour, minute, second): (u64, u64, u64),
) -> Option<SystemTime> {
    let days = day_number(year, month, day)?;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    (hour < 24 && minute < 60 && second <= 60).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The day counted from 1970-01-01 of a Gregorian date, the inverse of [`civil`].
fn day_number(year: u64, month: u64, day: u64) -> Option<u64> {
    let (shifted, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let day_of_year = (153 * month + 2) / 5 + day.checked_sub(1)?;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    // A day that is not in the calendar would come back as another one.
    (civil(days) == (year, if month < 10 { month + 3 } else { month - 9 }, day)).then_some(days)
}

/// Seconds since 1970.
fn unix(at: SystemTime) -> u64 {
    // Instants before that cannot come about: the box begins at its maker's present.
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn date(at: SystemTime) -> (u64, u64, u64) {
    civil(unix(at) / 86_400)
}

/// Date and time of day.
fn parts(at: SystemTime) -> (String, String) {
    let of_day = unix(at) % 86_400;
    let (year, month, day) = date(at);
    let clock = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
    (format!("{year:04}-{month:02}-{day:02}"), clock)
}

/// Gregorian date of a day counted from 1970-01-01. Years start in March here, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (era * 400 + year_of_era, month + 3)
    } else {
        (era * 400 + year_of_era + 1, month - 9)
    };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_767_225_600, "2026-01-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(unix) + Duration::from_millis(7);
            assert_eq!(seconds(at), format!("{text}Z"));
            assert_eq!(millis(at), format!("{text}.000Z"));
            let basic = format!("{}Z", text.replace(['-', ':'], ""));
            assert_eq!(parse_basic(&basic), Some(UNIX_EPOCH + Duration::from_secs(unix)), "{basic}");
            assert_eq!(super::basic(at), basic);
        }
        let at = UNIX_EPOCH + Duration::from_secs(951_782_400 + 3_661);
        assert_eq!(day_first(at), "29 Feb 2000 01:01:01 GMT");
        assert_eq!(day_first(UNIX_EPOCH), "01 Jan 1970 00:00:00 GMT");
        for nonsense in
            ["", "20260231T000000Z", "20260131T240000Z", "20261301T000000Z", "2026-01-31T00:00:00Z"]
        {
            assert_eq!(parse_basic(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn instants_of_http_and_mail() {
        let at = Some(UNIX_EPOCH + Duration::from_secs(951_782_400 + 3_661));
        for text in [
            "Tue, 29 Feb 2000 01:01:01 GMT",
            "Tue, 29 Feb 2000 01:01:01 -0000",
            "Tue, 29 Feb 2000 01:01:01 +0000",
        ] {
            assert_eq!(parse_http(text), at, "{text}");
        }
        for nonsense in [
            "",
            "29 Feb 2000 01:01:01 GMT",
            "Tue, 29 feb 2000 01:01:01 GMT",
            "Tue, 30 Feb 2000 01:01:01 GMT",
            "Tue, 0 Feb 2000 01:01:01 GMT",
            "Tue, 29 Feb 2000 24:01:01 GMT",
            "Tue, 29 Feb 2000 01:60:01 GMT",
            "Tue, 29 Feb 2000 01:01:61 GMT",
            "Tue, 29 Feb 2000 01:01 GMT",
            "Tue, 29 Feb 2000 01:01:+1 GMT",
            "Tue, 29 Feb 2000 01:01:01 CET",
            "Tue, 29 Feb 2000 01:01:01 GMT now",
            "Tue, 29 Feb 18446744073709551615 01:01:01 GMT",
            "Tue, 18446744073709551615 Feb 2000 01:01:01 GMT",
        ] {
            assert_eq!(parse_http(nonsense), None, "{nonsense}");
        }
    }
}
