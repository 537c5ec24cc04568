//! `overread find`: what does a peer have?

use super::query::{Key, Level, identifier, json, table};
use super::{Caller, exit, print, say};
use crate::association::Timers;
use crate::association::requestor::{ContextProposal, FindResponse, PeerAddress, Requestor};
use crate::dicom::data_set::DataSet;
use crate::dicom::status::{Category, Status};
use crate::dicom::uid::SopClassUid;

/// Ask a peer what it has (C-FIND, Study Root)
#[derive(Debug, clap::Args)]
pub(super) struct Find {
    /// Whom: AE title, host and port of the peer
    #[arg(long, value_name = "AE@HOST:PORT")]
    to: PeerAddress,
    #[command(flatten)]
    caller: Caller,
    /// What an answer stands for
    #[arg(long, value_enum, default_value = "study", ignore_case = true)]
    level: Level,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// At most so many answers; then the query is cancelled
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Keywords or tags, with a value to match or none to be told it: PatientID=4711 StudyDate=20260101- PatientName=DOE*
    #[arg(value_name = "KEY=VALUE")]
    keys: Vec<Key>,
}

/// Asks and prints the answers.
pub(super) async fn find(arguments: Find) -> u8 {
    let asked = identifier(arguments.level, &arguments.keys);
    match ask(&arguments, &asked).await {
        Ok((answers, status)) => {
            if arguments.json {
                for answer in &answers {
                    print(format_args!("{}", json(answer)));
                }
            } else if !answers.is_empty() {
                print(format_args!("{}", table(&asked, &answers).trim_end()));
            }
            let cut_short = arguments.limit.is_some() && status.category() == Category::Cancel;
            if status != Status::SUCCESS && !cut_short {
                say(format_args!("{}: {status}", arguments.to));
                exit::FAILED
            } else if answers.is_empty() {
                say(format_args!("nothing found"));
                exit::NOTHING
            } else {
                exit::DONE
            }
        }
        Err(why) => {
            say(format_args!("{}: {why}", arguments.to));
            exit::FAILED
        }
    }
}

async fn ask(arguments: &Find, asked: &DataSet) -> Result<(Vec<DataSet>, Status), String> {
    let (proposals, caller) = ([ContextProposal::study_root_find()], &arguments.caller.calling);
    let mut association =
        Requestor::connect(&arguments.to, caller, &proposals, &Timers::default()).await.map_err(|e| e.to_string())?;
    let mut answers = Vec::new();
    let mut last = Status::SUCCESS;
    let mut responses = association.find(&SopClassUid::study_root_find(), asked).await.map_err(|e| e.to_string())?;
    while let Some(response) = responses.next().await.map_err(|e| e.to_string())? {
        match response {
            FindResponse::Match(answer) => {
                let room = arguments.limit.is_none_or(|limit| answers.len() < limit);
                if room {
                    answers.push(answer);
                    if arguments.limit == Some(answers.len()) {
                        responses.cancel().await.map_err(|e| e.to_string())?;
                    }
                }
            }
            FindResponse::Final(response) => {
                last = response.status;
                if let Some(comment) = response.comment {
                    say(format_args!("the peer says: {comment}"));
                }
            }
        }
    }
    // All answers are here: how the association ends changes nothing.
    let _ = association.release().await;
    Ok((answers, last))
}
