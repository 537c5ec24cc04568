//! One association from its request to its end, and the log's line about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use super::listener::{Shared, Stopping};
use super::refusal::Refusal;
use super::{query, storage, verification};
use crate::association::acceptor::{Accepted, accept};
use crate::association::{
    Abort, AcceptedContext, Association, AssociationError, AssociationRequest, Expired, Received, Violation,
};
use crate::clock::milliseconds;
use crate::dicom::command::{Command, CommandError, Operation, Request, RequestBody, Response};
use crate::dicom::sop_class::Service;
use crate::dicom::status::{Category, Status};

/// During a shutdown, an association that asks for nothing for so long has nothing under way.
const LULL: Duration = Duration::from_secs(1);

/// Who is at the other end, for everything that is done for it.
pub(super) struct Caller {
    /// Of this association, unique over restarts.
    pub(super) association_id: String,
    pub(super) request: AssociationRequest,
}

/// What was done in an association.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) instances: u64,
    pub(super) refused: u64,
    pub(super) bytes: u64,
}

enum End {
    Released,
    ShutDown,
    Failed(AssociationError),
}

/// Serves one peer.
pub(super) async fn converse<S>(stream: S, peer: SocketAddr, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let begun = Instant::now();
    let Shared { options, .. } = shared;
    let accepted = accept(stream, peer, &options.policy, &shared.hosts, &options.timers, |_| shared.admit()).await;
    let Accepted { mut association, request, admission } = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return log_refusal(peer, &error),
    };
    let caller = Caller { association_id: uuid::Uuid::new_v4().to_string(), request };
    let mut tally = Tally::default();
    let end = serve(&mut association, &caller, shared, &mut tally).await;
    log_end(&caller, &tally, &end, begun.elapsed());
    note_end(&caller, &tally, &end, shared).await;
    // A peer that leaves its socket open after its last word takes no place from others.
    drop(admission);
    match end {
        End::Released => {
            if let Err(error) = association.answer_release().await {
                tracing::debug!(association.id = caller.association_id, %error, "the release was not taken");
            }
        }
        End::ShutDown => association.abort(Abort::SERVICE_USER).await,
        End::Failed(error) => association.end(&error).await,
    }
}

/// A release says that the sender is through with its series; an abort says nothing of the kind.
async fn note_end(caller: &Caller, tally: &Tally, end: &End, shared: &Shared) {
    if tally.instances == 0 {
        return;
    }
    let (store, id, now) = (&shared.store, &caller.association_id, shared.clock.now());
    let noted = match end {
        End::Released => store.association_released(id, now).await,
        End::ShutDown | End::Failed(_) => store.association_broken(id, now).await,
    };
    if let Err(error) = noted {
        tracing::error!(association.id = id, %error, "the end of the association could not be recorded");
    }
}

async fn serve<S>(association: &mut Association<S>, caller: &Caller, shared: &Shared, tally: &mut Tally) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    loop {
        let received = tokio::select! {
            biased;
            received = association.receive() => received,
            () = time_to_go(&shared.stopping) => return End::ShutDown,
        };
        let done = match received {
            Ok(Received::ReleaseRequest) => return End::Released,
            Ok(Received::Command { context, command }) => {
                tally.messages += 1;
                answer(association, &context, command, caller, shared, tally).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            return End::Failed(error);
        }
        if shared.stopping.drained.is_cancelled() {
            return End::ShutDown;
        }
    }
}

/// While the node runs, never.
async fn time_to_go(stopping: &Stopping) {
    stopping.begun.cancelled().await;
    tokio::select! {
        () = sleep(LULL) => {}
        () = stopping.drained.cancelled() => {}
    }
}

/// Does what a command asks for and answers it.
async fn answer<S>(
    association: &mut Association<S>,
    context: &Arc<AcceptedContext>,
    command: Result<Command, CommandError>,
    caller: &Caller,
    shared: &Shared,
    tally: &mut Tally,
) -> Result<(), AssociationError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let request = match command {
        Ok(Command::Request(request)) => request,
        Ok(Command::Response(_)) => {
            return Err(Violation::Message("a response came, and nothing was asked").into());
        }
        Err(error) => {
            let Some(to) = &error.answer else { return Err(Violation::Command(error.to_string()).into()) };
            tracing::warn!(association.id = caller.association_id, %error, "a command is refused");
            tally.refused += 1;
            association.skip_data().await?;
            let refusal = Refusal::Command(error.problem.clone());
            let response = refusal.answer(Response::to_answerable(to, Status::PROCESSING_FAILURE));
            return association.send(context, &response.into(), None).await;
        }
    };
    let response = match serve_request(association, context, &request, caller, shared, tally).await? {
        Ok(Some(response)) => response,
        Ok(None) => return Ok(()),
        Err(refusal) => {
            tracing::warn!(
                association.id = caller.association_id,
                operation = ?request.body.operation(),
                %refusal,
                "a request is refused"
            );
            association.skip_data().await?;
            refusal.answer(Response::to(&request, Status::PROCESSING_FAILURE))
        }
    };
    tally.refused += u64::from(response.status.category() == Category::Failure);
    association.send(context, &response.into(), None).await
}

/// The answer to a request; none to a C-CANCEL, whose request has ended already.
async fn serve_request<S>(
    association: &mut Association<S>,
    context: &Arc<AcceptedContext>,
    request: &Request,
    caller: &Caller,
    shared: &Shared,
    tally: &mut Tally,
) -> Result<Result<Option<Response>, Refusal>, AssociationError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let operation = request.body.operation();
    if operation == Operation::Cancel {
        association.skip_data().await?;
        return Ok(Ok(None));
    }
    let expected = match &request.body {
        RequestBody::Echo { .. } => Service::Verification,
        RequestBody::Store(_) => Service::Storage,
        RequestBody::Find { .. } => Service::Query,
        RequestBody::Cancel | RequestBody::Other { .. } => return Ok(Err(Refusal::Operation(operation))),
    };
    let fits = request.body.sop_class() == Some(context.abstract_syntax());
    if !fits || Service::of(context.abstract_syntax()) != Some(expected) {
        return Ok(Err(Refusal::SopClass));
    }
    Ok(match &request.body {
        RequestBody::Store(store) => {
            storage::store(association, context, request, store, caller, shared, tally).await?.map(Some)
        }
        RequestBody::Find { sop_class } => {
            query::find(association, context, request, sop_class, shared).await?.map(Some)
        }
        _ => {
            association.skip_data().await?;
            Ok(Some(verification::echo(request)))
        }
    })
}

/// One line for each association at its end.
fn log_end(caller: &Caller, tally: &Tally, end: &End, duration: Duration) {
    let request = &caller.request;
    let ended: &dyn std::fmt::Display = match end {
        End::Released => &"released",
        End::ShutDown => &"shutdown",
        End::Failed(error) => error,
    };
    tracing::info!(
        association.id = caller.association_id,
        peer.ae_title = %request.calling_ae_title,
        peer.address = %request.peer,
        peer.implementation = request.implementation_version_name,
        messages = tally.messages,
        instances = tally.instances,
        refused = tally.refused,
        bytes = tally.bytes,
        duration_ms = milliseconds(duration),
        ended = %ended,
        "association"
    );
}

fn log_refusal(peer: SocketAddr, error: &AssociationError) {
    match error {
        // Monitors that only look whether the port is open.
        AssociationError::Closed | AssociationError::Io(_) | AssociationError::Expired(Expired::Artim) => {
            tracing::debug!(peer.address = %peer, %error, "no association");
        }
        error => tracing::warn!(peer.address = %peer, %error, "no association"),
    }
}
