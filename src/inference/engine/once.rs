//! One run of one package on a subject, and how long its parts took.

use std::time::{Duration, Instant};

use tch::{Device, TchError};

use super::fault::Fault;
use super::inputs::ModuleInput;
use super::limit::Limit;
use super::outputs::prediction;
use super::per_slice::unscored;
use super::run::Run;
use super::source::{NoSlices, Source};
use crate::inference::manifest::{InputKind, Manifest};
use crate::inference::prediction::{Prediction, Verdict};
use crate::inference::subject::{Context, Subject};
use crate::inference::text::Words;

/// How long a run took.
#[derive(Debug, Clone, Default)]
pub struct RunTimes {
    /// Its stages, one after the other.
    pub stages: Vec<(&'static str, Duration)>,
    /// The modules alone, without what is around them: steps, windows, search, outputs.
    pub computing: Duration,
}

/// What is asked of a run.
pub(super) struct Asked<'a> {
    pub(super) context: &'a Context,
    pub(super) words: Option<&'a Words>,
    /// That of the series and its slices together.
    pub(super) whole: Limit,
    /// Whether nothing is left to try where memory runs out.
    pub(super) is_last: bool,
}

/// Lets go of the subject's values where the model's input is made of them.
///
/// # Errors
/// What the first part of it that failed says.
pub(super) fn predict_once(
    run: &Run<'_>,
    subject: Subject,
    asked: &Asked<'_>,
    clock: &mut Stages,
) -> Result<Prediction, Fault> {
    let Asked { context, words, whole, is_last } = *asked;
    let manifest = run.manifest;
    let mut source = source(manifest, subject, run.device)?;
    let per_slice = manifest.input.per_slice().filter(|_| context.per_slice);
    let input = match source.prepared(&manifest.input, context.gate.as_ref(), per_slice.is_some()) {
        Ok(Ok(input)) => input,
        Ok(Err(NoSlices::NoGate)) => return Err(Fault::NoGate),
        Ok(Err(NoSlices::NothingFound)) => return Ok(nothing_found(manifest, &source)),
        // The model has no part in it: the steps of its manifest do not suit the series.
        Err(TchError::Shape(message)) => return Ok(no_grid(&source, &message)),
        Err(error) => return Err(error.into()),
    };
    clock.done("input");
    let answer = run.answer(&input)?;
    let ModuleInput { voxels, field, .. } = input;
    drop(voxels);
    clock.done_but("forward", run.spent.labels.get());
    let mut prediction = prediction(manifest, answer, &source, &field, words)?;
    clock.done("output");
    if let (Some(per_slice), Verdict::Suitable) = (per_slice, &prediction.verdict) {
        let limit = whole.at_most(manifest.slices_time_limit().unwrap_or_default());
        match run.within(limit).slice_scores(&source, per_slice) {
            Ok(Some(scores)) => prediction.slice_scores = Some(scores),
            Ok(None) => {
                let why = "The slices of the series lie across those of the model: they were not scored one by one.";
                prediction.warnings.push(why.to_owned());
            }
            // What was found for the series is not lost over it.
            Err(fault) => prediction.warnings.push(unscored(fault, &manifest.name, is_last)?),
        }
        clock.done("slices");
    }
    Ok(prediction)
}

/// The subject in the model's axes, on the device.
fn source(manifest: &Manifest, subject: Subject, device: Device) -> Result<Source, Fault> {
    let input = &manifest.input;
    let source = match (subject, &input.kind) {
        (Subject::Volume(stack, voxels), InputKind::Volume { axes, .. } | InputKind::Slices { axes, .. }) => {
            Source::of_volume(&stack, voxels, *axes, input.dtype, device)
        }
        (Subject::Image(image), InputKind::Image { .. }) => Source::of_image(&image, device),
        (Subject::Volume(..), _) => return Err(Fault::Subject("a model of radiographs was given a volume".to_owned())),
        (Subject::Image(_), _) => return Err(Fault::Subject("a model of volumes was given a radiograph".to_owned())),
    };
    source.map_err(|error| match error {
        // The model had no part in it: the values are not as many as the grid says.
        TchError::Shape(message) => Fault::Subject(message),
        error => error.into(),
    })
}

/// The gate found nothing that slices could be spread over.
fn nothing_found(manifest: &Manifest, source: &Source) -> Prediction {
    let gate = manifest.accepts.gate.as_deref().unwrap_or_default();
    let verdict = Verdict::NotSuitable {
        code: "gate-found-nothing".to_owned(),
        reason: format!("{gate} found nothing in the series that the slices for the model could be chosen from."),
    };
    Prediction { warnings: source.warnings.clone(), ..Prediction::of(verdict) }
}

/// The steps do not suit the series.
fn no_grid(source: &Source, message: &str) -> Prediction {
    let reason = format!("The series cannot be brought to the grid of the model: {message}.");
    let verdict = Verdict::NotSuitable { code: "model-grid".to_owned(), reason };
    Prediction { warnings: source.warnings.clone(), ..Prediction::of(verdict) }
}

/// How long the stages of a run took, one after the other.
pub(super) struct Stages {
    last: Instant,
    stages: Vec<(&'static str, Duration)>,
}

impl Stages {
    pub(super) fn start() -> Self {
        Self { last: Instant::now(), stages: Vec::new() }
    }

    /// Ends a stage.
    pub(super) fn done(&mut self, stage: &'static str) {
        self.done_but(stage, Duration::ZERO);
    }

    /// Ends a stage during which so much was done already of the next one.
    fn done_but(&mut self, stage: &'static str, of_next: Duration) {
        let end = Instant::now().checked_sub(of_next).unwrap_or(self.last).max(self.last);
        self.stages.push((stage, end - self.last));
        self.last = end;
    }

    /// The stages at whose end the device is waited for.
    pub(super) fn on_device(&self) -> Duration {
        self.stages.iter().filter(|(stage, _)| ["forward", "slices"].contains(stage)).map(|(_, time)| *time).sum()
    }

    pub(super) fn into_stages(self) -> Vec<(&'static str, Duration)> {
        self.stages
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tch::CModule;

    use super::super::ladder::Rung;
    use super::super::run::Spent;
    use super::*;
    use crate::inference::engine::tests::stack;
    use crate::volume::Voxels;

    fn subject(shape: [usize; 3]) -> Subject {
        Subject::Volume(Arc::new(stack(shape, [1.0; 3])), Arc::new(Voxels::I16(vec![1; shape.iter().product()])))
    }

    #[test]
    fn labels_that_are_made_while_modules_compute_are_no_computing() {
        let folder = format!("{}/tests/fixtures/modules/several-resized", env!("CARGO_MANIFEST_DIR"));
        let package = Manifest::load(std::path::Path::new(&folder)).unwrap();
        let manifest = package.manifest();
        let load = |name: &str| CModule::load(format!("{folder}/{name}")).unwrap();
        let modules: Vec<CModule> = manifest.modules.iter().map(|module| load(&module.weights)).collect();
        let (spent, limit) = (Spent::default(), Limit::of(Duration::from_secs(300)));
        let rung = Rung::first(2);
        let run = Run { manifest, modules: &modules, device: Device::Cpu, rung, limit, spent: &spent };
        let context = Context::default();
        let asked = Asked { context: &context, words: None, whole: limit, is_last: true };
        let mut clock = Stages::start();
        let found = predict_once(&run, subject([18, 14, 12]), &asked, &mut clock).unwrap();
        assert!(found.label_map.is_some() && !spent.labels.get().is_zero());
        let on_device = clock.on_device();
        let stages = clock.into_stages();
        assert_eq!(stages.iter().map(|(stage, _)| *stage).collect::<Vec<_>>(), ["input", "forward", "output"]);
        assert_eq!(on_device, stages[1].1);
        assert!(stages[1].1 >= spent.modules.get());
        assert!(stages[2].1 >= spent.labels.get(), "{stages:?} {:?}", spent.labels.get());
    }
}
