//! A moment as a person types it.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Reads a moment that a person typed, in milliseconds since the Unix epoch: with its zone, or in the time zone of this
/// machine.
///
/// # Errors
/// What a time looks like, when the text is none.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let local = text.parse::<civil::DateTime>().ok();
    let zoned = local.and_then(|local| local.to_zoned(TimeZone::system()).ok());
    let moment = zoned.ok_or_else(|| {
        "a time looks like 2026-11-21T14:00:00Z, or 2026-11-21 14:00 in local time".to_owned()
    })?;
    Ok(moment.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        assert_eq!(parse_time("2026-11-21T14:00:00Z"), Ok(1_795_269_600_000));
        assert_eq!(
            parse_time("2026-11-21T15:00:00.250+01:00"),
            Ok(1_795_269_600_250)
        );
        // In local time, whatever that is here: two hours apart are two hours apart.
        let hours =
            ["2026-11-21 14:00", "2026-11-21T16:00:00"].map(|text| parse_time(text).unwrap());
        assert_eq!(hours[1] - hours[0], 2 * 3_600_000);
        for wrong in ["yesterday", "14:00", ""] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
