//! Storage (PS3.4 annex B): a data set out of the association into the store, byte for byte.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::conversation::{Caller, Tally};
use super::listener::Shared;
use super::refusal::Refusal;
use crate::association::{AcceptedContext, Association, AssociationError};
use crate::dicom::command::{Request, Response, StoreRequest};
use crate::dicom::scan::Scanner;
use crate::dicom::status::Status;
use crate::dicom::transfer_syntax::Encoding;
use crate::store::{IncomingFile, NewInstance, Reception, Recorded, StoredInstance};

/// Serves a C-STORE. What is refused may have left some of its data set unread.
pub(super) async fn store<S>(
    association: &mut Association<S>,
    context: &Arc<AcceptedContext>,
    request: &Request,
    store: &StoreRequest,
    caller: &Caller,
    shared: &Shared,
    tally: &mut Tally,
) -> Result<Result<Response, Refusal>, AssociationError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if !request.has_data_set {
        return Ok(Err(Refusal::NoDataSet));
    }
    let instance = NewInstance {
        sop_class_uid: store.sop_class.clone(),
        sop_instance_uid: store.sop_instance.clone(),
        transfer_syntax_uid: context.transfer_syntax().clone(),
        calling_ae_title: caller.request.calling_ae_title.clone(),
    };
    let mut arriving = match shared.store.begin_instance(instance) {
        Ok(file) => Arriving::new(file, Encoding::of(context.transfer_syntax()), shared.options.max_instance_bytes),
        Err(error) => return Ok(Err(error.into())),
    };
    loop {
        let room = match arriving.file.room().await {
            Ok(room) => room,
            Err(error) => return Ok(Err(error.into())),
        };
        let count = association.next_data_into(room).await?;
        if count == 0 {
            break;
        }
        if let Err(refusal) = arriving.take(count) {
            return Ok(Err(refusal));
        }
    }
    let bytes = arriving.bytes;
    let recorded = arriving.record(caller, shared).await;
    Ok(recorded.map(|recorded| {
        tally.instances += 1;
        tally.bytes += bytes;
        answer(request, &recorded)
    }))
}

/// A data set on its way in.
struct Arriving {
    file: IncomingFile,
    scanner: Scanner,
    bytes: u64,
    limit: u64,
}

impl Arriving {
    fn new(file: IncomingFile, encoding: Encoding, limit: u64) -> Self {
        Self { file, scanner: Scanner::new(encoding), bytes: 0, limit }
    }

    /// Looks at the bytes that came last.
    fn take(&mut self, count: usize) -> Result<(), Refusal> {
        let bytes = self.file.filled(count);
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            return Err(Refusal::TooLong(self.limit));
        }
        Ok(self.scanner.feed(bytes)?)
    }

    async fn record(self, caller: &Caller, shared: &Shared) -> Result<Recorded, Refusal> {
        let header = self.scanner.finish()?;
        let reception = Reception {
            header: &header,
            association_id: &caller.association_id,
            peer_address: caller.request.peer,
            received_at: shared.clock.now(),
        };
        Ok(shared.store.record_instance(self.file, reception).await?)
    }
}

fn answer(request: &Request, recorded: &Recorded) -> Response {
    match recorded {
        Recorded::Stored(instance) | Recorded::Duplicate(instance) => success(request, instance),
        Recorded::KeptAside(_) => Response::to(request, Status::COERCION_OF_DATA_ELEMENTS)
            .with_comment("SOP Instance UID is in use for other content; kept aside"),
    }
}

/// The only success that a C-STORE is answered with: whoever says it holds an instance that the store made durable.
fn success(request: &Request, _durable: &StoredInstance) -> Response {
    Response::to(request, Status::SUCCESS)
}
