//! The packages on one device, and how a run of one goes about memory. Lives on the device's thread.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use tch::{CModule, Device};

use super::fault::Fault;
use super::host;
use super::inputs::ModuleInput;
use super::ladder::{Choices, Rung};
use super::limit::Limit;
use super::memory::{self, Lack, Memory};
use super::once::{Asked, RunTimes, Stages, predict_once};
use super::outputs::{arrays, check};
use super::run::{Run, Spent};
use crate::inference::error::{EngineError, telling_line};
use crate::inference::golden::{GoldenCase, TensorDifference};
use crate::inference::manifest::{Manifest, Module, Over, Precision};
use crate::inference::npz::Array;
use crate::inference::package::VerifiedModel;
use crate::inference::prediction::Prediction;
use crate::inference::subject::{Context, Subject};
use crate::inference::text::Words;

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
    pub(super) fn prove(&mut self, index: usize, limit: Limit) -> Result<Vec<TensorDifference>, EngineError> {
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        self.enough_in_all(index)?;
        let case = self.golden_case(index)?;
        let rung = Rung::first(manifest.inference.batch);
        let attempt = |modules: &mut Self, Attempt { rung, .. }| modules.compute(index, case.as_ref(), rung, limit);
        let ((found, precision), _) = self.down_the_ladder(index, rung, (), attempt)?;
        let (Some(golden), Some(case)) = (&manifest.golden, &case) else { return Ok(Vec::new()) };
        Ok(case.differences(&found, golden, precision != Precision::Float32))
    }

    /// Lets a package compute its golden case twice: the first tensor that is not the same again, bit by bit.
    pub(super) fn repeat(&mut self, index: usize, limit: Limit) -> Result<Option<String>, EngineError> {
        let Some(case) = self.golden_case(index)? else { return Ok(None) };
        let rung = Rung::first(self.packages[index].manifest().inference.batch);
        let attempt = |modules: &mut Self, Attempt { rung, .. }| {
            let (first, _) = modules.compute(index, Some(&case), rung, limit)?;
            let (second, _) = modules.compute(index, Some(&case), rung, limit)?;
            let differs =
                |(name, array): (&String, &Array)| !second.get(name).is_some_and(|again| again.same_bits(array));
            Ok(first.iter().find(|entry| differs(*entry)).map(|(name, _)| name.clone()))
        };
        self.down_the_ladder(index, rung, (), attempt).map(|(differs, _)| differs)
    }

    fn golden_case(&self, index: usize) -> Result<Option<GoldenCase>, EngineError> {
        let package = &self.packages[index];
        package.golden_case().map_err(|message| Fault::Case(message).of(&package.manifest().name))
    }

    /// Loads a package and has it compute a case: the tensors, and in what they were computed. No tensors without a case.
    fn compute(
        &mut self,
        index: usize,
        case: Option<&GoldenCase>,
        rung: Rung,
        limit: Limit,
    ) -> Result<(BTreeMap<String, Array>, Precision), Fault> {
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        let mut elsewhere = None;
        let (device, loaded) = self.loaded(index, rung, limit, &mut elsewhere)?;
        let spent = Spent::default();
        let run = Run { manifest, modules: &loaded.modules, device, rung, limit, spent: &spent };
        let Some(case) = case else { return Ok((BTreeMap::new(), run.precision())) };
        let input = ModuleInput::of_arrays(&manifest.input, |name| case.inputs.get(name), device);
        let input = input.map_err(Fault::Case)?;
        let tensors = run.outputs(&input, &manifest.output.tensors())?;
        check(manifest, &tensors, &input.field)?;
        Ok((arrays(&tensors)?, run.precision()))
    }

    /// Runs a package on a subject once its memory is free. Where memory runs out all the same, what the ladder has next is
    /// tried.
    pub(super) fn predict(
        &mut self,
        index: usize,
        subject: Subject,
        context: &Context,
        limit: Limit,
    ) -> Result<(Prediction, RunTimes), EngineError> {
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        let rung = self.admit(index, batch(manifest, context), limit)?;
        let own = limit.at_most(manifest.inference.time_limit);
        let attempt = |modules: &mut Self, Attempt { rung, given: subject, is_last }: Attempt<Subject>| {
            let mut clock = Stages::start();
            let mut elsewhere = None;
            let (device, loaded) = modules.loaded(index, rung, limit, &mut elsewhere)?;
            clock.done("load");
            let spent = Spent::default();
            let run = Run { manifest, modules: &loaded.modules, device, rung, limit: own, spent: &spent };
            let asked = Asked { context, words: loaded.words.as_ref(), whole: limit, is_last };
            let prediction = predict_once(&run, subject, &asked, &mut clock)?;
            let computing = if device == Device::Cpu { spent.modules.get() } else { clock.on_device() };
            Ok((prediction, RunTimes { stages: clock.into_stages(), computing }))
        };
        let ((mut prediction, times), warnings) = self.down_the_ladder(index, rung, subject, attempt)?;
        prediction.warnings.extend(warnings);
        Ok((prediction, times))
    }

    /// What there is to choose from for a package.
    fn choices(&self, manifest: &Manifest) -> Choices {
        let windows = manifest.modules.iter().any(|module| matches!(module.over, Over::Windows(_)));
        Choices { own_memory: self.device != Device::Cpu, windows }
    }

    /// Whether there could ever be the memory that a package says it needs. On a device with memory of its own there is
    /// always something left to try.
    fn enough_in_all(&self, index: usize) -> Result<(), EngineError> {
        let host = if self.device == Device::Cpu { host::memory() } else { None };
        let Some(host) = host else { return Ok(()) };
        let lacking = memory::enough_in_all(self.estimate(index, Device::Cpu), host);
        lacking.map_err(|lack| self.lacks(index, lack))
    }

    /// Waits for the memory of the host that a package says it needs; on a device with memory of its own, says where to begin.
    fn admit(&self, index: usize, batch: usize, limit: Limit) -> Result<Rung, EngineError> {
        let manifest = self.packages[index].manifest();
        let first = Rung::first(batch);
        if self.device == Device::Cpu {
            self.wait_for_host(index, limit)?;
            return Ok(first);
        }
        let others = self.loaded.keys().filter(|other| **other != index);
        let loaded = others.map(|other| self.packages[*other].weights_bytes()).sum();
        let (now, at_start) = (memory::of_device(self.device), self.own_memory);
        let fits = |(now, at_start)| memory::fits(self.estimate(index, self.device), now, at_start, loaded);
        if now.zip(at_start).is_none_or(fits) {
            return Ok(first);
        }
        let begun = Rung::smallest(self.choices(manifest));
        tracing::info!(model.name = manifest.name, begun_with = %begun, "by its estimate the model does not fit its device");
        Ok(begun)
    }

    /// Waits for the memory of the host that a package says it needs.
    fn wait_for_host(&self, index: usize, limit: Limit) -> Result<(), EngineError> {
        let loaded = self.device == Device::Cpu && self.loaded.contains_key(&index);
        let weights = if loaded { self.packages[index].weights_bytes() } else { 0 };
        let needed = self.estimate(index, Device::Cpu).saturating_sub(weights);
        memory::admit(needed, limit.until(), host::memory).map_err(|lack| self.lacks(index, lack))
    }

    /// What a package says it needs on a device, bytes.
    fn estimate(&self, index: usize, on: Device) -> u64 {
        let estimates = self.packages[index].manifest().inference.memory_mb;
        let megabytes = if on == Device::Cpu { estimates.cpu } else { estimates.cuda };
        megabytes.saturating_mul(1_000_000)
    }

    fn lacks(&self, index: usize, lack: Lack) -> EngineError {
        let model = self.packages[index].manifest().name.clone();
        match lack {
            Lack::Now(message) => EngineError::MemoryInUse { model, message },
            Lack::Ever(message) => EngineError::TooLarge { model, message },
        }
    }

    /// Attempts something with a package, with less memory after each time that it ran out; and what to say of that. The
    /// last attempt is given the only `given` there is.
    fn down_the_ladder<G: Clone, T>(
        &mut self,
        index: usize,
        mut rung: Rung,
        mut given: G,
        mut attempt: impl FnMut(&mut Self, Attempt<G>) -> Result<T, Fault>,
    ) -> Result<(T, Vec<String>), EngineError> {
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        let choices = self.choices(manifest);
        let mut warnings = Vec::new();
        // What the rung before was left for.
        let mut left = None;
        loop {
            // What cannot be loaded goes elsewhere, and there is no elsewhere where nothing comes next.
            let (now, kept) = match rung.next(choices) {
                Some(_) => (given.clone(), Some(given)),
                None => (given, None),
            };
            let fault = match attempt(self, Attempt { rung, given: now, is_last: kept.is_none() }) {
                Ok(found) => return Ok((found, warnings)),
                Err(fault) => fault,
            };
            let next = match &fault {
                fault if !fault.is_out_of_memory() => None,
                Fault::Load(_) => rung.elsewhere(choices),
                _ => rung.next(choices),
            };
            let error = fault.of(&manifest.name);
            let Some((next, kept)) = next.zip(kept) else {
                return Err(telling(left, error, (&manifest.name, rung)));
            };
            tracing::warn!(model.name = manifest.name, %error, tried = %rung, next = %next, "memory ran out");
            warnings.push(format!("Memory ran out with {rung}; the model was run with {next}."));
            (rung, given, left) = (next, kept, Some(error));
        }
    }

    /// The modules of a package where this rung has them. What the CPU runs in the place of a device is loaded into
    /// `elsewhere`, for this run alone.
    fn loaded<'a>(
        &'a mut self,
        index: usize,
        rung: Rung,
        limit: Limit,
        elsewhere: &'a mut Option<Loaded>,
    ) -> Result<(Device, &'a Loaded), Fault> {
        if !rung.on_cpu {
            return Ok((self.device, self.load(index)?));
        }
        self.wait_for_host(index, limit).map_err(Fault::Engine)?;
        let loaded = Loaded::on(&self.packages[index], Device::Cpu)?;
        Ok((Device::Cpu, elsewhere.insert(loaded)))
    }

    fn load(&mut self, index: usize) -> Result<&Loaded, Fault> {
        use std::collections::btree_map::Entry;
        match self.loaded.entry(index) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(Loaded::on(&self.packages[index], self.device)?)),
        }
    }
}

/// Of what a rung was left for and of what the next one ended with that which tells more. That there is no room elsewhere, or
/// not enough time, is no news of the device whose memory ran out, which may be free another time.
fn telling(left: Option<EngineError>, last: EngineError, (model, rung): (&str, Rung)) -> EngineError {
    match left {
        Some(cause) if matches!(last, EngineError::TooLarge { .. } | EngineError::TimeLimit { .. }) => {
            tracing::warn!(model.name = model, error = %last, tried = %rung, "memory had run out, nor did this do");
            cause
        }
        _ => last,
    }
}

/// One attempt on the way down the ladder.
struct Attempt<G> {
    rung: Rung,
    /// What it is made with.
    given: G,
    /// Whether nothing is left to try where memory runs out.
    is_last: bool,
}

/// In how large batches a run begins: as the manifest has it, where this run has batches.
fn batch(manifest: &Manifest, context: &Context) -> usize {
    let slices = context.per_slice && manifest.input.per_slice().is_some();
    if slices || manifest.inference.window.is_some() { manifest.inference.batch } else { 1 }
}

impl Loaded {
    fn on(package: &VerifiedModel, device: Device) -> Result<Self, Fault> {
        let modules = package.manifest().modules.iter().map(|module| {
            let loaded = load_module(package, module, device);
            loaded.map_err(|message| Fault::Load(format!("{}: {message}", module.weights)))
        });
        let modules = modules.collect::<Result<_, _>>()?;
        let text = package.tokenizer().map_err(|error| Fault::Load(error.to_string()))?;
        let words = text.map(|text| Words::parse(&text)).transpose().map_err(Fault::Load)?;
        Ok(Self { modules, words })
    }
}

/// Loads the weights from the very file whose hash was checked.
fn load_module(package: &VerifiedModel, module: &Module, device: Device) -> Result<CModule, String> {
    let file = package.open_weights(module).map_err(|fault| fault.to_string())?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let loaded = memory::kept_within(|| CModule::load_on_device(path, device)).and_then(|mut module| {
        module.f_set_eval()?;
        Ok(module)
    });
    loaded.map_err(|error| match Fault::from(error) {
        Fault::Torch(text) => telling_line(&text),
        _ => "cannot be loaded".to_owned(),
    })
}

#[cfg(test)]
mod tests;
