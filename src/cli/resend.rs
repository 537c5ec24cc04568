//! `overread resend`: deliveries that are dead, or a study's results, go into the outbox again.

use super::{WithConfig, counted, exit, load_config, print, say};
use crate::clock::Clock;
use crate::dicom::uid::StudyInstanceUid;
use crate::store::{Resend as What, Store, StoreError};

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
        let Some(name) = &arguments.study else {
            let count = store.resend(&What::Dead, Clock::System.now()).await?;
            return Ok::<_, StoreError>((count, "no delivery is dead".to_owned()));
        };
        let studies = store.why(name).await?;
        if studies.is_empty() {
            return Ok((0, format!("nothing is known of «{name}»")));
        }
        let mut count = 0;
        for study in studies {
            if let Ok(uid) = StudyInstanceUid::parse(&study.study_instance_uid) {
                count += store.resend(&What::Study(uid), Clock::System.now()).await?;
            }
        }
        Ok((count, "of this study nothing was to be delivered: overread why says what came of it".to_owned()))
    };
    match again.await {
        Ok((0, nothing)) => {
            say(format_args!("{nothing}"));
            exit::NOTHING
        }
        Ok((count, _)) => {
            print(format_args!("{} pending again", counted(count, "delivery is", "deliveries are")));
            exit::DONE
        }
        Err(error) => {
            say(format_args!("{error}"));
            exit::FAILED
        }
    }
}
