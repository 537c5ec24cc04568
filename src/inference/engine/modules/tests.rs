use super::*;

/// What each attempt on the way down was given: how many hold it, beside whether it is the last.
fn held(choices_of: &str, batch: usize) -> Vec<(usize, bool)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/modules/");
    let package = Manifest::load(std::path::Path::new(&format!("{folder}{choices_of}"))).unwrap();
    let mut modules = Modules::new(Device::Cpu, None, Arc::new([package]));
    let given = Arc::new(());
    let mut seen = Vec::new();
    let attempt = |_: &mut Modules, attempt: Attempt<Arc<()>>| -> Result<(), Fault> {
        seen.push((Arc::strong_count(&attempt.given), attempt.is_last));
        Err(Fault::Torch("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.".to_owned()))
    };
    let error = modules.down_the_ladder(0, Rung::first(batch), given, attempt).unwrap_err();
    assert!(matches!(error, EngineError::OutOfMemory { .. }), "{error}");
    seen
}

#[test]
fn the_last_attempt_holds_alone_what_it_is_made_with() {
    assert_eq!(held("counted", 1), [(1, true)]);
    assert_eq!(held("counted", 4), [(2, false), (2, false), (1, true)]);
}

/// What a run on two rungs ends with, by what each of them does.
fn ends_with(first: Fault, second: Fault) -> EngineError {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/modules/counted");
    let package = Manifest::load(std::path::Path::new(folder)).unwrap();
    let mut modules = Modules::new(Device::Cpu, None, Arc::new([package]));
    let mut faults = vec![second, first];
    let attempt = |_: &mut Modules, _: Attempt<()>| -> Result<(), Fault> { Err(faults.pop().unwrap()) };
    modules.down_the_ladder(0, Rung::first(2), (), attempt).unwrap_err()
}

#[test]
fn what_a_rung_was_left_for_is_not_hidden_by_the_next_one_that_had_no_room_or_time() {
    let out_of_memory = || Fault::Torch("CUDA out of memory. Tried to allocate 2 GiB".to_owned());
    let too_large = EngineError::TooLarge { model: "counted".to_owned(), message: "it needs 9 MB".to_owned() };
    let raised = || Fault::Torch("RuntimeError: no lungs".to_owned());
    let late = || Fault::Late(std::time::Duration::from_secs(1));
    for next in [Fault::Engine(too_large.clone()), late()] {
        let error = ends_with(out_of_memory(), next);
        assert!(matches!(&error, EngineError::OutOfMemory { message, .. } if message.contains("2 GiB")), "{error}");
        assert!(error.retryable());
    }
    assert_eq!(ends_with(out_of_memory(), raised()).code(), "model-raised");
    // Nothing was left for them.
    assert_eq!(ends_with(Fault::Engine(too_large), raised()).code(), "too-large");
    assert_eq!(ends_with(late(), raised()).code(), "time-limit");
}

#[test]
fn a_run_without_batches_has_nothing_to_try_with_smaller_ones() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/modules/");
    let of = |name: &str, per_slice| {
        let package = Manifest::load(std::path::Path::new(&format!("{folder}{name}"))).unwrap();
        let manifest = package.manifest();
        (manifest.inference.batch, batch(manifest, &Context { gate: None, per_slice }))
    };
    let (of_manifest, of_run) = of("counted", false);
    assert!(of_manifest > 1 && of_run == of_manifest);
    let (of_manifest, of_run) = of("per-slice", true);
    assert!(of_manifest > 1 && of_run == of_manifest);
    assert_eq!(of("per-slice", false).1, 1);
}

#[test]
fn what_a_package_needs_is_asked_of_the_device_that_runs_it() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/good");
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("good");
    std::fs::create_dir(&folder).unwrap();
    let toml = std::fs::read_to_string(format!("{source}/model.toml")).unwrap();
    let by_device = toml.replacen("memory_mb = 100", "memory_mb = { cpu = 100, cuda = 300 }", 1);
    let (manifest, _golden) = by_device.split_once("[golden]").unwrap_or((&by_device, ""));
    std::fs::write(folder.join("model.toml"), manifest).unwrap();
    std::fs::copy(format!("{source}/model.pt"), folder.join("model.pt")).unwrap();
    let package = Manifest::load(&folder).unwrap();
    let modules = Modules::new(Device::Cuda(0), None, Arc::new([package]));
    let estimates = [Device::Cpu, Device::Cuda(0)].map(|device| modules.estimate(0, device));
    assert_eq!(estimates, [100_000_000, 300_000_000]);
}
