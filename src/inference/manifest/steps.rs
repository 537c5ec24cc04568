//! `input.steps`: what happens to the values before the modules see them.

use super::sections::within;
use super::toml_table::Table;
use crate::inference::steps::{Antialias, Interpolation, Rounding, Step};

/// The steps of an input of `dimensions` (3 for volumes and slices, 2 for images).
pub(super) fn steps(table: &Table<'_>, dimensions: usize) -> Option<Vec<Step>> {
    let tables = table.optional_tables("steps");
    let count = tables.len();
    let steps: Vec<_> = tables.into_iter().filter_map(|table| step(table, dimensions)).collect();
    (steps.len() == count).then_some(steps)
}

fn step(table: Table<'_>, dimensions: usize) -> Option<Step> {
    let names = [
        "replace-below",
        "clip",
        "scale",
        "percentile",
        "z-score",
        "standardise",
        "spacing",
        "resample",
        "resize",
        "shorter-side",
        "crop-body",
        "fit",
    ];
    let words = names.map(|name| (name, name));
    let kind = table.required_word("do", &words);
    let image = dimensions == 2;
    match kind {
        Some("shorter-side") if !image => table.fault("do", "shorter-side is for images"),
        Some(kind @ ("spacing" | "resample" | "crop-body")) if image => {
            table.fault("do", format!("{kind} is not for images"))
        }
        _ => {}
    }
    let step = match kind? {
        kind @ ("spacing" | "resample" | "resize" | "shorter-side" | "crop-body" | "fit") => {
            on_the_grid(&table, kind, dimensions)
        }
        kind => on_values(&table, kind),
    };
    table.finish();
    step
}

fn on_values(table: &Table<'_>, kind: &str) -> Option<Step> {
    let differ = |[a, b]: &[f64; 2]| if a == b { Err("must be two different values".to_owned()) } else { Ok(()) };
    let rising = |[a, b]: &[f64; 2]| if a < b { Ok(()) } else { Err("must be [least, largest]".to_owned()) };
    match kind {
        "replace-below" => {
            let (limit, value) = (table.required("limit"), table.required("value"));
            Some(Step::ReplaceBelow { limit: limit?, value: value? })
        }
        "clip" => table.required_checked("range", rising).map(Step::Clip),
        "scale" => {
            let (from, to) = (table.required_checked("from", differ), table.required("to"));
            Some(Step::Scale { from: from?, to: to? })
        }
        "percentile" => {
            let percentiles = table.required_checked("percentiles", |values: &[f64; 2]| {
                rising(values)?;
                values.iter().try_for_each(|value| within(*value, 0.0, 100.0))
            });
            let (to, clip) = (table.required("to"), table.optional("clip"));
            Some(Step::Percentile { percentiles: percentiles?, to: to?, clip: clip.unwrap_or(false) })
        }
        "z-score" => Some(Step::ZScore { nonzero: table.optional("nonzero").unwrap_or(false) }),
        _ => {
            let channels =
                |values: &Vec<f64>| within(values.len(), 1, 64).map_err(|e| format!("number of values: {e}"));
            let mean = table.required_checked("mean", channels);
            let deviation = table.required_checked("deviation", |values: &Vec<f64>| {
                if values.iter().any(|value| *value <= 0.0) {
                    return Err("must be above 0".to_owned());
                }
                let means = mean.as_ref().map_or(values.len(), Vec::len);
                if values.len() == means { Ok(()) } else { Err(format!("{} values for {means} means", values.len())) }
            });
            Some(Step::Standardise { mean: mean?, deviation: deviation? })
        }
    }
}

fn on_the_grid(table: &Table<'_>, kind: &str, dimensions: usize) -> Option<Step> {
    match kind {
        "spacing" => {
            let mm = distances(table, dimensions);
            let words = [("floor", Rounding::Floor), ("nearest", Rounding::Nearest), ("ceiling", Rounding::Ceiling)];
            let rounding = table.required_word("rounding", &words);
            let method = method(table, dimensions);
            Some(Step::Spacing { mm: mm?, rounding: rounding?, method: method? })
        }
        "resample" => distances(table, dimensions).map(|mm| Step::Resample { mm }),
        "resize" => {
            let (size, method) = (size(table, dimensions), method(table, dimensions));
            Some(Step::Resize { size: size?, method: method? })
        }
        "shorter-side" => {
            let length = table.required_checked("length", |length| within(*length, 1, 16_384));
            let method = method(table, dimensions);
            Some(Step::ShorterSide { length: length?, method: method? })
        }
        "crop-body" => {
            let above = table.required("above");
            let margin_mm = table.optional_checked("margin_mm", |mm| within(*mm, 0.0, 1000.0));
            Some(Step::CropBody { above: above?, margin_mm: margin_mm.unwrap_or(0.0) })
        }
        _ => {
            let (size, value) = (size(table, dimensions), table.required("value"));
            Some(Step::Fit { size: size?, value: value? })
        }
    }
}

fn as_many<T>(values: &[T], dimensions: usize) -> Result<(), String> {
    if values.len() == dimensions {
        return Ok(());
    }
    Err(format!("must hold {dimensions} values, it holds {}", values.len()))
}

fn distances(table: &Table<'_>, dimensions: usize) -> Option<Vec<f64>> {
    table.required_checked("mm", |mm: &Vec<f64>| {
        as_many(mm, dimensions)?;
        mm.iter().try_for_each(|mm| within(*mm, 0.01, 100.0))
    })
}

fn size(table: &Table<'_>, dimensions: usize) -> Option<Vec<usize>> {
    table.required_checked("size", |size: &Vec<usize>| {
        as_many(size, dimensions)?;
        size.iter().try_for_each(|extent| within(*extent, 1, 16_384))
    })
}

/// `method`, `align_corners` and `antialias` of a step that makes values between voxels.
fn method(table: &Table<'_>, dimensions: usize) -> Option<Interpolation> {
    let words = ["linear", "nearest", "nearest-exact", "area", "cubic"].map(|word| (word, word));
    let method = table.required_word("method", &words);
    let corners: Option<bool> = table.optional("align_corners");
    let smoothing = [("none", Antialias::None), ("gaussian", Antialias::Gaussian), ("kernel", Antialias::Kernel)];
    let antialias = table.word("antialias", &smoothing);
    let image = dimensions == 2;
    match method {
        Some(word @ ("nearest" | "nearest-exact" | "area")) => {
            for (key, given) in [("align_corners", corners.is_some()), ("antialias", antialias.is_some())] {
                if given {
                    table.fault(key, format!("has no meaning with method = \"{word}\""));
                }
            }
        }
        Some("cubic") if !image => table.fault("method", "cubic is for images"),
        _ => {}
    }
    if antialias == Some(Antialias::Kernel) && !image {
        table.fault("antialias", "kernel is for images");
    }
    let (align_corners, antialias) = (corners.unwrap_or(false), antialias.unwrap_or(Antialias::None));
    if align_corners && antialias == Antialias::Kernel {
        table.fault("antialias", "PyTorch has kernel only without align_corners");
    }
    Some(match method? {
        "nearest" => Interpolation::Nearest,
        "nearest-exact" => Interpolation::NearestExact,
        "area" => Interpolation::Area,
        "cubic" => Interpolation::Cubic { align_corners, antialias },
        _ => Interpolation::Linear { align_corners, antialias },
    })
}
