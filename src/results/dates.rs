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
    let offset = declared.as_deref().and_then(parsed_offset);
    let offset = offset.unwrap_or_else(|| request.options.utc_offset.offset_at(request.now));
    let utc = request.now.utc();
    let local = utc.checked_to_offset(offset).unwrap_or(utc);
    let date = format!("{:04}{:02}{:02}", local.year(), u8::from(local.month()), local.day());
    let time = format!("{:02}{:02}{:02}.{:03}", local.hour(), local.minute(), local.second(), local.millisecond());
    ContentTime { date_time: format!("{date}{time}"), date, time }
}

/// Whether a text is a VR DA as it must be today: sources also have `1993.02.24`.
pub(super) fn is_date(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text is a VR TM as it must be today: sources also have `17:58:00`.
pub(super) fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fraction_fits = fraction.is_none_or(|f| whole.len() == 6 && (1..=6).contains(&f.len()) && digits(f));
    matches!(whole.len(), 2 | 4 | 6) && digits(whole) && fraction_fits
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
    fn only_the_forms_of_today_are_dates_and_times() {
        assert!(is_date("19930224") && !is_date("1993.02.24") && !is_date("1993022") && !is_date(""));
        for good in ["17", "1758", "175800", "175800.1", "175800.123456"] {
            assert!(is_time(good), "{good}");
        }
        for bad in ["", "17:58:00", "1", "17580", "1758.5", "175800.", "175800.1234567", "1758xx"] {
            assert!(!is_time(bad), "{bad}");
        }
    }

    #[test]
    fn offsets_are_read_with_their_sign_and_nonsense_is_not() {
        assert_eq!(parsed_offset("+0530").unwrap().whole_minutes(), 330);
        assert_eq!(parsed_offset("-0300").unwrap().whole_minutes(), -180);
        assert_eq!(parsed_offset("0100"), None);
        assert_eq!(parsed_offset("+9999"), None);
        assert_eq!(parsed_offset("+1é"), None);
    }
}
