//! The modules of a package: one TorchScript file each, what it takes and what becomes of what it gives.

use std::collections::BTreeSet;

use super::generate::{Generate, generate};
use super::sections::{at_most, path_inside, sha256_hex, stable_word};
use super::toml_table::Table;

/// The voxels or pixels after the steps, as `input.layout` and `input.dtype` have them.
pub const VOXELS: &str = "voxels";

/// `float32[3]` (`[2]` for images): distances between slices, rows, columns of the grid after the steps, mm.
pub const SPACING: &str = "spacing";

/// float32 [N, 3]: the centres of the windows, 0 to 1 of the padded grid, slice, row, column.
pub const WINDOW_POSITIONS: &str = "window_positions";

/// What a module can be handed beside results of modules above it.
pub const INPUTS: [&str; 3] = [VOXELS, SPACING, WINDOW_POSITIONS];

/// One TorchScript file of a package.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Stable word, unique within the package; `model` where the package has one module.
    pub name: String,
    /// File name within the package's folder.
    pub weights: String,
    /// SHA-256 of that file, lower-case hex.
    pub sha256: String,
    /// Arguments of `forward`, in order: [`INPUTS`], or results of modules above.
    pub arguments: Vec<String>,
    /// Names of what it returns: a tuple in this order, a dict with these keys, or the one tensor.
    pub results: Vec<String>,
    /// On what it runs.
    pub over: Over,
    /// `Some`: it is the step of a decoder, and the search over its tokens gives the one result.
    pub generate: Option<Generate>,
}

/// On what a module runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// Once, on the whole input.
    Input,
    /// On each window of the voxels; one entry for each result.
    Windows(Vec<Gather>),
}

/// What becomes of a result that each window gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// Scores [B, C, window] become [1, C, slices, rows, columns].
    Blend,
    /// [B, …] become [N, …] in the order of the windows.
    Collect,
}

/// Indices of the modules that make `wanted`, and of those that they depend on.
pub(in crate::inference) fn needed(modules: &[Module], wanted: &[&str]) -> BTreeSet<usize> {
    let mut names: BTreeSet<&str> = wanted.iter().copied().collect();
    let mut needed = BTreeSet::new();
    for (index, module) in modules.iter().enumerate().rev() {
        if module.results.iter().any(|name| names.contains(name.as_str())) {
            needed.insert(index);
            names.extend(module.arguments.iter().map(String::as_str));
        }
    }
    needed
}

/// The tables `[[modules]]`, which are there, and the names of all results: these also where something else of a module is
/// faulty. `window`: whether `inference.window` is given.
pub(super) fn modules(top: &Table<'_>, window: bool) -> (Option<Vec<Module>>, Option<BTreeSet<String>>) {
    let tables = top.tables("modules");
    let count = tables.len();
    let mut names = BTreeSet::new();
    let mut known: BTreeSet<String> = INPUTS.map(str::to_owned).into();
    if !window {
        known.remove(WINDOW_POSITIONS);
    }
    let (mut found, mut results) = (Vec::new(), Some(BTreeSet::new()));
    for table in tables {
        if let Some(name) = table.peek("name")
            && !names.insert(name.to_owned())
        {
            table.fault("name", format!("«{name}» stands twice"));
        }
        let (module, names) = module(table, &mut known, window);
        found.extend(module);
        results = results.zip(names).map(|(results, names)| results.into_iter().chain(names).collect());
    }
    ((found.len() == count).then_some(found), results)
}

/// One of them, and the names of its results, which are known to those below it.
fn module(table: Table<'_>, known: &mut BTreeSet<String>, window: bool) -> (Option<Module>, Option<Vec<String>>) {
    let name = table.required_checked("name", |name: &String| stable_word(name));
    let weights = table.required_checked("weights", |path: &String| path_inside(path));
    let sha256 = table.required_checked("sha256", |text: &String| sha256_hex(text));
    let arguments = table.required_checked("arguments", |names: &Vec<String>| arguments(names, known));
    let results = table.required_checked("results", |names: &Vec<String>| results(names, known));
    let over = table.word("over", &[("input", false), ("windows", true)]);
    let windows = over == Some(true);
    if windows && !window {
        table.fault("over", "windows need inference.window");
    }
    if windows && arguments.as_ref().is_some_and(|names| *names != [VOXELS]) {
        table.fault("arguments", "a module over windows takes [\"voxels\"]");
    }
    let gather = table.table("gather");
    let over = match (windows, gather) {
        (false, Some(_)) => {
            if over.is_some() || !table.has("over") {
                table.fault("gather", "has a meaning only with over = \"windows\"");
            }
            None
        }
        (true, None) => {
            table.fault("gather", "the table is missing: what becomes of each result, blend or collect");
            None
        }
        (false, None) => Some(Over::Input),
        (true, Some(gather)) => gathers(gather, results.as_deref().unwrap_or_default()),
    };
    let decoder = table.table("generate");
    let is_decoder = decoder.is_some();
    if is_decoder && (windows || results.as_ref().is_some_and(|names| names.len() != 1)) {
        table.fault("generate", "a decoder's step runs over the input and has one result: the token ids");
    }
    let generate = decoder.and_then(generate);
    known.extend(results.iter().flatten().cloned());
    table.finish();
    let (names, no_decoder) = (results.clone(), is_decoder && generate.is_none());
    let whole = || {
        let (weights, sha256) = (weights?, sha256?);
        Some(Module { name: name?, weights, sha256, arguments: arguments?, results: results?, over: over?, generate })
    };
    (if no_decoder { None } else { whole() }, names)
}

fn gathers(table: Table<'_>, results: &[String]) -> Option<Over> {
    let words = [("blend", Gather::Blend), ("collect", Gather::Collect)];
    let gathers: Vec<_> = results.iter().filter_map(|name| table.required_word(name, &words)).collect();
    table.finish();
    (gathers.len() == results.len()).then_some(Over::Windows(gathers))
}

fn arguments(names: &[String], known: &BTreeSet<String>) -> Result<(), String> {
    if names.is_empty() {
        return Err("must name at least one".to_owned());
    }
    for (index, name) in names.iter().enumerate() {
        if !known.contains(name) {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            return Err(format!("«{name}» is neither an input nor a result of a module above: {}", known.join(", ")));
        }
        if names[..index].contains(name) {
            return Err(format!("names {name} twice"));
        }
    }
    Ok(())
}

fn results(names: &[String], known: &BTreeSet<String>) -> Result<(), String> {
    if names.is_empty() {
        return Err("must name at least one".to_owned());
    }
    for (index, name) in names.iter().enumerate() {
        at_most(name, 64)?;
        if INPUTS.contains(&name.as_str()) || known.contains(name) || names[..index].contains(name) {
            return Err(format!("«{name}» is the name of another tensor"));
        }
    }
    Ok(())
}
