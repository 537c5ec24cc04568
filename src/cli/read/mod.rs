//! `overread read`: whole folders without a PACS, into a table; by the same stages as the node's jobs.

mod columns;

mod identity;

mod models;

mod objects;

mod on_disk;

mod pipeline;

mod progress;

mod row;

mod study;

mod table;

mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::columns::{Columns, SLICES};
pub(super) use self::identity::Identity;
use self::models::Started;
use self::study::SeriesToRead;
use self::table::{Format, Sheet, Table};
use self::writer::{Count, Writer};
use super::embeddings::EmbeddingFolder;
use super::gather::gather;
use super::{exit, log, say};
use crate::clock::Clock;
use crate::config;
use crate::inference::device::DeviceChoice;
use crate::inference::engine::{Engine, end_without_waiting, limit_memory};
use crate::inference::manifest::Manifest;
use crate::worker::reading::Writing;

/// Read folders, archives and DICOMDIRs without a PACS, into a table with a row a series
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is found is sorted into studies and series by its headers, wherever it lies. Series that cannot be read have a row that \
says why, and the next one is read.

Exit codes: 0 every series was read, or found not to be for these models; 3 some series or files could not be read, some \
packages could not run, or Ctrl-C ended it (after the series at hand, with the table written); 1 nothing could be begun, or the table could not be \
written; 4 there is no DICOM file.

Examples:
  overread read /media/cdrom
  overread read --model lung-densitometry --out out --table lungs.csv studies.zip more/
  overread read --objects --out out DICOMDIR")]
pub(super) struct Read {
    /// A model by its name, or by its package's folder (with a /); several times for several [default: all]
    #[arg(long = "model", value_name = "NAME")]
    model: Vec<String>,
    /// Where the model packages are
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Where the table and the objects go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// The table, below --out: .xlsx for people; .csv or .jsonl, which grow by a row a series, for programs
    #[arg(long, value_name = "FILE", default_value = "results.xlsx")]
    table: PathBuf,
    /// Write reports, segmentations and maps as DICOM files, in a folder for each study and series below --out/objects
    #[arg(long)]
    objects: bool,
    /// Keep the vectors of the models that give some, for training: a safetensors file a series and an index.csv
    #[arg(long, value_name = "DIR")]
    embeddings: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Memory that this program does with, in MB; without it that of the machine, or of the control group
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    memory_mb: Option<u64>,
    /// Have models that can score every slice too: a sheet «slices», or a file beside the table
    #[arg(long)]
    per_slice: bool,
    /// Run models whose weights are untrained too, to try the machinery: their numbers mean nothing
    #[arg(long)]
    allow_untrained: bool,
    /// Files, folders, zip archives, DICOMDIRs
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Reads; the first signal ends it after the series at hand, a second one at once.
pub(super) async fn read(arguments: Read) -> u8 {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            say(format_args!("signals cannot be waited for: {error}"));
            return exit::FAILED;
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let mut work = tokio::task::spawn_blocking(move || run(&arguments, &seen));
    let done = tokio::select! {
        done = &mut work => Some(done),
        () = next(&mut interrupt, &mut terminate) => None,
    };
    let done = match done {
        Some(done) => done,
        None => {
            stop.store(true, Ordering::Relaxed);
            say(format_args!("ending after the series at hand; once more ends it now"));
            tokio::select! {
                done = work => done,
                () = next(&mut interrupt, &mut terminate) => {
                    end_without_waiting();
                    return exit::FAILED;
                }
            }
        }
    };
    match done {
        Ok(Ok(code)) => code,
        Ok(Err(lines)) => {
            lines.iter().for_each(|line| say(format_args!("{line}")));
            exit::FAILED
        }
        Err(panic) => {
            say(format_args!("{panic}"));
            exit::FAILED
        }
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Everything, in order; an error where nothing could be begun or the table could not be written.
fn run(arguments: &Read, stop: &AtomicBool) -> Result<u8, Vec<String>> {
    let started = Instant::now();
    let one = |line: String| vec![line];
    let table = arguments.out.join(&arguments.table);
    Format::of(&table).map_err(one)?;
    let choice = models::choose(&arguments.models, &arguments.model, arguments.allow_untrained)?;
    let looking = progress::looking();
    let gathered = gather(&arguments.paths, &looking, Identity::look);
    looking.finish_and_clear();
    let unreadable = study::summed_up(&gathered.unreadable);
    for (place, why) in &unreadable {
        say(format_args!("{place}: {why}"));
    }
    if gathered.items.is_empty() && gathered.unreadable.is_empty() {
        say(format_args!("nothing to read: {} files are no DICOM instances", gathered.passed_over));
        return Ok(exit::NOTHING);
    }
    let all = study::group(gathered.items);
    arguments.memory_mb.map(|megabytes| megabytes.saturating_mul(1_000_000)).into_iter().for_each(limit_memory);
    let Started { engine, readers, whole: all_run, notes } = models::start(choice, arguments.device)?;
    if stop.load(Ordering::Relaxed) {
        return Ok(exit::PARTLY);
    }
    let found = Found { series: &all, unreadable: &unreadable, unreadable_files: gathered.unreadable.len() };
    let session = Session { arguments, table: &table, engine: &engine, readers: &readers, notes: &notes, stop };
    let count = session.read(&found).map_err(one)?;
    let whole = count.series == all.len();
    say(format_args!("{}", count.summary(all.len(), gathered.passed_over, started.elapsed(), &table)));
    let done = all_run && whole && count.failed == 0 && unreadable.is_empty();
    Ok(if done { exit::DONE } else { exit::PARTLY })
}

/// What was found out before the first series is read.
struct Session<'a> {
    arguments: &'a Read,
    table: &'a Path,
    engine: &'a Engine,
    /// The models that read, by their names; the engine's others are their gates.
    readers: &'a [String],
    notes: &'a [String],
    stop: &'a AtomicBool,
}

/// What there is to read.
struct Found<'a> {
    series: &'a [SeriesToRead],
    /// Places in which something could not be read, and what.
    unreadable: &'a [(String, String)],
    /// How many files that are.
    unreadable_files: usize,
}

impl Session<'_> {
    /// Reads all series into the table.
    fn read(&self, found: &Found<'_>) -> Result<Count, String> {
        let Found { series: all, unreadable, unreadable_files } = *found;
        let served = self.engine.served().map(|package| package.manifest());
        let models: Vec<&Manifest> = served.filter(|model| self.readers.contains(&model.name)).collect();
        let columns = Columns::of(&models);
        let folder = self.table.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let slices = SLICES.map(str::to_owned);
        let mut table = Table::create(self.table, &columns.names, self.arguments.per_slice.then_some(&slices[..]))?;
        for (place, why) in unreadable {
            table.add(Sheet::Series, &row::unreadable(place, why, self.notes, &columns))?;
        }
        let bar = progress::reading(all.len());
        log::start_on(false, "info", progress::Above(bar.clone()));
        let embeddings = self.arguments.embeddings.as_ref();
        let embeddings = embeddings.map(|folder| EmbeddingFolder::open(folder)).transpose()?;
        let date = Clock::System.now();
        let mut writer = Writer {
            models: &models,
            engine: self.engine,
            columns: &columns,
            notes: self.notes,
            table,
            objects: self.arguments.objects.then(|| self.arguments.out.join("objects")),
            embeddings,
            writing: Writing::of(&config::Results::default()).dated(date),
            date,
            count: Count { unreadable: unreadable_files, ..Count::default() },
        };
        let mut broken = None;
        let used = pipeline::run(all, &models, self.engine, self.arguments.per_slice, self.stop, |seen| {
            if broken.is_none()
                && let Err(error) = writer.write(seen)
            {
                self.stop.store(true, Ordering::Relaxed);
                broken = Some(error);
            }
            bar.inc(1);
        });
        bar.finish_and_clear();
        let Writer { table, mut count, .. } = writer;
        table.finish().map_err(|error| format!("{}: {error}", self.table.display()))?;
        if let Some(error) = broken {
            return Err(format!("{}: {error}", self.table.display()));
        }
        count.busy = used.share();
        tracing::info!(
            series = count.series,
            failed = count.failed,
            unreadable = count.unreadable,
            device = self.engine.device(),
            busy_percent = count.busy.map(|share| (share * 100.0).round()),
            span_ms = crate::clock::milliseconds(used.span),
            "all series were read"
        );
        Ok(count)
    }
}
