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

/// `31 Jan 2026 23:59:59 GMT`, as IMDS writes the instants of scheduled events.
pub(crate) fn day_first(at: SystemTime) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date(at);
    let month = MONTHS.iter().zip(1..).find(|(_, number)| *number == month).map_or("", |(name, _)| name);
    format!("{day:02} {month} {year:04} {} GMT", parts(at).1)
}

/// Reads `20260131T235959Z`, as SigV4 writes instants.
pub(crate) fn parse_basic(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || clock.len() != 6 {
        return None;
    }
    let number = |text: Option<&str>| text?.parse::<u64>().ok();
    let (year, month, day) = (number(date.get(..4))?, number(date.get(4..6))?, number(date.get(6..))?);
    let (hour, minute, second) = (number(clock.get(..2))?, number(clock.get(2..4))?, number(clock.get(4..))?);
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
}
