//! Runs models on a device. One thread owns the device and everything on it; callers wait for their turn.
//!
//! A module that hangs cannot be stopped from within the process. Soon after the time limit its caller gets an error, the
//! thread is left to itself and a new one takes its place, which loads the modules afresh. Once [`MOST_ABANDONED`] such
//! threads run at the same time the engine takes no more work until one of them ends or the process is restarted.

mod decode;
mod device_thread;
mod fault;
mod host;
mod inputs;
mod ladder;
mod limit;
pub(super) mod memory;
mod mirror;
mod modules;
mod once;
mod outputs;
mod per_slice;
mod positions;
mod returned;
mod run;
mod source;
mod streamed;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tch::Device;

use self::device_thread::{DeviceThread, NoAnswer};
use self::limit::Limit;
use self::memory::Memory;
use self::modules::Modules;
use super::device::{CudaReport, DeviceChoice};
use super::error::{EngineError, telling_line};
use super::golden::TensorDifference;
use super::libtorch;
use super::manifest::{InputKind, Manifest, Origin, SlicesOver};
use super::package::VerifiedModel;
use super::prediction::Prediction;
use super::subject::{Context, Subject};

pub use once::RunTimes;

/// Threads that were given up and still run, above which the engine takes no more work.
pub const MOST_ABANDONED: usize = 2;

/// Loading and the golden case of one package may take this much longer than a run of it may.
const START_ALLOWANCE: Duration = Duration::from_secs(120);

/// How long a device that has failed is waited for.
const PROBE: Duration = Duration::from_secs(30);

/// What of CUDA this process can use. Loads CUDA's libraries where they lie beside libtorch.
#[must_use]
pub fn cuda() -> CudaReport {
    libtorch::load_cuda()
}

/// Whether a run was given up since the process began. Its thread may be inside libtorch still: a process that then ends in
/// the ordinary way, by unloading libtorch, may crash over it.
#[must_use]
pub fn gave_up() -> bool {
    device_thread::any_abandoned()
}

/// Says that the process ends without waiting for the runs that may go on: [`gave_up`] is true from then on.
pub fn end_without_waiting() {
    device_thread::leave_alone();
}

/// Has this process do with `bytes` of memory, whatever the machine has: a package that needs more is not served, and a run for
/// which it does not suffice ends as where the machine's memory runs out.
pub fn limit_memory(bytes: u64) {
    host::limit(bytes);
}

/// Models on a device, ready to run.
pub struct Engine {
    device: Device,
    /// That of the device before anything was loaded, where it has one of its own.
    own_memory: Option<Memory>,
    packages: Arc<[VerifiedModel]>,
    /// For each package: why it is not served.
    refused: Vec<Option<EngineError>>,
    /// For each package: how far the tensors of its golden case were off.
    golden: Vec<Vec<TensorDifference>>,
    state: Mutex<State>,
}

/// The thread that owns the device, and those that were given up.
#[derive(Default)]
struct State {
    thread: Option<DeviceThread>,
    abandoned: Vec<Abandoned>,
    /// Why nothing will run on the device any more.
    lost: Option<String>,
}

/// A run that was given up.
struct Abandoned {
    /// Index of the package.
    package: usize,
    /// Whether it still goes on.
    alive: Weak<()>,
}

impl Engine {
    /// Loads every package on the device and has each compute its golden case. A package that fails is not served;
    /// [`Self::refused`] says why. Blocks for as long as that takes.
    ///
    /// # Errors
    /// The device is not there.
    pub fn start(choice: DeviceChoice, packages: Vec<VerifiedModel>) -> Result<Self, EngineError> {
        let device = find_device(choice)?;
        let packages: Arc<[VerifiedModel]> = packages.into();
        let state = Mutex::new(State::default());
        let own_memory = memory::of_device(device);
        let mut engine = Self {
            device,
            own_memory,
            refused: vec![None; packages.len()],
            golden: vec![Vec::new(); packages.len()],
            packages,
            state,
        };
        for index in 0..engine.packages.len() {
            let limit = engine.packages[index].manifest().inference.time_limit + START_ALLOWANCE;
            let proved = engine.on_thread(index, limit, move |modules, limit| modules.prove(index, limit));
            match proved {
                Ok(differences) => {
                    engine.refused[index] = golden_error(engine.packages[index].manifest(), &differences);
                    engine.golden[index] = differences;
                }
                Err(error) => engine.refused[index] = Some(error),
            }
        }
        engine.refuse_without_gate();
        Ok(engine)
    }

    /// A package whose gate cannot decide for it is not served. What a gate may not have is seen first, so that it does not
    /// depend on the order of the packages which of them are served.
    fn refuse_without_gate(&mut self) {
        for index in 0..self.packages.len() {
            let manifest = self.packages[index].manifest();
            let Some(gate) = manifest.accepts.gate.as_ref().filter(|_| self.refused[index].is_none()) else { continue };
            let found = self.packages.iter().map(VerifiedModel::manifest).find(|manifest| manifest.name == *gate);
            let served = self.manifest(gate).is_some();
            let reason = found.and_then(|found| unfit_gate(manifest, found));
            let reason = reason.or_else(|| (!served).then(|| format!("its gate {gate} is not served")));
            let Some(reason) = reason else { continue };
            self.refused[index] = Some(EngineError::NotServed { model: manifest.name.clone(), reason });
        }
    }

    /// The device in use: `cpu`, `cuda:0`.
    #[must_use]
    pub fn device(&self) -> String {
        device_name(self.device)
    }

    /// The packages that are served.
    pub fn served(&self) -> impl Iterator<Item = &VerifiedModel> {
        self.packages.iter().zip(&self.refused).filter(|(_, refused)| refused.is_none()).map(|(package, _)| package)
    }

    /// What the model of this name is, where it is served.
    #[must_use]
    pub fn manifest(&self, name: &str) -> Option<&Manifest> {
        self.served().map(VerifiedModel::manifest).find(|manifest| manifest.name == name)
    }

    /// The packages that are not served, each with its reason.
    pub fn refused(&self) -> impl Iterator<Item = (&VerifiedModel, &EngineError)> {
        self.packages.iter().zip(&self.refused).filter_map(|(package, refused)| Some((package, refused.as_ref()?)))
    }

    /// How far each tensor of a package's golden case was off when it was loaded; nothing where the package has no case or
    /// did not get so far.
    #[must_use]
    pub fn golden(&self, name: &str) -> &[TensorDifference] {
        let index = self.packages.iter().position(|package| package.manifest().name == name);
        index.map_or(&[], |index| &self.golden[index])
    }

    /// Has a package compute its golden case twice more: which tensor is not the same again, bit by bit. Nothing where all are,
    /// or there is no case.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn differs_when_repeated(&self, model: &str) -> Result<Option<String>, EngineError> {
        let index = self.index_of_served(model)?;
        let limit = self.packages[index].manifest().inference.time_limit * 2 + START_ALLOWANCE;
        self.on_thread(index, limit, move |modules, limit| modules.repeat(index, limit))
    }

    /// Runs `model` on `subject` and waits for it: first for its turn, however long that takes, then for the run, for which it
    /// has the model's time limit from then on. The values of the subject go, where nobody else holds it, once the model's
    /// input is made of them and nothing is left to try with less memory.
    ///
    /// # Errors
    /// [`EngineError::retryable`] says whether another attempt may help.
    pub fn predict(&self, model: &str, subject: Subject, context: &Context) -> Result<Prediction, EngineError> {
        self.predict_timed(model, subject, context).map(|(prediction, _)| prediction)
    }

    /// As [`Self::predict`], with the time that it took.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn predict_timed(
        &self,
        model: &str,
        subject: Subject,
        context: &Context,
    ) -> Result<(Prediction, RunTimes), EngineError> {
        let index = self.index_of_served(model)?;
        let context = context.clone();
        let limit = self.packages[index].manifest().longest_run(context.per_slice);
        self.on_thread(index, limit, move |modules, limit| modules.predict(index, subject, &context, limit))
    }

    fn index_of_served(&self, model: &str) -> Result<usize, EngineError> {
        let index = self.packages.iter().position(|package| package.manifest().name == model);
        let index = index.ok_or_else(|| EngineError::UnknownModel { model: model.to_owned() })?;
        match &self.refused[index] {
            None => Ok(index),
            Some(refused @ EngineError::NotServed { .. }) => Err(refused.clone()),
            Some(other) => Err(EngineError::NotServed { model: model.to_owned(), reason: other.to_string() }),
        }
    }

    /// How many runs that were given up still go on. At [`MOST_ABANDONED`] only a restart of the process helps.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).still_running()
    }

    /// Whether a run of `model` that was given up still goes on.
    #[must_use]
    pub fn hangs(&self, model: &str) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.still_running();
        state.abandoned.iter().any(|run| self.packages[run.package].manifest().name == model)
    }

    /// Does `work` for a package on the device's thread, for at most `limit` once its turn has come.
    fn on_thread<T: Send + 'static>(
        &self,
        index: usize,
        limit: Duration,
        work: impl FnOnce(&mut Modules, Limit) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let model = || self.packages[index].manifest().name.clone();
        if let Some(message) = &state.lost {
            let reason = format!("device {} has failed for good: {message}", self.device());
            return Err(EngineError::Exhausted { reason });
        }
        let thread = match state.thread.take() {
            Some(thread) => thread,
            None => self.new_thread(&mut state)?,
        };
        let until = Limit::of(limit);
        match thread.call(limit + Limit::grace(limit), move |modules| work(modules, until)) {
            Ok(result) => {
                match self.device {
                    Device::Cuda(number) if matches!(result, Err(EngineError::Device { .. })) => {
                        let probe = thread.call(PROBE, move |_| libtorch::synchronize(number));
                        state.probed(thread, index, probe);
                    }
                    _ => state.thread = Some(thread),
                }
                result
            }
            Err(NoAnswer::Panicked(message)) => {
                state.thread = Some(thread);
                Err(EngineError::Internal { model: model(), message })
            }
            Err(NoAnswer::Late) => {
                state.leave_alone(thread, index);
                Err(EngineError::TimeLimit { model: model(), limit })
            }
            Err(NoAnswer::Gone) => {
                Err(EngineError::Internal { model: model(), message: "the device's thread has ended".to_owned() })
            }
        }
    }

    fn new_thread(&self, state: &mut State) -> Result<DeviceThread, EngineError> {
        let abandoned = state.still_running();
        if abandoned >= MOST_ABANDONED {
            return Err(EngineError::Exhausted {
                reason: format!("{abandoned} runs that were given up are still going on"),
            });
        }
        let device = device_name(self.device);
        let modules = Modules::new(self.device, self.own_memory, Arc::clone(&self.packages));
        DeviceThread::start(&device, modules)
            .map_err(|error| EngineError::Device { device: device.clone(), message: error.to_string() })
    }
}

impl State {
    /// What a device that has failed while it ran a package said when it was asked again.
    fn probed(&mut self, thread: DeviceThread, package: usize, answer: Result<Result<(), String>, NoAnswer>) {
        match answer {
            Ok(well) => {
                self.lost = well.err().map(|message| telling_line(&message));
                self.thread = Some(thread);
            }
            Err(_) => {
                self.lost = Some("it does not answer".to_owned());
                // Nobody may wait for it, least of all the end of the process.
                self.leave_alone(thread, package);
            }
        }
    }

    fn leave_alone(&mut self, thread: DeviceThread, package: usize) {
        self.abandoned.push(Abandoned { package, alive: thread.abandon() });
    }

    fn still_running(&mut self) -> usize {
        self.abandoned.retain(|run| run.alive.strong_count() > 0);
        self.abandoned.len()
    }
}

/// Why `gate` cannot decide for `model`, whatever becomes of it.
fn unfit_gate(model: &Manifest, gate: &Manifest) -> Option<String> {
    let name = &gate.name;
    if let Some(second) = &gate.accepts.gate {
        return Some(format!("its gate {name} has a gate itself, {second}: a gate is asked alone"));
    }
    if gate.input.is_image() != model.input.is_image() {
        return Some(format!("its gate {name} reads another kind of image"));
    }
    let over_gate = matches!(model.input.kind, InputKind::Slices { over: SlicesOver::Gate, .. });
    if over_gate && gate.output.segmentation.is_none() {
        return Some(format!("its gate {name} gives no label map, and slices are chosen by it"));
    }
    let untrained = |manifest: &Manifest| manifest.origin == Origin::Untrained;
    (untrained(gate) && !untrained(model))
        .then(|| format!("its gate {name} is untrained, and nothing would say so of what it decides"))
}

/// The first tensor that is too far off.
fn golden_error(manifest: &Manifest, differences: &[TensorDifference]) -> Option<EngineError> {
    differences.iter().find_map(|difference| {
        let fault = difference.fault.as_ref()?;
        let message = format!("«{}» {fault}", difference.tensor);
        Some(EngineError::Golden { model: manifest.name.clone(), message })
    })
}

/// The device that a choice comes to on this machine: `cpu`, `cuda:0`. Nothing is loaded on it.
///
/// # Errors
/// The device is not there.
pub fn device_of(choice: DeviceChoice) -> Result<String, EngineError> {
    find_device(choice).map(device_name)
}

fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(number) => format!("cuda:{number}"),
        _ => "cpu".to_owned(),
    }
}

fn find_device(choice: DeviceChoice) -> Result<Device, EngineError> {
    let number = match choice {
        DeviceChoice::Cpu => return Ok(Device::Cpu),
        DeviceChoice::Auto => 0,
        DeviceChoice::Cuda(number) => number,
    };
    let report = cuda();
    if number < report.devices {
        return Ok(Device::Cuda(number));
    }
    if choice == DeviceChoice::Auto {
        return Ok(Device::Cpu);
    }
    Err(EngineError::Device { device: choice.to_string(), message: report.to_string() })
}

/// The folder of the libtorch in use, for reports.
#[must_use]
pub fn libtorch_folder() -> Option<PathBuf> {
    libtorch::loaded_libtorch()?.parent().map(std::path::Path::to_owned)
}

#[cfg(test)]
mod tests;
