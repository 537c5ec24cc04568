//! How many instances does a series have? Asked of a peer by C-FIND on the series level (PS3.4 section C.6.2.1.3).

use std::collections::HashMap;

use dicom_core::VR;
use dicom_dictionary_std::tags;
use tokio::task::{Id, JoinSet};

use crate::association::Timers;
use crate::association::requestor::{ContextProposal, FindResponse, PeerAddress, Requestor};
use crate::clock::Timestamp;
use crate::dicom::ae::AeTitle;
use crate::dicom::data_set::DataSet;
use crate::dicom::uid::{SeriesInstanceUid, SopClassUid, StudyInstanceUid};
use crate::store::{ReceivingSeries, SeriesKey};

/// Questions under way at a time.
const MOST_QUESTIONS: usize = 8;

/// What peers have answered, by series, and what they are being asked. Lost with the process: they are asked again.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// With the time at which it was asked: an instance that came since may not be counted.
    answers: HashMap<SeriesKey, (u32, Timestamp)>,
    questions: JoinSet<u32>,
    asked: HashMap<Id, (SeriesKey, Timestamp)>,
}

impl Counts {
    /// What was answered last about a series, and when that was asked.
    pub(super) fn of(&self, series: SeriesKey) -> Option<(u32, Timestamp)> {
        self.answers.get(&series).copied()
    }

    /// Forgets the answers about all other series.
    pub(super) fn keep_only(&mut self, series: &[ReceivingSeries]) {
        self.answers.retain(|key, _| series.iter().any(|series| series.key == *key));
    }

    /// Asks, unless this is being asked already or too much is; then a later look asks.
    pub(super) fn ask<F>(&mut self, series: SeriesKey, now: Timestamp, question: impl FnOnce() -> F)
    where
        F: Future<Output = u32> + Send + 'static,
    {
        if self.questions.len() < MOST_QUESTIONS && !self.asked.values().any(|(asked, _)| *asked == series) {
            self.asked.insert(self.questions.spawn(question()).id(), (series, now));
        }
    }

    /// Waits for an answer and keeps it; for ever where nothing is being asked. Giving up the wait loses nothing.
    pub(super) async fn answered(&mut self) {
        let (id, count) = match self.questions.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                tracing::error!(%error, "a question for the number of instances ended unexpectedly");
                (error.id(), 0)
            }
        };
        if let Some((series, asked_at)) = self.asked.remove(&id) {
            self.answers.insert(series, (count, asked_at));
        }
    }
}

/// Asks `peer` for Number of Series Related Instances (0020,1209).
///
/// Gives 0 where the peer does not know the series, or does not say.
///
/// # Errors
/// What kept the peer from answering, in words.
pub async fn count_instances(
    peer: &PeerAddress,
    own: &AeTitle,
    study: &StudyInstanceUid,
    series: &SeriesInstanceUid,
    timers: &Timers,
) -> Result<u32, String> {
    let (proposals, model) = ([ContextProposal::study_root_find()], SopClassUid::study_root_find());
    let mut association = Requestor::connect(peer, own, &proposals, timers).await.map_err(|e| e.to_string())?;
    let mut count = 0;
    let mut responses = association.find(&model, &identifier(study, series)).await.map_err(|e| e.to_string())?;
    while let Some(response) = responses.next().await.map_err(|e| e.to_string())? {
        if let FindResponse::Match(answer) = response {
            count = counted(&answer, series).unwrap_or(count);
        }
    }
    // The answer is here: how the association ends changes nothing.
    let _ = association.release().await;
    Ok(count)
}

/// Waits for an answer until the time is up. One time for all of it: a peer that answers each message late, or without end,
/// keeps no other from being asked.
///
/// # Errors
/// What kept the peer from answering, in words.
pub(super) async fn in_time(
    asking: impl Future<Output = Result<u32, String>>,
    time_is_up: impl Future<Output = ()>,
) -> Result<u32, String> {
    tokio::select! {
        biased;
        answer = asking => answer,
        () = time_is_up => Err("it did not answer in time".to_owned()),
    }
}

/// What a match says of `series`: a peer that does not look at the UID answers for every series of the study.
fn counted(answer: &DataSet, series: &SeriesInstanceUid) -> Option<u32> {
    let of = answer.uid(tags::SERIES_INSTANCE_UID, SeriesInstanceUid::parse).ok()?;
    let number = answer.integer(tags::NUMBER_OF_SERIES_RELATED_INSTANCES).filter(|_| of == *series)?;
    u32::try_from(number).ok()
}

fn identifier(study: &StudyInstanceUid, series: &SeriesInstanceUid) -> DataSet {
    let mut identifier = DataSet::new();
    identifier.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, "SERIES");
    identifier.put_uid(tags::STUDY_INSTANCE_UID, study.as_str());
    identifier.put_uid(tags::SERIES_INSTANCE_UID, series.as_str());
    identifier.put_text(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, "");
    identifier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_another_series_is_none() {
        let (one, other) = (SeriesInstanceUid::parse("1.2.3").unwrap(), SeriesInstanceUid::parse("1.2.4").unwrap());
        let mut answer = identifier(&StudyInstanceUid::parse("1.2").unwrap(), &one);
        answer.put_text(tags::NUMBER_OF_SERIES_RELATED_INSTANCES, VR::IS, "50");
        assert_eq!((counted(&answer, &one), counted(&answer, &other)), (Some(50), None));
    }

    #[tokio::test]
    async fn a_peer_whose_answer_never_ends_is_given_up_when_the_time_is_up() {
        let (time, is_up) = tokio::sync::oneshot::channel();
        let mut time = Some(time);
        let mut messages = 0;
        let endless = async {
            loop {
                messages += 1;
                if messages == 1000 {
                    time.take().unwrap().send(()).unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        let given_up = in_time(endless, async { is_up.await.unwrap() });
        let given_up = tokio::time::timeout(std::time::Duration::from_secs(20), given_up).await.expect("it ends");
        assert_eq!(given_up, Err("it did not answer in time".to_owned()));
        assert_eq!(in_time(async { Ok(7) }, std::future::ready(())).await, Ok(7), "an answer in time counts");
    }

    #[tokio::test]
    async fn a_question_that_ends_unexpectedly_is_no_answer_and_can_be_asked_again() {
        let (mut counts, series) = (Counts::default(), SeriesKey::made_up(7));
        counts.ask(series, Timestamp(1_000), || async { panic!("while asking") });
        counts.answered().await;
        assert_eq!(counts.of(series), Some((0, Timestamp(1_000))));
        counts.ask(series, Timestamp(2_000), || async { 3 });
        counts.answered().await;
        assert_eq!(counts.of(series), Some((3, Timestamp(2_000))));
    }

    #[tokio::test]
    async fn so_many_questions_are_under_way_and_no_more() {
        let mut counts = Counts::default();
        let (answer, wait) = tokio::sync::watch::channel(());
        let mut begun = Vec::new();
        for series in 0..12 {
            let mut wait = wait.clone();
            counts.ask(SeriesKey::made_up(series), Timestamp(1_000), || {
                begun.push(series);
                async move { wait.changed().await.map_or(0, |()| 5) }
            });
        }
        assert_eq!(begun, [0, 1, 2, 3, 4, 5, 6, 7], "none of them is answered yet");
        answer.send(()).unwrap();
        for _ in &begun {
            counts.answered().await;
        }
        assert!(begun.iter().all(|series| counts.of(SeriesKey::made_up(*series)) == Some((5, Timestamp(1_000)))));
        counts.ask(SeriesKey::made_up(8), Timestamp(2_000), || async { 6 });
        counts.answered().await;
        assert_eq!(counts.of(SeriesKey::made_up(8)), Some((6, Timestamp(2_000))), "a later look asks");
    }

    #[tokio::test]
    async fn an_answer_counts_from_when_it_was_asked_for() {
        let mut counts = Counts::default();
        let (answer, wait) = tokio::sync::oneshot::channel();
        counts.ask(SeriesKey::made_up(7), Timestamp(1_000), || async { wait.await.unwrap_or(0) });
        counts.ask(SeriesKey::made_up(7), Timestamp(1_050), || async { 0 });
        // Fifty instances were there when it was asked; one more comes before the answer does.
        answer.send(50).unwrap();
        counts.answered().await;
        assert_eq!(counts.of(SeriesKey::made_up(7)), Some((50, Timestamp(1_000))));
    }
}
