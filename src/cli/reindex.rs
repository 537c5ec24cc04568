//! `overread reindex`: the index is made anew from the files.

use indicatif::{ProgressBar, ProgressStyle};

use super::{WithConfig, counted, exit, load_config, print, say};
use crate::clock::Clock;
use crate::store::{Store, StoreOptions};

/// Make the index say what the files say; the node must not be running
#[derive(Debug, clap::Args)]
pub(super) struct Reindex {
    #[command(flatten)]
    config: WithConfig,
    /// Have the models read series that had no row in the index
    #[arg(long)]
    read_new_series: bool,
}

/// Reads every file.
pub(super) async fn reindex(arguments: Reindex) -> u8 {
    let Some(config) = load_config(&arguments.config) else { return exit::FAILED };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} files  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    let done = async {
        let options = StoreOptions::from(&config);
        let store = Store::open_for_reindex(&config.node.data, options, Clock::System).await?;
        let report = store
            .reindex(arguments.read_new_series, |done, files| {
                bar.set_length(files);
                bar.set_position(done);
            })
            .await?;
        store.close().await?;
        Ok::<_, crate::store::StoreError>(report)
    };
    let report = done.await;
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            print(format_args!(
                "{}: {} added to the index, {} set aside; {} without a file removed; {} lost",
                counted(report.files, "file", "files"),
                report.added,
                report.set_aside,
                counted(report.removed, "row", "rows"),
                counted(report.lost_results, "result is", "results are")
            ));
            if report.embeddings + report.lost_embeddings > 0 {
                print(format_args!(
                    "{} files of embeddings; {} rows without one removed",
                    report.embeddings, report.lost_embeddings
                ));
            }
            if report.unreadable > 0 {
                say(format_args!(
                    "{} could not be read, see the log; nothing of them was changed",
                    counted(report.unreadable, "file", "files")
                ));
                return exit::PARTLY;
            }
            exit::DONE
        }
        Err(error) => {
            say(format_args!("{error}"));
            exit::FAILED
        }
    }
}
