//! Query (PS3.4 annex C) over an association: the identifier in, responses out, C-CANCEL in between.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::find::{self, FindRequest, Model, PendingResponses};
use super::listener::Shared;
use super::refusal::Refusal;
use crate::association::{AcceptedContext, Association, AssociationError, Collected, Received, Violation};
use crate::dicom::command::{Command, Request, RequestBody, Response};
use crate::dicom::encode::Layout;
use crate::dicom::parse::parse;
use crate::dicom::status::Status;
use crate::dicom::transfer_syntax::Encoding;
use crate::dicom::uid::SopClassUid;

/// The longest identifier that is read.
const MAX_IDENTIFIER: usize = 1024 * 1024;

/// Serves a C-FIND; gives the final response.
pub(super) async fn find<S>(
    association: &mut Association<S>,
    context: &Arc<AcceptedContext>,
    request: &Request,
    sop_class: &SopClassUid,
    shared: &Shared,
) -> Result<Result<Response, Refusal>, AssociationError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Some(model) = Model::of(sop_class) else { return Ok(Err(Refusal::SopClass)) };
    if !request.has_data_set {
        return Ok(Err(Refusal::NoDataSet));
    }
    let identifier = match association.collect_data(MAX_IDENTIFIER).await? {
        Collected::Whole(bytes) => bytes,
        Collected::TooLong => return Ok(Err(Refusal::TooLong(MAX_IDENTIFIER as u64))),
    };
    let encoding = Encoding::of(context.transfer_syntax());
    let identifier = match parse(&identifier, encoding) {
        Ok(identifier) => identifier,
        Err(error) => return Ok(Err(Refusal::Identifier(error))),
    };
    let question = FindRequest {
        model,
        identifier: &identifier,
        layout: if encoding == Encoding::ImplicitLe { Layout::ImplicitLe } else { Layout::ExplicitLe },
    };
    let mut responses = Responses { association, context, request, cancelled: false };
    let ended = find::find(&shared.store, question, &mut responses).await?;
    let mut response = Response::to(request, ended.status);
    response.offending = ended.offending.into_iter().collect();
    response.comment = ended.comment;
    Ok(Ok(response))
}

/// The pending responses of one request.
struct Responses<'a, S> {
    association: &'a mut Association<S>,
    context: &'a AcceptedContext,
    request: &'a Request,
    cancelled: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> PendingResponses for Responses<'_, S> {
    type Error = AssociationError;

    async fn push(&mut self, status: Status, identifier: &[u8]) -> Result<(), AssociationError> {
        let response = Response::to(self.request, status).with_data_set();
        self.association.push(self.context, &response.into(), Some(identifier)).await
    }

    async fn flush(&mut self) -> Result<(), AssociationError> {
        self.association.flush().await
    }

    async fn is_cancelled(&mut self) -> Result<bool, AssociationError> {
        while let Some(received) = self.association.receive_now().await? {
            self.take(&received)?;
        }
        Ok(self.cancelled)
    }

    async fn cancelled(&mut self) -> Result<(), AssociationError> {
        while !self.cancelled {
            let received = self.association.receive_meanwhile().await?;
            self.take(&received)?;
        }
        Ok(())
    }
}

impl<S> Responses<'_, S> {
    /// While a query is being answered only C-CANCEL may come: a second operation takes an Asynchronous Operations Window
    /// (PS3.7 section D.3.3.3), which is never agreed to here, and a release would cut the answers off.
    fn take(&mut self, received: &Received) -> Result<(), AssociationError> {
        match received {
            Received::Command { command: Ok(Command::Request(command)), .. }
                if matches!(command.body, RequestBody::Cancel) =>
            {
                self.cancelled |= command.message_id == self.request.message_id;
                Ok(())
            }
            Received::Command { .. } => Err(Violation::Message(
                "something other than C-CANCEL came while a C-FIND was being answered, and asynchronous operations were not \
                 negotiated",
            )
            .into()),
            Received::ReleaseRequest => Err(AssociationError::Released),
        }
    }
}
