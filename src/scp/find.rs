//! C-FIND of the Query/Retrieve service class (PS3.4 annex C): reads the identifier, asks the index, answers in pages.
//!
//! Relational queries, fuzzy matching of names and combined date-time matching are not negotiated.

mod answer;
mod identifier;
mod value;

use std::future::Future;

use tokio::join;

use crate::dicom::Tag;
use crate::dicom::ae::AeTitle;
use crate::dicom::data_set::DataSet;
use crate::dicom::encode::Layout;
use crate::dicom::status::Status;
use crate::store::{Matches, Page, Store, StoreError};

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
    /// Where matches can be retrieved from: this node.
    pub retrieve_ae_title: &'a AeTitle,
    /// Of the presentation context.
    pub layout: Layout,
}

/// Where pending responses go.
pub trait PendingResponses {
    /// What ends the association.
    type Error;

    /// Queues a pending response; sends it with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// When the response cannot be put into PDUs.
    fn push(&mut self, status: Status, identifier: &[u8]) -> Result<(), Self::Error>;

    /// Sends what is queued.
    fn flush(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the peer has sent C-CANCEL for this request, without waiting for one.
    fn is_cancelled(&mut self) -> impl Future<Output = Result<bool, Self::Error>> + Send;
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
    let answer = Answer::new(&question, set, request.retrieve_ae_title, request.layout);
    let status = if question.all_keys_supported { Status::PENDING } else { Status::PENDING_KEYS_UNSUPPORTED };
    let mut sent = Sent { answer, status, matches: 0, identifier: Vec::with_capacity(1024) };
    send_all(store.find(&question.query), &mut sent, responses).await
}

/// The next page is read while the peer takes the one before.
async fn send_all<R: PendingResponses>(
    mut matches: Matches,
    sent: &mut Sent,
    responses: &mut R,
) -> Result<Ended, R::Error> {
    let mut page = matches.next_page().await;
    loop {
        match page.and_then(|page| page.map(|page| sent.push(&page, responses)).transpose()) {
            Ok(None) => return Ok(Ended::with(Status::SUCCESS, sent.matches)),
            Ok(Some(pushed)) => pushed?,
            Err(error) => return Ok(failed(&error, sent.matches)),
        }
        let (flushed, next) = join!(responses.flush(), matches.next_page());
        flushed?;
        page = next;
        if responses.is_cancelled().await? {
            return Ok(Ended::with(Status::CANCEL, sent.matches));
        }
    }
}

fn failed(error: &StoreError, matches: usize) -> Ended {
    tracing::error!(%error, "a query could not be answered");
    let comment = Some("the index cannot be read".to_owned());
    Ended { comment, ..Ended::with(Status::CANNOT_UNDERSTAND, matches) }
}

/// The answers so far.
struct Sent {
    answer: Answer,
    status: Status,
    matches: usize,
    identifier: Vec<u8>,
}

impl Sent {
    fn push<R: PendingResponses>(&mut self, page: &Page, responses: &mut R) -> Result<Result<(), R::Error>, StoreError> {
        for found in &page.matches()? {
            self.identifier.clear();
            self.answer.write(found, &mut self.identifier);
            if let Err(error) = responses.push(self.status, &self.identifier) {
                return Ok(Err(error));
            }
            self.matches += 1;
        }
        Ok(Ok(()))
    }
}
