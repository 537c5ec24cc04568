//! Series whose rows cannot be read: passed over, and the log is told of each once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::ids::SeriesKey;

/// What the log has been told: each series with what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<HashMap<SeriesKey, String>>);

impl Unreadable {
    /// Takes all that cannot be read now, and gives what is not told yet: a series that is new among them, or wrong in
    /// another way than before.
    pub(super) fn news(&self, now: HashMap<SeriesKey, String>) -> Vec<(SeriesKey, String)> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = |(key, cause): &(&SeriesKey, &String)| told.get(*key) != Some(*cause);
        let news = now.iter().filter(is_news).map(|(key, cause)| (*key, cause.clone())).collect();
        *told = now;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_is_told_once_until_it_changes() {
        let (unreadable, one, other) = (Unreadable::default(), SeriesKey::made_up(1), SeriesKey::made_up(2));
        let news = |rows: &[(SeriesKey, &str)]| {
            unreadable.news(rows.iter().map(|(key, cause)| (*key, (*cause).to_owned())).collect())
        };
        assert_eq!(news(&[(one, "no UID")]), [(one, "no UID".to_owned())]);
        assert_eq!(news(&[(one, "no UID")]), []);
        assert_eq!(news(&[(one, "no UID"), (other, "no time")]), [(other, "no time".to_owned())]);
        assert_eq!(news(&[(one, "no time"), (other, "no time")]), [(one, "no time".to_owned())]);
        // Mended, and then damaged again.
        assert_eq!(news(&[(other, "no time")]), []);
        assert_eq!(news(&[(one, "no time"), (other, "no time")]), [(one, "no time".to_owned())]);
    }
}
