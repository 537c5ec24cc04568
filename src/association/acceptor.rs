//! The side that is called.

use std::net::SocketAddr;

use dicom_ul::pdu::Pdu;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::{Abort, AssociationError, Rejection};
use super::hosts::KnownHosts;
use super::negotiation::{AcceptorPolicy, AssociationRequest, Decision, decide, printable};
use super::stream::{Arrival, Expect, PduStream};
use super::timers::{Expired, Timers};
use super::{Association, unexpected};

/// An association that was accepted.
pub struct Accepted<S, P> {
    /// The association.
    pub association: Association<S>,
    /// What the peer asked for.
    pub request: AssociationRequest,
    /// What `admit` gave.
    pub admission: P,
}

/// Reads the association request that must come now and answers it.
///
/// `known` keeps what the names of hosts stand for from one call to the next. `admit` is asked when the policy has nothing against the caller: it counts associations and may say that there are
/// enough. The peer has been told when an error is returned.
///
/// # Errors
/// [`AssociationError::Refused`] with the rejection that was sent; or why there was no request to answer.
pub async fn accept<S, P>(
    stream: S,
    peer: SocketAddr,
    policy: &AcceptorPolicy,
    known: &KnownHosts,
    timers: &Timers,
    admit: impl FnOnce(&AssociationRequest) -> Result<P, Rejection>,
) -> Result<Accepted<S, P>, AssociationError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut link = PduStream::new(stream, timers);
    let pdu = match link.next(Expect::Request, policy.max_pdu).await {
        Ok(Arrival::Pdu(Pdu::AssociationRQ(pdu))) => Ok(pdu),
        Ok(Arrival::Pdu(pdu)) => Err(unexpected(&pdu)),
        Ok(Arrival::Fragment { .. }) => Err(super::Violation::UnexpectedPdu(0x04).into()),
        Err(error) => Err(error),
    };
    let pdu = match pdu {
        Ok(pdu) => pdu,
        Err(error) => return Err(turn_away(link, error, timers).await),
    };
    let request = match AssociationRequest::read(&pdu, peer) {
        Ok(request) => request,
        Err(violation) => return Err(turn_away(link, violation.into(), timers).await),
    };
    let decision = match request {
        Err(rejection) => Err(rejection),
        Ok(request) => {
            let hosts = known.look_up(policy.host_names(&request.calling_ae_title), peer.ip()).await;
            match decide(&request, policy, &hosts) {
                Decision::Reject(rejection) => Err(rejection),
                Decision::Accept { contexts, answer } => {
                    admit(&request).map(|admission| (request, contexts, answer, admission))
                }
            }
        }
    };
    let (request, contexts, answer, admission) = match decision {
        Ok(accepted) => accepted,
        Err(rejection) => {
            link.reject(rejection.to_pdu(), timers.artim).await;
            return Err(AssociationError::Refused {
                rejection,
                calling_ae_title: printable(&pdu.calling_ae_title),
                called_ae_title: printable(&pdu.called_ae_title),
            });
        }
    };
    link.push(&Pdu::AssociationAC(answer))?;
    link.flush().await?;
    let waits = (timers.idle, Expired::Idle);
    let association = Association::new(link, contexts, policy.max_pdu, request.max_pdu, *timers, waits)?;
    Ok(Accepted { association, request, admission })
}

/// Ends a connection that is no association yet: whatever is wrong is answered as the service user (PS3.8 table 9-10,
/// Sta2, action AA-1).
async fn turn_away<S>(link: PduStream<S>, error: AssociationError, timers: &Timers) -> AssociationError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if error.abort().is_some() {
        link.abort(Abort::SERVICE_USER, timers.artim).await;
    }
    error
}
