//! `overread reread`: what failed or was held, and what a new route is for, is read again.

use super::{WithConfig, counted, exit, load_config, print, say};
use crate::clock::Clock;
use crate::dicom::uid::StudyInstanceUid;
use crate::store::{Store, StoreError};

/// Read a study again: its failed jobs, and its series that were held, that a route did not fit or is new for
#[derive(Debug, clap::Args)]
pub(super) struct Reread {
    #[command(flatten)]
    config: WithConfig,
    /// A Study, Series or SOP Instance UID, or an accession number
    #[arg(value_name = "UID-OR-ACCESSION")]
    what: String,
}

/// Queues it; a running node begins within seconds, else the next one does.
pub(super) async fn reread(arguments: Reread) -> u8 {
    let Some(config) = load_config(&arguments.config) else { return exit::FAILED };
    let again = async {
        let store = Store::open_beside(&config.node.data, Clock::System).await?;
        let (mut jobs, mut series) = (0, 0);
        let models: Vec<&str> = config.routes.iter().map(|route| route.model.as_str()).collect();
        let studies = store.why(&arguments.what).await?;
        let is_known = !studies.is_empty();
        for study in studies {
            if let Ok(uid) = StudyInstanceUid::parse(&study.study_instance_uid) {
                let again = store.reread(&uid, &models, Clock::System.now()).await?;
                jobs += again.jobs;
                series += again.series;
            }
        }
        Ok::<_, StoreError>((is_known, jobs, series))
    };
    match again.await {
        Ok((false, ..)) => {
            say(format_args!("nothing is known of «{}»", arguments.what));
            exit::NOTHING
        }
        Ok((true, 0, 0)) => {
            say(format_args!("nothing to read again: no job has failed, no series was left unread"));
            exit::NOTHING
        }
        Ok((true, jobs, series)) => {
            let jobs = counted(jobs, "failed job is", "failed jobs are");
            print(format_args!("{jobs} queued again; {} decided on anew", counted(series, "series is", "series are")));
            exit::DONE
        }
        Err(error) => {
            say(format_args!("{error}"));
            exit::FAILED
        }
    }
}
