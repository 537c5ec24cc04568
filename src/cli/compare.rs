//! `overread compare`: the same images on several devices, what differs, and how long each stage takes.

mod print;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::print::{Compared, milliseconds};
use super::gather::{Source, gather};
use super::read::Identity;
use super::{exit, print, say};
use crate::inference::device::DeviceChoice;
use crate::inference::difference::Difference;
use crate::inference::engine::{Engine, RunTimes, cuda, libtorch_folder};
use crate::inference::error::EngineError;
use crate::inference::manifest::{Manifest, Precision};
use crate::inference::package::{VerifiedModel, find_gate};
use crate::inference::prediction::{Prediction, Verdict};
use crate::inference::subject::{Context, Subject};
use crate::volume::InstanceSource;
use crate::worker::reading::{Prepared, SeriesInstances};

/// Run images on several devices, compare masks and numbers, and print the time of each stage
#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    /// A model's package: its folder; several times for several
    #[arg(long = "model", value_name = "FOLDER", default_value = "models/lung-densitometry")]
    model: Vec<PathBuf>,
    /// Where gates are that do not lie beside their models
    #[arg(long, value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// The devices; the others are compared with the first
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', default_value = "cpu,cuda:0")]
    devices: Vec<DeviceChoice>,
    /// Runs on each device; the fastest is printed, after one run that warms up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// The least Dice coefficient of each segment; where a device computes in half precision, what the package gives its golden case
    #[arg(long, value_name = "SHARE", default_value_t = 0.999)]
    least_dice: f64,
    /// The largest |a − b| / max(1, |a|) of each number; in half precision as above
    #[arg(long, value_name = "SHARE", default_value_t = 1e-3)]
    tolerance: f64,
    /// Series and radiographs: files, folders or zip archives. Each model is shown those that it reads
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// What one device made of a subject.
struct Outcome {
    device: String,
    prediction: Prediction,
    times: RunTimes,
}

/// How far devices may lie apart.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    least_dice: f64,
    largest: f64,
    /// Whether generated texts must be the same: in half precision another token may be the likeliest.
    same_text: bool,
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
    let mut series = read(&arguments.paths)?;
    let mut all = Vec::new();
    for folder in &arguments.model {
        all.extend(of_model(folder, arguments, &mut series)?);
    }
    print::summary(&all);
    Ok(all.iter().all(|compared| compared.agree))
}

/// The series in the order of their UIDs, each with its instances.
fn read(paths: &[PathBuf]) -> Result<Vec<(String, SeriesInstances)>, String> {
    let mut series: BTreeMap<String, Vec<InstanceSource>> = BTreeMap::new();
    for item in gather(paths, &indicatif::ProgressBar::hidden(), Identity::look).items {
        let uid = item.found.series.as_str().to_owned();
        series.entry(uid).or_default().push(match &item.source {
            Source::File(path) => InstanceSource::File(path.clone()),
            zipped => InstanceSource::Memory(zipped.read().map_err(|error| format!("{zipped}: {error}"))?),
        });
    }
    Ok(series.into_iter().map(|(uid, sources)| (uid, SeriesInstances::from(sources))).collect())
}

/// One model on all that it reads.
fn of_model(
    folder: &Path,
    arguments: &Compare,
    series: &mut [(String, SeriesInstances)],
) -> Result<Vec<Compared>, String> {
    let package = load(folder)?;
    let name = package.manifest().name.clone();
    let tolerance = tolerance(package.manifest(), arguments);
    print(format_args!("\nmodel     {name}"));
    let mut subjects = Vec::new();
    let mut outcomes: Vec<Vec<Outcome>> = Vec::new();
    for device in &arguments.devices {
        let engine = start(*device, folder, &arguments.models)?;
        if subjects.is_empty() {
            subjects = prepared(&name, &engine, series)?;
            outcomes.resize_with(subjects.len(), Vec::new);
        }
        for (subject, outcomes) in subjects.iter().zip(&mut outcomes) {
            outcomes.push(on_device(&engine, &name, subject, arguments.repeat)?);
        }
    }
    Ok(subjects.iter().zip(outcomes).map(|(subject, outcomes)| judged(&name, subject, outcomes, tolerance)).collect())
}

fn load(folder: &Path) -> Result<VerifiedModel, String> {
    Manifest::load(folder).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// What the package allows in the precision that its devices have.
fn tolerance(manifest: &Manifest, arguments: &Compare) -> Tolerance {
    let precisions = manifest.inference.precision;
    let precision = |device: &DeviceChoice| match device {
        DeviceChoice::Cpu => precisions.cpu,
        _ => precisions.cuda,
    };
    let Compare { least_dice, tolerance: largest, .. } = *arguments;
    if arguments.devices.iter().all(|device| precision(device) == Precision::Float32) {
        return Tolerance { least_dice, largest, same_text: true };
    }
    let half = manifest.golden.as_ref().map_or(HALF_TOLERANCE, |golden| golden.half_tolerance);
    Tolerance { least_dice: least_dice.min(1.0 - half), largest: largest.max(half), same_text: false }
}

/// Of packages without a golden case.
const HALF_TOLERANCE: f64 = 0.05;

/// The package and its gate on a device.
fn start(choice: DeviceChoice, folder: &Path, gates: &Path) -> Result<Engine, String> {
    let package = load(folder)?;
    let started = Instant::now();
    let gate = find_gate(&package, gates).map_err(|faults| faults.join("\n"))?;
    let engine = Engine::start(choice, [package].into_iter().chain(gate).collect());
    let engine = engine.map_err(|error| error.to_string())?;
    if let Some((_, error)) = engine.refused().next() {
        return Err(error.to_string());
    }
    print(format_args!("{:<9} loaded, golden case passed, in {}", engine.device(), milliseconds(started.elapsed())));
    Ok(engine)
}

/// The series that the model reads.
///
/// # Errors
/// It reads none: why not.
fn prepared(name: &str, engine: &Engine, series: &mut [(String, SeriesInstances)]) -> Result<Vec<Subject>, String> {
    let manifest = engine.manifest(name).ok_or_else(|| format!("model «{name}» is not served"))?;
    let (mut subjects, mut reasons) = (Vec::new(), vec![format!("model «{name}» reads none of the series")]);
    for (uid, instances) in series {
        let started = Instant::now();
        match instances.prepare(manifest, engine).map_err(|error| format!("series {uid}: {error}"))? {
            Prepared::Subject { subject, .. } => {
                print::subject(&subject, started.elapsed());
                subjects.push(subject);
            }
            Prepared::NotSuitable { reason, .. } => reasons.push(format!("series {uid}: {reason}")),
        }
    }
    if subjects.is_empty() { Err(reasons.join("\n")) } else { Ok(subjects) }
}

/// The gate once, the model several times.
fn on_device(engine: &Engine, name: &str, subject: &Subject, repeat: u32) -> Result<Outcome, String> {
    let device = engine.device();
    let fault = |error: EngineError| format!("{device}: {error}");
    let mut context = Context::default();
    if let Some(gate) = engine.manifest(name).and_then(|manifest| manifest.accepts.gate.clone()) {
        let (answer, times) = engine.predict_timed(&gate, subject.clone(), &context).map_err(fault)?;
        if answer.verdict != Verdict::Suitable {
            return Ok(Outcome { device, prediction: Prediction::of(answer.verdict), times });
        }
        context.gate = answer.label_map.map(|map| map.touched());
    }
    let once = || engine.predict_timed(name, subject.clone(), &context).map_err(fault);
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

/// Prints what each device made of a subject, and whether they agree.
fn judged(model: &str, subject: &Subject, outcomes: Vec<Outcome>, tolerance: Tolerance) -> Compared {
    let uid = subject.described().source().series_instance_uid.to_string();
    print(format_args!("\n{model}, series {uid}"));
    print::stages(&outcomes);
    print::numbers(&outcomes);
    let mut compared = Compared::of(model, &uid, &outcomes);
    let Some((first, others)) = outcomes.split_first() else { return compared };
    for other in others {
        let difference = Difference::between(&first.prediction, &other.prediction);
        let within = difference.within(tolerance.least_dice, tolerance.largest);
        let within = within && (difference.same_text || !tolerance.same_text);
        print::difference(first, other, &difference, within);
        compared.add(&difference, within);
    }
    compared
}
