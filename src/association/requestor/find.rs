//! C-FIND as SCU (PS3.4 section C.4.1): responses one by one, until the last or until cancelled.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::Collected;
use super::super::error::{AssociationError, Violation};
use super::super::negotiation::AcceptedContext;
use super::{RequestError, Requestor};
use crate::dicom::command::{Operation, Request, RequestBody, Response};
use crate::dicom::data_set::DataSet;
use crate::dicom::encode::{Layout, encode};
use crate::dicom::parse::parse;
use crate::dicom::status::Category;
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::SopClassUid;

/// The longest identifier that is read: real ones stay below 10 kB.
const MAX_IDENTIFIER: usize = 4 * 1024 * 1024;

/// What a C-FIND brings.
#[derive(Debug, Clone, PartialEq)]
pub enum FindResponse {
    /// A match; more may follow.
    Match(DataSet),
    /// The last response: success, cancelled, or why not.
    Final(Response),
}

/// The responses to a C-FIND. They must be read to the final one before the association can be used for anything else.
pub struct FindResponses<'a, S> {
    requestor: &'a mut Requestor<S>,
    context: Arc<AcceptedContext>,
    message_id: u16,
    finished: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Requestor<S> {
    /// C-FIND (PS3.7 section 9.1.2) in an information model.
    ///
    /// # Errors
    /// [`RequestError`] when it could not be asked.
    pub async fn find(
        &mut self,
        model: &SopClassUid,
        identifier: &DataSet,
    ) -> Result<FindResponses<'_, S>, RequestError> {
        let context = self.context_for(model)?;
        let layout = match Encoding::of(&context.transfer_syntax) {
            Encoding::ExplicitLe => Layout::ExplicitLe,
            Encoding::ImplicitLe => Layout::ImplicitLe,
            Encoding::ExplicitBe | Encoding::DeflatedExplicitLe => {
                let transfer_syntax = context.transfer_syntax.to_string();
                return Err(RequestError::NoContext { abstract_syntax: model.clone(), transfer_syntax });
            }
        };
        let message_id = self.next_message_id();
        let body = RequestBody::Find { sop_class: model.clone() };
        let request = Request { message_id, body, has_data_set: true };
        self.association.send(&context, &request.into(), Some(&encode(identifier, layout))).await?;
        Ok(FindResponses { requestor: self, context, message_id, finished: false })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FindResponses<'_, S> {
    /// The next response; nothing after the final one.
    ///
    /// # Errors
    /// The association is over.
    pub async fn next(&mut self) -> Result<Option<FindResponse>, AssociationError> {
        if self.finished {
            return Ok(None);
        }
        let response = self.requestor.response(Operation::Find, self.message_id).await?;
        let data_set = match self.requestor.association.collect_data(MAX_IDENTIFIER).await? {
            Collected::Whole(bytes) => bytes,
            Collected::TooLong => return Err(Violation::Message("an identifier is too long").into()),
        };
        if response.status.category() != Category::Pending {
            self.finished = true;
            return Ok(Some(FindResponse::Final(response)));
        }
        let data_set = parse(&data_set, Encoding::of(&self.context.transfer_syntax))
            .map_err(|_| Violation::Message("an identifier cannot be read"))?;
        Ok(Some(FindResponse::Match(data_set)))
    }

    /// Asks the peer to stop (C-CANCEL). Responses that are under way still come, then the final one.
    ///
    /// # Errors
    /// The association is over.
    pub async fn cancel(&mut self) -> Result<(), AssociationError> {
        let request = Request { message_id: self.message_id, body: RequestBody::Cancel, has_data_set: false };
        self.requestor.association.send(&self.context, &request.into(), None).await
    }
}
