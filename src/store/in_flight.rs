//! One instance at a time: two associations that send the same SOP Instance UID at once take turns.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::dicom::uid::SopInstanceUid;

/// The SOP Instance UIDs that are being recorded.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    uids: Mutex<HashSet<SopInstanceUid>>,
    released: Notify,
}

/// The right to record one SOP Instance UID; others wait until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    all: Arc<InFlight>,
    uid: SopInstanceUid,
}

impl InFlight {
    /// Waits until nobody else records this UID.
    pub(super) async fn reserve(self: &Arc<Self>, uid: &SopInstanceUid) -> Reservation {
        loop {
            let released = self.released.notified();
            if self.uids.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone()) {
                return Reservation { all: self.clone(), uid: uid.clone() };
            }
            released.await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.all.uids.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uid);
        self.all.released.notify_waiters();
    }
}
