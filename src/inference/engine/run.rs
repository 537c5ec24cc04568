//! The modules of a package, run in order, each once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tch::{CModule, Device, IValue, Tensor};

use super::decode::{Step, decode};
use super::fault::Fault;
use super::inputs::ModuleInput;
use super::ladder::Rung;
use super::limit::Limit;
use super::memory;
use super::returned::{Named, results as of_call, widened};
use crate::inference::libtorch::{self, Autocast};
use crate::inference::manifest::{
    Manifest, Module, Over, Precision, SPACING, VOXELS, WINDOW_POSITIONS, Window, needed,
};
use crate::inference::sliding_window::Plan;
use crate::inference::sliding_window::blend::{Pace, Take, over_windows, positions};

/// What the cache of a decoder is called where its step returns a dict.
const CACHE: &str = "cache";

/// Who is handed blended scores some slices at a time.
pub(super) struct Taker<'a> {
    /// The name of the scores.
    pub(super) tensor: &'a str,
    pub(super) take: Take<'a, Fault>,
}

/// One package on one device, about to run.
pub(super) struct Run<'a> {
    pub(super) manifest: &'a Manifest,
    /// In the order of the manifest.
    pub(super) modules: &'a [CModule],
    pub(super) device: Device,
    pub(super) rung: Rung,
    /// When it is given up.
    pub(super) limit: Limit,
    /// What its time went into so far.
    pub(super) spent: &'a Spent,
}

/// What the time of a run goes into.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Its modules; of a device that computes beside us how long it took to tell it.
    pub(super) modules: Cell<Duration>,
    /// Labels that are made between two calls of a module.
    pub(super) labels: Cell<Duration>,
}

impl Run<'_> {
    /// The tensors that the outputs name, without those of modules that none of `wanted` depends on.
    ///
    /// # Errors
    /// What the first module that failed says.
    pub(super) fn outputs(&self, input: &ModuleInput, wanted: &[&str]) -> Result<Named, Fault> {
        self.outputs_beside(input, wanted, None)
    }

    /// The same, but for what goes to the taker.
    ///
    /// # Errors
    /// Those of the taker too.
    pub(super) fn outputs_beside(
        &self,
        input: &ModuleInput,
        wanted: &[&str],
        taker: Option<Taker<'_>>,
    ) -> Result<Named, Fault> {
        let mut store = Store::new(input)?;
        self.fill(&mut store, wanted, taker)?;
        if let Device::Cuda(number) = self.device {
            // Kernels run on after the call; their errors and their time belong to this stage.
            libtorch::synchronize(number).map_err(Fault::Torch)?;
        }
        Ok(store.take(wanted))
    }

    /// The same with another limit.
    pub(super) const fn within(&self, limit: Limit) -> Self {
        Self { limit, ..*self }
    }

    /// In what the modules compute here.
    pub(super) fn precision(&self) -> Precision {
        let precisions = self.manifest.inference.precision;
        if self.device == Device::Cpu { precisions.cpu } else { precisions.cuda }
    }

    fn fill(&self, store: &mut Store, wanted: &[&str], mut taker: Option<Taker<'_>>) -> Result<(), Fault> {
        let needed = needed(&self.manifest.modules, wanted);
        let _autocast = Autocast::of(self.precision(), self.device).map_err(Fault::Load)?;
        let several = self.manifest.modules.len() > 1;
        for (index, (module, compiled)) in self.manifest.modules.iter().zip(self.modules).enumerate() {
            if !needed.contains(&index) {
                continue;
            }
            let found = self.module(module, compiled, store, taker.as_mut());
            let found = found.map_err(|fault| if several { fault.within(&module.name) } else { fault })?;
            let found = module.results.iter().cloned().zip(found);
            store.tensors.extend(found.filter_map(|(name, tensor)| Some((name, tensor?))));
        }
        Ok(())
    }

    /// Nothing in the place of what was taken.
    fn module(
        &self,
        module: &Module,
        compiled: &CModule,
        store: &mut Store,
        taker: Option<&mut Taker<'_>>,
    ) -> Result<Vec<Option<Tensor>>, Fault> {
        self.limit.check()?;
        match (&module.over, &self.manifest.inference.window) {
            (Over::Windows(gathers), Some(window)) => {
                let sums = if self.rung.sums_on_host { Device::Cpu } else { self.device };
                let pace = Pace { batch: self.rung.batch, sums };
                let call = |windows: &Tensor| {
                    self.limit.check()?;
                    self.forward(compiled, (&module.arguments, &[windows.shallow_clone()]), &module.results)
                };
                let place = |tensor: &str| module.results.iter().position(|name| name == tensor);
                let taken = taker.and_then(|taker| {
                    let take: Take<'_, Fault> = &mut *taker.take;
                    Some((place(taker.tensor)?, take))
                });
                over_windows(store.get(VOXELS)?, window, gathers, taken, pace, call)
            }
            _ => {
                let arguments = store.arguments(&module.arguments, self.manifest.inference.window.as_ref())?;
                // Scores that were added up on the host are needed on the device again.
                let arguments =
                    arguments.iter().map(|tensor| tensor.f_to_device(self.device)).collect::<Result<Vec<_>, _>>()?;
                match &module.generate {
                    Some(generate) => {
                        // The cache comes behind them; it is the step's own, to be written to.
                        let mut shown = vec!["ids".to_owned()];
                        shown.extend_from_slice(&module.arguments);
                        let step = |ids: &Tensor, memory: &[Tensor]| {
                            self.limit.check()?;
                            let mut arguments = vec![ids.shallow_clone()];
                            arguments.extend(memory.iter().map(Tensor::shallow_clone));
                            let mut names = module.results.clone();
                            names.extend(generate.cache.is_some().then(|| CACHE.to_owned()));
                            let mut found = self.forward(compiled, (&shown, &arguments), &names)?.into_iter();
                            let none = || Fault::Wrong("a step gives logits".to_owned());
                            Ok(Step { logits: found.next().ok_or_else(none)?, cache: found.next() })
                        };
                        decode(generate, &arguments, self.device, step).map(|ids| vec![Some(ids)])
                    }
                    None => {
                        let found = self.forward(compiled, (&module.arguments, &arguments), &module.results)?;
                        Ok(found.into_iter().map(Some).collect())
                    }
                }
            }
        }
    }

    /// One call of a module: its arguments behind the names of those that others see too, and the names of what it gives. Gives
    /// tensors in float32 where they were computed in less.
    fn forward(
        &self,
        module: &CModule,
        arguments: (&[String], &[Tensor]),
        results: &[String],
    ) -> Result<Vec<Tensor>, Fault> {
        // The data without their history: no view.
        let mut own = arguments.1.iter().map(Tensor::f_data).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<IValue> = own.iter().map(|tensor| IValue::Tensor(tensor.shallow_clone())).collect();
        let began = Instant::now();
        let returned = memory::kept_within(|| module.forward_is(&inputs));
        add(&self.spent.modules, began.elapsed());
        drop(inputs);
        if returned.is_err() {
            own.iter_mut().for_each(empty);
        }
        let returned = returned?;
        unchanged(arguments.0, &own)?;
        let tensors = of_call(returned, results).map_err(Fault::Wrong)?;
        tensors.into_iter().map(|tensor| Ok(widened(tensor)?)).collect()
    }
}

/// Adds to a time that was spent.
pub(super) fn add(spent: &Cell<Duration>, time: Duration) {
    spent.set(spent.get() + time);
}

/// Inputs and results of a run, by name.
struct Store {
    tensors: Named,
}

impl Store {
    fn new(input: &ModuleInput) -> Result<Self, Fault> {
        let mut tensors = Named::new();
        for (name, tensor) in [(VOXELS, &input.voxels), (SPACING, &input.spacing)] {
            tensors.insert(name.to_owned(), tensor.shallow_clone());
        }
        Ok(Self { tensors })
    }

    fn get(&self, name: &str) -> Result<&Tensor, Fault> {
        self.tensors.get(name).ok_or_else(|| Fault::Wrong(format!("«{name}» was never made")))
    }

    fn arguments(&mut self, names: &[String], window: Option<&Window>) -> Result<Vec<Tensor>, Fault> {
        if let Some(window) = window
            && names.iter().any(|name| name == WINDOW_POSITIONS)
            && !self.tensors.contains_key(WINDOW_POSITIONS)
        {
            let voxels = self.get(VOXELS)?;
            let [.., slices, rows, columns] = voxels.size()[..] else {
                return Err(Fault::Wrong("the voxels have no windows".to_owned()));
            };
            let plan = Plan::new([slices, rows, columns].map(|extent| extent as usize), window);
            let positions = positions(&plan, window, voxels.device())?;
            self.tensors.insert(WINDOW_POSITIONS.to_owned(), positions);
        }
        names.iter().map(|name| self.get(name).map(Tensor::shallow_clone)).collect()
    }

    fn take(mut self, wanted: &[&str]) -> Named {
        self.tensors.retain(|name, _| wanted.contains(&name.as_str()));
        self.tensors
    }
}

/// Lets a tensor's memory go although something may still refer to it: `tch` leaks a reference to every argument of a module
/// that raises an error. The tensor must not be a view, which would keep its base alive.
fn empty(tensor: &mut Tensor) {
    // Fails only where libtorch is out of order altogether; then there is nothing left to free.
    let _ = tensor.f_set_();
}

/// Other modules, outputs and mirror images see the same values: a module must not write to them.
fn unchanged(names: &[String], arguments: &[Tensor]) -> Result<(), Fault> {
    for (name, tensor) in names.iter().zip(arguments) {
        // Counted from the call on: the argument was taken without its history.
        if tensor.f_internal_version()? != 0 {
            return Err(Fault::Wrong(format!("changes its argument «{name}» in place; it must work on a copy")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::inference::npz;

    #[test]
    fn only_what_is_wanted_is_run_and_nothing_after_the_time_is_over() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/modules/several");
        let package = Manifest::load(std::path::Path::new(folder)).unwrap();
        let manifest = package.manifest();
        assert_eq!(needed(&manifest.modules, &["other"]), BTreeSet::from([0, 2]));
        assert_eq!(needed(&manifest.modules, &["scores"]), BTreeSet::from([0]));
        assert_eq!(needed(&manifest.modules, &["attention", "other"]).len(), 3);
        let load = |module: &Module| CModule::load(format!("{folder}/{}", module.weights)).unwrap();
        let modules: Vec<CModule> = manifest.modules.iter().map(load).collect();
        let arrays = npz::read(std::fs::File::open(format!("{folder}/golden/case.npz")).unwrap()).unwrap();
        let input = ModuleInput::of_arrays(&manifest.input, |name| arrays.get(name), Device::Cpu).unwrap();
        let run = |seconds| {
            let limit = Limit::of(std::time::Duration::from_secs(seconds));
            let spent = Spent::default();
            let rung = Rung::first(2);
            let run = Run { manifest, modules: &modules, device: Device::Cpu, rung, limit, spent: &spent };
            run.outputs(&input, &["other"]).map(|found| (found, spent.modules.get()))
        };
        assert!(matches!(run(0), Err(Fault::Late(_))));
        let (found, computing) = run(300).unwrap();
        assert!(!computing.is_zero());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["other"]);
    }
}
