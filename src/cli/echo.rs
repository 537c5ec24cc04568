//! `overread echo`: is the peer there, and does it know us?

use std::time::Instant;

use super::{Caller, exit, print, say};
use crate::association::Timers;
use crate::association::requestor::{ContextProposal, PeerAddress, Requestor};
use crate::dicom::status::Status;
use crate::dicom::uid::{SopClassUid, TransferSyntaxUid};

/// Ask a peer for a sign of life (C-ECHO)
#[derive(Debug, clap::Args)]
pub(super) struct Echo {
    /// Whom: AE title, host and port of the peer
    #[arg(long, value_name = "AE@HOST:PORT")]
    to: PeerAddress,
    #[command(flatten)]
    caller: Caller,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Calls and says how it went.
pub(super) async fn echo(arguments: Echo) -> u8 {
    let started = Instant::now();
    match call(&arguments.to, &arguments.caller, &Timers::default()).await {
        Ok((status, implementation)) => {
            let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
            if arguments.json {
                print(format_args!(
                    "{}",
                    serde_json::json!({
                        "peer": arguments.to.to_string(), "status": status.0,
                        "implementation": implementation, "milliseconds": milliseconds,
                    })
                ));
            } else {
                print(format_args!("{}: {status} in {milliseconds:.1} ms, {implementation}", arguments.to));
            }
            if status == Status::SUCCESS { exit::DONE } else { exit::FAILED }
        }
        Err(why) => {
            say(format_args!("{}: {why}", arguments.to));
            exit::FAILED
        }
    }
}

/// One C-ECHO: its status and who made the peer.
pub(super) async fn call(to: &PeerAddress, caller: &Caller, timers: &Timers) -> Result<(Status, String), String> {
    let proposal = ContextProposal {
        abstract_syntax: SopClassUid::verification(),
        transfer_syntaxes: vec![TransferSyntaxUid::implicit_le()],
    };
    let mut association =
        Requestor::connect(to, &caller.calling, &[proposal], timers).await.map_err(|e| e.to_string())?;
    let implementation = association.implementation().to_owned();
    match association.echo().await {
        Ok(response) => {
            // The answer is here: how the association ends changes nothing.
            let _ = association.release().await;
            Ok((response.status, implementation))
        }
        Err(error) => {
            association.abort().await;
            Err(error.to_string())
        }
    }
}
