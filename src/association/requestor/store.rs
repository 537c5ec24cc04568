//! C-STORE as SCU: an instance in the encoding that the peer takes, or in another one.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Converted, OutgoingInstance, RequestError, Requestor};
use crate::association::negotiation::AcceptedContext;
use crate::dicom::command::{Operation, Request, RequestBody, Response, StoreRequest};
use crate::dicom::uid::TransferSyntaxUid;

impl<S: AsyncRead + AsyncWrite + Unpin> Requestor<S> {
    /// C-STORE (PS3.7 section 9.1.1): the data set as it is where the peer accepted its transfer syntax, else re-encoded
    /// between the uncompressed little-endian ones.
    ///
    /// # Errors
    /// [`RequestError`]; a status other than success is an answer, not an error.
    pub async fn store(&mut self, instance: &OutgoingInstance) -> Result<Response, RequestError> {
        let (context, converted) = self.store_context(instance)?;
        self.store_in(&context, instance, converted).await
    }

    /// C-STORE in Implicit VR Little Endian, which every DICOM application reads (PS3.5 section 10.1). Nothing is sent where
    /// [`Self::store`] does the same, or where the peer did not accept it.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub async fn store_implicit(&mut self, instance: &OutgoingInstance) -> Result<Option<Response>, RequestError> {
        let implicit = TransferSyntaxUid::implicit_le();
        let (first, _) = self.store_context(instance)?;
        let context = self.contexts_of(instance).find(|context| context.transfer_syntax == implicit).map(Arc::clone);
        let other = context.filter(|_| first.transfer_syntax != implicit).zip(instance.conversion_to(&implicit));
        let Some((context, converted)) = other else { return Ok(None) };
        self.store_in(&context, instance, converted).await.map(Some)
    }

    /// Where and how [`Self::store`] would send an instance.
    ///
    /// # Errors
    /// [`RequestError::NoContext`] when the peer accepted nothing that fits.
    pub fn store_context(
        &self,
        instance: &OutgoingInstance,
    ) -> Result<(Arc<AcceptedContext>, Converted), RequestError> {
        let best = self
            .contexts_of(instance)
            .filter_map(|context| Some((instance.conversion_to(&context.transfer_syntax)?, context)))
            .min_by_key(|(converted, _)| *converted);
        let (converted, context) = best.ok_or_else(|| RequestError::NoContext {
            abstract_syntax: instance.sop_class().clone(),
            transfer_syntax: instance.transfer_syntax().to_string(),
        })?;
        Ok((Arc::clone(context), converted))
    }

    fn contexts_of(&self, instance: &OutgoingInstance) -> impl Iterator<Item = &Arc<AcceptedContext>> {
        self.contexts().iter().filter(move |context| context.abstract_syntax == *instance.sop_class())
    }

    async fn store_in(
        &mut self,
        context: &AcceptedContext,
        instance: &OutgoingInstance,
        converted: Converted,
    ) -> Result<Response, RequestError> {
        let data_set = instance.data_set_for(converted)?;
        let message_id = self.next_message_id();
        let body = RequestBody::Store(StoreRequest {
            sop_class: instance.sop_class().clone(),
            sop_instance: instance.sop_instance().clone(),
            move_originator: None,
        });
        let request = Request { message_id, body, has_data_set: true };
        self.association.send(context, &request.into(), Some(&data_set)).await?;
        Ok(self.response(Operation::Store, message_id).await?)
    }
}
