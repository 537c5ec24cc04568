//! The modules on one device, and one run of one of them. Lives on the device's thread.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::{CModule, Cuda, Device, IValue, TchError, Tensor};

use super::inputs::Arguments;
use super::outputs::{self, Named};
use crate::inference::error::{EngineError, telling_line};
use crate::inference::libtorch;
use crate::inference::manifest::{Manifest, Window};
use crate::inference::package::VerifiedModel;
use crate::inference::prediction::Prediction;
use crate::inference::sliding_window::blend::sliding_window;
use crate::volume::Volume;

/// How long each stage of a run took, in the order of the run.
pub type StageTimes = Vec<(&'static str, Duration)>;

/// The modules that are loaded on a device.
pub(super) struct Modules {
    device: Device,
    packages: Arc<[VerifiedModel]>,
    loaded: BTreeMap<usize, CModule>,
}

impl Modules {
    pub(super) fn new(device: Device, packages: Arc<[VerifiedModel]>) -> Self {
        Self { device, packages, loaded: BTreeMap::new() }
    }

    /// Loads a package's module and lets it compute its golden case.
    pub(super) fn prove(&mut self, index: usize) -> Result<(), EngineError> {
        let package = self.packages[index].clone();
        let manifest = package.manifest();
        let wrong = |message: String| EngineError::Golden { model: manifest.name.clone(), message };
        let device = self.device;
        let module = self.module(index)?;
        let (Some(golden), Some(case)) = (&manifest.golden, package.golden_case().map_err(wrong)?) else {
            return Ok(());
        };
        let arguments = Arguments::of_arrays(&manifest.input, |name| case.inputs.get(name), device).map_err(wrong)?;
        let found = forward(module, manifest, &arguments, device);
        arguments.free();
        let arrays = outputs::arrays(&found?).map_err(|error| wrong(error.to_string()))?;
        libtorch::return_memory();
        case.compare(&arrays, golden).map_err(wrong)
    }

    /// Runs a package's module on a volume.
    pub(super) fn predict(&mut self, index: usize, volume: &Volume) -> Result<(Prediction, StageTimes), EngineError> {
        let packages = Arc::clone(&self.packages);
        let manifest = packages[index].manifest();
        let device = self.device;
        let mut clock = Stages::start();
        let module = self.module(index)?;
        clock.done("load");
        let mut arguments = Arguments::of_volume(volume, &manifest.input, device).map_err(|error| match error {
            // The model had no part in it: the volume's values are not as many as its grid says.
            TchError::Shape(message) => EngineError::Internal { model: manifest.name.clone(), message },
            error => EngineError::from_torch(&manifest.name, &text(error)),
        })?;
        clock.done("input");
        let warnings = std::mem::take(&mut arguments.warnings);
        let returned = forward(module, manifest, &arguments, device);
        clock.done("forward");
        let turn = arguments.turn;
        arguments.free();
        let prediction = returned
            .and_then(|tensors| outputs::prediction(manifest, &tensors, &turn, volume.geometry.shape, warnings));
        libtorch::return_memory();
        clock.done("output");
        Ok((prediction?, clock.stages))
    }

    fn module(&mut self, index: usize) -> Result<&CModule, EngineError> {
        use std::collections::btree_map::Entry;
        match self.loaded.entry(index) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(load(&self.packages[index], self.device)?)),
        }
    }
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

/// Loads the weights from the very file whose hash was checked.
fn load(package: &VerifiedModel, device: Device) -> Result<CModule, EngineError> {
    let model = package.manifest().name.clone();
    let file = match package.open_weights() {
        Ok(file) => file,
        Err(fault) => return Err(EngineError::Load { model, message: fault.to_string() }),
    };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let module = CModule::load_on_device(path, device).and_then(|mut module| {
        module.f_set_eval()?;
        Ok(module)
    });
    module.map_err(|error| EngineError::Load { model, message: telling_line(&text(error)) })
}

/// The text of libtorch without the words that `tch` puts before it.
fn text(error: TchError) -> String {
    match error {
        TchError::Torch(text) => text,
        other => other.to_string(),
    }
}

fn forward(module: &CModule, manifest: &Manifest, arguments: &Arguments, device: Device) -> Result<Named, EngineError> {
    let torch = |error: TchError| EngineError::from_torch(&manifest.name, &text(error));
    let returned = match (&manifest.inference.window, &arguments.tensors[..]) {
        (Some(window), [voxels]) => {
            IValue::Tensor(windows(module, voxels, window).map_err(|WindowError(error)| torch(error))?)
        }
        (_, tensors) => {
            let inputs: Vec<IValue> = tensors.iter().map(|tensor| IValue::Tensor(tensor.shallow_clone())).collect();
            module.forward_is(&inputs).map_err(torch)?
        }
    };
    if let Device::Cuda(number) = device {
        // Kernels run on after the call; their errors and their time belong to this stage.
        Cuda::synchronize(number as i64);
    }
    outputs::named(manifest, arguments.shape, returned)
}

struct WindowError(TchError);

impl From<TchError> for WindowError {
    fn from(error: TchError) -> Self {
        Self(error)
    }
}

fn windows(module: &CModule, voxels: &Tensor, window: &Window) -> Result<Tensor, WindowError> {
    sliding_window(voxels, window, |batch| module.forward_ts(&[batch]).map_err(WindowError))
}
