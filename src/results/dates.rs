//! Dates and times of the objects themselves (PS3.5 section 6.2: DA, TM, DT; PS3.3 C.12.1.1.8).

use dicom_dictionary_std::tags;

use super::request::ResultRequest;

/// One point in time in the time zone of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentTime {
    /// VR DA.
    pub(super) date: String,
    /// VR TM.
    pub(super) time: String,
    /// VR DT.
    pub(super) date_time: String,
}

/// The request's time: in the zone that the source declares, or else in the configured one.
pub(super) fn content_time(request: &ResultRequest<'_>) -> ContentTime {
    let declared = request.source.header.text(tags::TIMEZONE_OFFSET_FROM_UTC);
    let offset = declared.as_deref().and_then(parsed_offset).unwrap_or(request.options.utc_offset);
    let utc = request.now.utc();
    let local = utc.checked_to_offset(offset).unwrap_or(utc);
    let date = format!("{:04}{:02}{:02}", local.year(), u8::from(local.month()), local.day());
    let time = format!("{:02}{:02}{:02}.{:03}", local.hour(), local.minute(), local.second(), local.millisecond());
    ContentTime { date_time: format!("{date}{time}"), date, time }
}

/// `&ZZXX` of PS3.3 C.12.1.1.8.
fn parsed_offset(text: &str) -> Option<time::UtcOffset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    time::UtcOffset::from_hms(sign * hours.parse::<i8>().ok()?, sign * minutes.parse::<i8>().ok()?, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_with_their_sign_and_nonsense_is_not() {
        assert_eq!(parsed_offset("+0530").unwrap().whole_minutes(), 330);
        assert_eq!(parsed_offset("-0300").unwrap().whole_minutes(), -180);
        assert_eq!(parsed_offset("0100"), None);
        assert_eq!(parsed_offset("+9999"), None);
        assert_eq!(parsed_offset("+1é"), None);
    }
}
