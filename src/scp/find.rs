//! C-FIND of the Query/Retrieve service class (PS3.4 annex C): reads the identifier, asks the index, answers in pages.
//!
//! Relational queries, fuzzy matching of names and combined date-time matching are not negotiated.

mod answer;
mod identifier;
mod value;

use std::future::Future;
use std::pin::{Pin, pin};

use futures_util::future::{MaybeDone, maybe_done};
use tokio::select;

use crate::dicom::Tag;
use crate::dicom::data_set::DataSet;
use crate::dicom::encode::Layout;
use crate::dicom::status::Status;
use crate::store::{Match, Matches, Page, Store, StoreError};

pub use answer::Answer;
pub use identifier::{Content, Key, Model, Question, Refusal, read};
pub use value::ValueError;

/// A C-FIND request, as far as the answer depends on it.
#[derive(Debug, Clone, Copy)]
pub struct FindRequest<'a> {
    /// By its SOP class.
    pub model: Model,
    /// Its data set.
    pub identifier: &'a DataSet,
    /// Of the presentation context.
    pub layout: Layout,
}

/// Where pending responses go.
pub trait PendingResponses {
    /// What ends the association.
    type Error;

    /// Takes a pending response; it may wait for the next [`flush`](Self::flush) or for the last response.
    fn push(&mut self, status: Status, identifier: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Sends what waits.
    fn flush(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the peer has sent C-CANCEL for this request, without waiting for one.
    fn is_cancelled(&mut self) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Waits until the peer sends C-CANCEL for this request, or leaves. Giving up the wait loses nothing.
    fn cancelled(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What the last response says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Success, cancel, or why there are no answers.
    pub status: Status,
    /// Offending Element (0000,0901).
    pub offending: Option<Tag>,
    /// Error Comment (0000,0902), at most 64 characters.
    pub comment: Option<String>,
    /// How many pending responses went before it.
    pub matches: usize,
}

impl Ended {
    fn with(status: Status, matches: usize) -> Self {
        Self { status, offending: None, comment: None, matches }
    }
}

/// Sends the matches of a request, then gives what the last response must say.
///
/// # Errors
/// What ended the association.
pub async fn find<R: PendingResponses>(
    store: &Store,
    request: FindRequest<'_>,
    responses: &mut R,
) -> Result<Ended, R::Error> {
    let question = match read(request.model, request.identifier) {
        Ok(question) => question,
        Err(Refusal { status, offending, comment }) => {
            return Ok(Ended { status, offending, comment: Some(comment), matches: 0 });
        }
    };
    let set = request.identifier.character_set();
    let answers = Answers {
        answer: Answer::new(&question, set, request.layout),
        status: if question.all_keys_supported { Status::PENDING } else { Status::PENDING_KEYS_UNSUPPORTED },
    };
    answers.send_all(store.find(&question.query), responses).await
}

/// How the matches of one request are answered.
struct Answers {
    answer: Answer,
    status: Status,
}

impl Answers {
    /// The next page is read while the peer takes the one before; whether it cancels or leaves is looked for while nothing
    /// can be sent, and between pages. The last page may wait for the last response, so that a single match and it leave
    /// in one write.
    async fn send_all<R: PendingResponses>(&self, mut matches: Matches, responses: &mut R) -> Result<Ended, R::Error> {
        let mut sent = 0;
        let mut awaited = awaited(pin!(maybe_done(matches.next_page())), responses).await?;
        loop {
            let page = match awaited {
                Awaited::Page(Ok(Some(page))) => page,
                Awaited::Page(Ok(None)) => return Ok(Ended::with(Status::SUCCESS, sent)),
                Awaited::Page(Err(error)) => return Ok(failed(&error, sent)),
                Awaited::Cancelled => return Ok(Ended::with(Status::CANCEL, sent)),
            };
            let found = match page.matches() {
                Ok(found) => found,
                Err(error) => return Ok(failed(&error, sent)),
            };
            let mut next = pin!(maybe_done(matches.next_page()));
            beside(self.send(&found, responses), next.as_mut()).await?;
            sent += found.len();
            if matches!(next.as_mut().output_mut(), Some(Ok(None))) {
                return Ok(Ended::with(Status::SUCCESS, sent));
            }
            responses.flush().await?;
            if responses.is_cancelled().await? {
                return Ok(Ended::with(Status::CANCEL, sent));
            }
            awaited = self::awaited(next, responses).await?;
        }
    }

    async fn send<R: PendingResponses>(&self, found: &[Match<'_>], responses: &mut R) -> Result<(), R::Error> {
        let mut identifier = Vec::with_capacity(512);
        for found in found {
            identifier.clear();
            self.answer.write(found, &mut identifier);
            responses.push(self.status, &identifier).await?;
        }
        Ok(())
    }
}

/// What came first.
enum Awaited {
    Page(Result<Option<Page>, StoreError>),
    Cancelled,
}

/// Waits for a page as long as the peer does.
async fn awaited<R, F>(mut page: Pin<&mut MaybeDone<F>>, responses: &mut R) -> Result<Awaited, R::Error>
where
    R: PendingResponses,
    F: Future<Output = Result<Option<Page>, StoreError>>,
{
    select! {
        biased;
        () = page.as_mut() => Ok(Awaited::Page(page.take_output().unwrap_or(Ok(None)))),
        cancelled = responses.cancelled() => cancelled.map(|()| Awaited::Cancelled),
    }
}

/// Does one thing while the other may go on, which is begun at least.
async fn beside<T>(one: impl Future<Output = T>, other: Pin<&mut impl Future<Output = ()>>) -> T {
    let mut one = pin!(one);
    select! {
        biased;
        () = other => {}
        done = &mut one => return done,
    }
    one.await
}

fn failed(error: &StoreError, matches: usize) -> Ended {
    let refused = match error {
        error if error.is_busy() => Some("too many queries at a time"),
        StoreError::TooLong(_) => Some("the query takes too long"),
        StoreError::Closed => Some("the node is stopping"),
        _ => None,
    };
    if let Some(comment) = refused {
        tracing::warn!(%error, "a query is refused: {comment}");
        return Ended { comment: Some(comment.to_owned()), ..Ended::with(Status::OUT_OF_RESOURCES, matches) };
    }
    tracing::error!(%error, "a query could not be answered");
    let comment = Some("the index cannot be read".to_owned());
    Ended { comment, ..Ended::with(Status::CANNOT_UNDERSTAND, matches) }
}
