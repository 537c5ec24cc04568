//! `overread compare`: the same series on several devices, what differs, and how long each stage takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::gather::{Sendable, Source, gather};
use super::{exit, print, say};
use crate::inference::device::DeviceChoice;
use crate::inference::difference::Difference;
use crate::inference::engine::{Engine, RunTimes, cuda, libtorch_folder};
use crate::inference::manifest::Manifest;
use crate::inference::prediction::{Prediction, Verdict};
use crate::inference::subject::{Context, Subject};
use crate::volume::{AssembleOptions, InstanceSource, Volume, assemble};

/// Run one series on several devices, compare masks and numbers, and print the time of each stage
#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    /// The model's package: its folder
    #[arg(long, value_name = "FOLDER", default_value = "models/lung-densitometry")]
    model: PathBuf,
    /// The devices; the others are compared with the first
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', default_value = "cpu,cuda:0")]
    devices: Vec<DeviceChoice>,
    /// Runs on each device; the fastest is printed, after one run that warms up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// The least Dice coefficient of each segment
    #[arg(long, value_name = "SHARE", default_value_t = 0.999)]
    least_dice: f64,
    /// The largest |a − b| / max(1, |a|) of each number
    #[arg(long, value_name = "SHARE", default_value_t = 1e-3)]
    tolerance: f64,
    /// One series: its files, folders or zip archives
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// What one device made of the series.
struct Outcome {
    device: String,
    prediction: Prediction,
    times: RunTimes,
}

/// Runs, compares and says how it went.
pub(super) fn compare(arguments: &Compare) -> u8 {
    match run(arguments) {
        Ok(true) => exit::DONE,
        Ok(false) => {
            say(format_args!("the devices do not agree"));
            exit::FAILED
        }
        Err(why) => {
            say(format_args!("{why}"));
            exit::FAILED
        }
    }
}

fn run(arguments: &Compare) -> Result<bool, String> {
    let libtorch = libtorch_folder().map_or_else(|| "not found".to_owned(), |folder| folder.display().to_string());
    print(format_args!("libtorch  {libtorch}"));
    print(format_args!("CUDA      {}", cuda()));
    let started = Instant::now();
    let subject = Subject::from(read(&arguments.paths)?);
    let described = subject.described();
    let [slices, rows, columns] = described.shape();
    let series = &described.source().series_instance_uid;
    print(format_args!(
        "series    {series}, {slices} × {rows} × {columns}, read in {}",
        milliseconds(started.elapsed())
    ));
    let mut outcomes = Vec::new();
    for device in &arguments.devices {
        outcomes.push(on_device(&arguments.model, *device, &subject, arguments.repeat)?);
    }
    print_stages(&outcomes);
    let Some((first, others)) = outcomes.split_first() else { return Ok(true) };
    print_numbers(&outcomes);
    let mut agree = true;
    for other in others {
        let difference = Difference::between(&first.prediction, &other.prediction);
        let within = difference.within(arguments.least_dice, arguments.tolerance);
        print_difference(first, other, &difference, within);
        agree &= within;
    }
    Ok(agree)
}

fn read(paths: &[PathBuf]) -> Result<Volume, String> {
    let mut sources = Vec::new();
    for item in gather(paths, &indicatif::ProgressBar::hidden(), Sendable::look).items {
        sources.push(match &item.source {
            Source::File(path) => InstanceSource::File(path.clone()),
            zipped => InstanceSource::Memory(zipped.read().map_err(|error| format!("{zipped}: {error}"))?),
        });
    }
    assemble(sources, &AssembleOptions::default()).map_err(|error| error.to_string())
}

fn on_device(folder: &Path, choice: DeviceChoice, subject: &Subject, repeat: u32) -> Result<Outcome, String> {
    let package = Manifest::load(folder)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let name = package.manifest().name.clone();
    let started = Instant::now();
    let engine = Engine::start(choice, vec![package]).map_err(|error| error.to_string())?;
    if let Some((_, error)) = engine.refused().next() {
        return Err(error.to_string());
    }
    let device = engine.device();
    print(format_args!("{device:<9} loaded, golden case passed, in {}", milliseconds(started.elapsed())));
    let context = Context::default();
    let predict = || engine.predict_timed(&name, subject.clone(), &context);
    let once = || predict().map_err(|error| format!("{device}: {error}"));
    let (_, first) = once()?;
    print(format_args!("{device:<9} first run in {}", milliseconds(total(&first))));
    let (mut prediction, mut times) = once()?;
    for _ in 1..repeat {
        let (other, again) = once()?;
        if total(&again) < total(&times) {
            (prediction, times) = (other, again);
        }
    }
    Ok(Outcome { device, prediction, times })
}

fn total(times: &RunTimes) -> Duration {
    times.stages.iter().map(|(_, time)| *time).sum()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn heading(first: &str, outcomes: &[Outcome]) {
    let devices: Vec<_> = outcomes.iter().map(|outcome| format!("{:>14}", outcome.device)).collect();
    print(format_args!("\n{first:<28}{}", devices.concat()));
}

fn print_stages(outcomes: &[Outcome]) {
    heading("stage", outcomes);
    let mut rows: Vec<(&str, Vec<Duration>)> = Vec::new();
    for (index, (stage, _)) in
        outcomes.first().map(|first| first.times.stages.clone()).unwrap_or_default().iter().enumerate()
    {
        rows.push((*stage, outcomes.iter().filter_map(|o| o.times.stages.get(index)).map(|(_, time)| *time).collect()));
    }
    rows.push(("total", outcomes.iter().map(|outcome| total(&outcome.times)).collect()));
    for (stage, times) in rows {
        let cells: Vec<_> = times.into_iter().map(|time| format!("{:>14}", milliseconds(time))).collect();
        print(format_args!("{stage:<28}{}", cells.concat()));
    }
}

fn print_numbers(outcomes: &[Outcome]) {
    heading("number", outcomes);
    let verdicts = outcomes.iter().map(|outcome| match &outcome.prediction.verdict {
        Verdict::Suitable => format!("{:>14}", "suitable"),
        Verdict::NotSuitable { code, .. } => format!("{code:>14}"),
    });
    print(format_args!("{:<28}{}", "verdict", verdicts.collect::<String>()));
    let mut rows: BTreeMap<(usize, usize), (String, Vec<String>)> = BTreeMap::new();
    for outcome in outcomes {
        for (g, group) in outcome.prediction.measurement_groups.iter().enumerate() {
            for (m, measurement) in group.measurements.iter().enumerate() {
                let name = format!("{}, {}", group.label, measurement.label);
                let value = measurement.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
                rows.entry((g, m)).or_insert_with(|| (name, Vec::new())).1.push(format!("{value:>14}"));
            }
        }
    }
    for (name, values) in rows.values() {
        print(format_args!("{name:<28}{}", values.concat()));
    }
}

fn print_difference(first: &Outcome, other: &Outcome, difference: &Difference, within: bool) {
    print(format_args!(
        "\n{} against {}: {}",
        other.device,
        first.device,
        if within { "they agree" } else { "THEY DIFFER" }
    ));
    match difference.differing_voxels {
        Some(count) => print(format_args!("  voxels whose label differs  {count}")),
        None => print(format_args!("  only one of them has a label map")),
    }
    for (segment, dice) in &difference.dice {
        print(format_args!("  Dice, {segment:<20}  {dice:.6}"));
    }
    print(format_args!("  largest relative difference of a number  {:.2e}", difference.largest_relative()));
}
