//! `overread resend`: deliveries that are dead, or a study's results, go into the outbox again.

use super::{WithConfig, exit, load_config, print, say};
use crate::clock::Clock;
use crate::dicom::uid::StudyInstanceUid;
use crate::store::{Resend as What, Store};

/// Send results again: all deliveries that are dead, or every result of a study
#[derive(Debug, clap::Args)]
pub(super) struct Resend {
    #[command(flatten)]
    config: WithConfig,
    /// All deliveries that were given up
    #[arg(long, conflicts_with = "study", required_unless_present = "study")]
    dead: bool,
    /// All results of this study, delivered ones as well: its UID or accession number
    #[arg(value_name = "UID-OR-ACCESSION")]
    study: Option<String>,
}

/// Puts them into the outbox; a running node sends them within seconds, else the next one does.
pub(super) async fn resend(arguments: Resend) -> u8 {
    let Some(config) = load_config(&arguments.config) else { return exit::FAILED };
    let again = async {
        let store = Store::open_beside(&config.node.data, Clock::System).await?;
        let mut count = 0;
        match &arguments.study {
            None => count += store.resend(&What::Dead, Clock::System.now()).await?,
            Some(name) => {
                for study in store.why(name).await? {
                    if let Ok(uid) = StudyInstanceUid::parse(&study.study_instance_uid) {
                        count += store.resend(&What::Study(uid), Clock::System.now()).await?;
                    }
                }
            }
        }
        Ok::<u64, crate::store::StoreError>(count)
    };
    match again.await {
        Ok(0) => {
            say(format_args!("nothing to send again"));
            exit::NOTHING
        }
        Ok(count) => {
            print(format_args!("{count} deliveries are pending again"));
            exit::DONE
        }
        Err(error) => {
            say(format_args!("{error}"));
            exit::FAILED
        }
    }
}
