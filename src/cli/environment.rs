//! What libraries read from the environment before `main`.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// A variable that is set unless whoever runs the node has chosen.
struct Setting {
    name: &'static str,
    value: &'static str,
    /// Variables that say so.
    choices: &'static [&'static str],
}

const SETTINGS: [Setting; 2] = [
    // OpenMP's threads sleep while they wait, instead of spinning: while anything else uses the cores (a series being
    // received, another one decoded) spinning makes a model five to eight times slower.
    Setting { name: "OMP_WAIT_POLICY", value: "passive", choices: &["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"] },
    // What a layer of a model gives is a megabyte or many, made and let go hundreds of times. From the heap its rests pile up
    // between what stays; as mappings of their own all of it goes back at once, and in large pages that costs fewer page
    // faults than the heap does.
    Setting {
        name: "GLIBC_TUNABLES",
        value: "glibc.malloc.mmap_threshold=1048576:glibc.malloc.hugetlb=1",
        choices: &["GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"],
    },
];

/// Makes sure of the settings that models run better with.
///
/// They are read when the libraries are loaded, so the process starts itself afresh, once, under the same process id. Call
/// it before anything is open. Where that fails the models run all the same.
pub(super) fn settle() {
    let chosen = |name: &&str| std::env::var_os(name).is_some();
    let missing: Vec<&Setting> = SETTINGS.iter().filter(|setting| !setting.choices.iter().any(chosen)).collect();
    if missing.is_empty() {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut afresh = Command::new(super::own_program());
    if let Some(name) = arguments.next() {
        afresh.arg0(name);
    }
    afresh.args(arguments).envs(missing.iter().map(|setting| (setting.name, setting.value)));
    // Comes back only with an error.
    let error = afresh.exec();
    let names: Vec<&str> = missing.iter().map(|setting| setting.name).collect();
    super::say(format_args!("{} could not be set, models may run slowly: {error}", names.join(" and ")));
}
