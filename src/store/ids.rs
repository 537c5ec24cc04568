//! The store's own numbers, one type for each thing that is numbered.

use std::fmt;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub(super) i64);

        impl $name {
            /// The number, as the log has it.
            #[must_use]
            pub const fn number(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id_type!(
    /// A series in the index.
    SeriesKey
);
id_type!(
    /// An instance in the index; ascending in the order of arrival.
    InstanceKey
);
id_type!(
    /// One model's work on one revision of a series.
    JobId
);
id_type!(
    /// One result object on its way to one destination.
    DeliveryId
);

#[cfg(test)]
impl SeriesKey {
    /// Of a series that is in no index.
    pub(crate) const fn made_up(number: i64) -> Self {
        Self(number)
    }
}
