//! Words for state: the same in SQL, here and in the log.

use std::fmt;

use super::error::StoreError;

macro_rules! state_type {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The word in the database and in the log.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            pub(super) fn from_word(word: &str) -> Result<Self, StoreError> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(StoreError::Damaged(format!("«{other}» is no state of this kind"))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

state_type!(
    /// Of a series.
    SeriesState {
        /// Instances are coming.
        Receiving = "receiving",
        /// It is whole as far as known; its jobs are queued.
        Complete = "complete",
        /// Its jobs have ended, one at least is done.
        Read = "read",
    }
);

state_type!(
    /// Of a job.
    JobState {
        /// It waits for a worker.
        Queued = "queued",
        /// A worker has it.
        Running = "running",
        /// Its results are stored, or a job of a later revision has taken its place before it made any.
        Done = "done",
        /// It will not be tried again.
        Failed = "failed",
    }
);

state_type!(
    /// Of a delivery.
    DeliveryState {
        /// It waits for its lane.
        Pending = "pending",
        /// Its lane has it.
        Sending = "sending",
        /// Its destination has taken it.
        Delivered = "delivered",
        /// It is given up until a person asks for it.
        Dead = "dead",
    }
);
