//! The modules on one device, and one run of one package. Lives on the device's thread.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::{CModule, Device, TchError};

use super::fault::Fault;
use super::inputs::{ModuleInput, NoSlices, Source};
use super::ladder::{Choices, Rung};
use super::memory::{self, Memory};
use super::outputs::{arrays, check, prediction};
use super::run::Run;
use crate::inference::error::{EngineError, telling_line};
use crate::inference::golden::TensorDifference;
use crate::inference::libtorch;
use crate::inference::manifest::{InputKind, Manifest, Module, Over, Precision};
use crate::inference::package::VerifiedModel;
use crate::inference::prediction::{Prediction, Verdict};
use crate::inference::subject::{Context, Subject};
use crate::inference::text::Words;

/// How long each stage of a run took, in the order of the run.
pub type StageTimes = Vec<(&'static str, Duration)>;

/// The packages that are loaded on a device.
pub(super) struct Modules {
    device: Device,
    /// That of the device when the engine started, where it has one of its own.
    own_memory: Option<Memory>,
    packages: Arc<[VerifiedModel]>,
    loaded: BTreeMap<usize, Loaded>,
}

/// One package on a device.
struct Loaded {
    /// In the order of the manifest.
    modules: Vec<CModule>,
    words: Option<Words>,
}

impl Modules {
    pub(super) fn new(device: Device, own_memory: Option<Memory>, packages: Arc<[VerifiedModel]>) -> Self {
        Self { device, own_memory, packages, loaded: BTreeMap::new() }
    }

    /// Loads a package and lets it compute its golden case: how far each tensor is off. Nothing without a case.
    pub(super) fn prove(&mut self, index: usize, until: Instant) -> Result<Vec<TensorDifference>, EngineError> {
        let packages = Arc::clone(&self.packages);
        let (package, manifest) = (&packages[index], packages[index].manifest());
        let wrong = |message: String| EngineError::Golden { model: manifest.name.clone(), message };
        let device = self.device;
        let loaded = self.load(index)?;
        let (Some(golden), Some(case)) = (&manifest.golden, package.golden_case().map_err(wrong)?) else {
            return Ok(Vec::new());
        };
        let input = ModuleInput::of_arrays(&manifest.input, |name| case.inputs.get(name), device).map_err(wrong)?;
        let rung = Rung::first(manifest.inference.batch);
        let run = Run { manifest, modules: &loaded.modules, device, rung, until };
        let found = run.outputs(&input, &manifest.output.tensors()).and_then(|tensors| {
            check(manifest, &tensors, &input.field)?;
            Ok(arrays(&tensors)?)
        });
        let found = found.map_err(|fault| fault.of(&manifest.name, manifest.inference.time_limit));
        libtorch::return_memory();
        Ok(case.differences(&found?, golden, run.precision() != Precision::Float32))
    }

    /// Waits for the memory that a package says it needs.
    fn admit(&self, index: usize, until: Instant) -> Result<(), EngineError> {
        let package = &self.packages[index];
        let estimate = package.manifest().inference.memory_mb.saturating_mul(1_000_000);
        let weights = if self.loaded.contains_key(&index) { package.weights_bytes() } else { 0 };
        let look = || match self.own_memory {
            // What libtorch has once taken of a device it keeps for later runs: what was free at the start counts.
            Some(memory) => Some(memory),
            None if self.device == Device::Cpu => memory::host(),
            None => None,
        };
        let needed = if self.own_memory.is_some() { estimate } else { estimate.saturating_sub(weights) };
        let model = || package.manifest().name.clone();
        memory::admit(needed, until, look).map_err(|message| EngineError::OutOfMemory { model: model(), message })
    }

    /// Runs a package on a subject once its memory is free. Where memory runs out all the same, what the ladder has next is
    /// tried.
    pub(super) fn predict(
        &mut self,
        index: usize,
        subject: &Subject,
        context: &Context,
        until: Instant,
    ) -> Result<(Prediction, StageTimes), EngineError> {
        self.admit(index, until)?;
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        let windows = manifest.modules.iter().any(|module| matches!(module.over, Over::Windows(_)));
        let choices = Choices { own_memory: self.device != Device::Cpu, windows };
        let mut rung = Rung::first(manifest.inference.batch);
        let mut warnings = Vec::new();
        loop {
            let fault = match self.attempt(index, subject, context, rung, until)? {
                Ok((mut prediction, stages)) => {
                    prediction.warnings.extend(warnings);
                    return Ok((prediction, stages));
                }
                Err(fault) => fault,
            };
            let next = if fault.is_out_of_memory() { rung.next(choices) } else { None };
            let error = fault.of(&manifest.name, manifest.inference.time_limit);
            let Some(next) = next else { return Err(error) };
            tracing::warn!(model.name = manifest.name, %error, tried = %rung, next = %next, "memory ran out");
            warnings.push(format!("Memory ran out with {rung}; the model was run with {next}."));
            rung = next;
        }
    }

    /// One run. The outer error is one of loading.
    fn attempt(
        &mut self,
        index: usize,
        subject: &Subject,
        context: &Context,
        rung: Rung,
        until: Instant,
    ) -> Result<Result<(Prediction, StageTimes), Fault>, EngineError> {
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        let mut clock = Stages::start();
        // What the CPU runs in the place of a device is loaded for this run alone.
        let mut elsewhere = None;
        let (device, loaded) = if rung.on_cpu {
            let loaded = Loaded::on(&packages[index], Device::Cpu)?;
            (Device::Cpu, &*elsewhere.insert(loaded))
        } else {
            (self.device, self.load(index)?)
        };
        clock.done("load");
        let run = Run { manifest, modules: &loaded.modules, device, rung, until };
        let outcome = predict_once(&run, loaded.words.as_ref(), subject, context, &mut clock);
        libtorch::return_memory();
        Ok(outcome.map(|prediction| (prediction, clock.stages)))
    }

    fn load(&mut self, index: usize) -> Result<&Loaded, EngineError> {
        use std::collections::btree_map::Entry;
        match self.loaded.entry(index) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Loaded::on(&self.packages[index], self.device)?)),
        }
    }
}

fn predict_once(
    run: &Run<'_>,
    words: Option<&Words>,
    subject: &Subject,
    context: &Context,
    clock: &mut Stages,
) -> Result<Prediction, Fault> {
    let manifest = run.manifest;
    let mut source = source(manifest, subject, run.device)?;
    let per_slice = manifest.input.per_slice().filter(|_| context.per_slice);
    let input = match source.prepared(&manifest.input, context.gate.as_deref())? {
        Ok(input) => input,
        Err(NoSlices::NoGate) => return Err(Fault::NoGate),
        Err(NoSlices::NothingFound) => return Ok(nothing_found(manifest, &source)),
    };
    if per_slice.is_none() {
        source.let_go()?;
    }
    clock.done("input");
    let tensors = run.mirrored(&input)?;
    clock.done("forward");
    let mut prediction = prediction(manifest, &tensors, &source, &input.field, words)?;
    drop((tensors, input));
    clock.done("output");
    if let (Some(per_slice), Verdict::Suitable) = (per_slice, &prediction.verdict) {
        let scores = run.slice_scores(&source, per_slice)?;
        if scores.is_none() {
            let why = "The slices of the series lie across those of the model: they were not scored one by one.";
            prediction.warnings.push(why.to_owned());
        }
        prediction.slice_scores = scores;
        clock.done("slices");
    }
    Ok(prediction)
}

/// The subject in the model's axes, on the device.
fn source(manifest: &Manifest, subject: &Subject, device: Device) -> Result<Source, Fault> {
    let input = &manifest.input;
    let source = match (subject, &input.kind) {
        (Subject::Volume(volume), InputKind::Volume { axes, .. } | InputKind::Slices { axes, .. }) => {
            Source::of_volume(volume, *axes, input.dtype, device)
        }
        (Subject::Image(image), InputKind::Image { .. }) => Source::of_image(image, device),
        (Subject::Volume(_), _) => return Err(Fault::Subject("a model of radiographs was given a volume".to_owned())),
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

struct Stages {
    last: Instant,
    stages: StageTimes,
}

impl Stages {
    fn start() -> Self {
        Self { last: Instant::now(), stages: Vec::new() }
    }

    fn done(&mut self, stage: &'static str) {
        let now = Instant::now();
        self.stages.push((stage, now - self.last));
        self.last = now;
    }
}

impl Loaded {
    fn on(package: &VerifiedModel, device: Device) -> Result<Self, EngineError> {
        let fault = |message: String| EngineError::Load { model: package.manifest().name.clone(), message };
        let modules = package.manifest().modules.iter().map(|module| {
            let loaded = load_module(package, module, device);
            loaded.map_err(|message| fault(format!("{}: {message}", module.weights)))
        });
        let modules = modules.collect::<Result<_, _>>()?;
        let text = package.tokenizer().map_err(|error| fault(error.to_string()))?;
        let words = text.map(|text| Words::parse(&text)).transpose().map_err(fault)?;
        Ok(Self { modules, words })
    }
}

/// Loads the weights from the very file whose hash was checked.
fn load_module(package: &VerifiedModel, module: &Module, device: Device) -> Result<CModule, String> {
    let file = package.open_weights(module).map_err(|fault| fault.to_string())?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let loaded = CModule::load_on_device(path, device).and_then(|mut module| {
        module.f_set_eval()?;
        Ok(module)
    });
    loaded.map_err(|error| match Fault::from(error) {
        Fault::Torch(text) => telling_line(&text),
        _ => "cannot be loaded".to_owned(),
    })
}
