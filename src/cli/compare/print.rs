//! What `overread compare` prints.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::print;
use super::{Outcome, total};
use crate::inference::difference::Difference;
use crate::inference::prediction::Verdict;
use crate::inference::subject::Subject;

/// A line of the last table: one model on one subject.
pub(super) struct Compared {
    model: String,
    series: String,
    /// Of each device its name and the time of a run.
    times: Vec<(String, Duration)>,
    least_dice: f64,
    largest: f64,
    same_text: bool,
    /// Whether all devices agree.
    pub(super) agree: bool,
}

impl Compared {
    /// Before anything was compared.
    pub(super) fn of(model: &str, series: &str, outcomes: &[Outcome]) -> Self {
        let times = outcomes.iter().map(|outcome| (outcome.device.clone(), total(&outcome.times))).collect();
        let (model, series) = (model.to_owned(), series.to_owned());
        Self { model, series, times, least_dice: 1.0, largest: 0.0, same_text: true, agree: true }
    }

    /// Another device beside the first.
    pub(super) fn add(&mut self, difference: &Difference, within: bool) {
        self.least_dice = difference.dice.iter().map(|(_, dice)| *dice).fold(self.least_dice, f64::min);
        self.largest = self.largest.max(difference.largest_relative());
        self.same_text &= difference.same_text;
        self.agree &= within;
    }
}

/// A series or a radiograph, and how long it took to read.
pub(super) fn subject(subject: &Subject, time: Duration) {
    let described = subject.described();
    let [slices, rows, columns] = described.shape();
    let series = &described.source().series_instance_uid;
    print(format_args!("series    {series}, {slices} × {rows} × {columns}, read in {}", milliseconds(time)));
}

/// In a unit for people.
pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn heading(first: &str, outcomes: &[Outcome]) {
    let devices: Vec<_> = outcomes.iter().map(|outcome| format!("{:>14}", outcome.device)).collect();
    print(format_args!("\n{first:<28}{}", devices.concat()));
}

/// The time of each stage on each device.
pub(super) fn stages(outcomes: &[Outcome]) {
    heading("stage", outcomes);
    let mut rows: Vec<(&str, Vec<Duration>)> = Vec::new();
    for (index, (stage, _)) in
        outcomes.first().map(|first| first.times.stages.clone()).unwrap_or_default().iter().enumerate()
    {
        rows.push((*stage, outcomes.iter().filter_map(|o| o.times.stages.get(index)).map(|(_, time)| *time).collect()));
    }
    rows.push(("total", outcomes.iter().map(|outcome| total(&outcome.times)).collect()));
    for (stage, times) in rows {
        let cells: Vec<_> = times.into_iter().map(|time| format!("{:>14}", milliseconds(time))).collect();
        print(format_args!("{stage:<28}{}", cells.concat()));
    }
}

/// Verdict, measurements and probabilities.
pub(super) fn numbers(outcomes: &[Outcome]) {
    heading("number", outcomes);
    let verdicts = outcomes.iter().map(|outcome| match &outcome.prediction.verdict {
        Verdict::Suitable => format!("{:>14}", "suitable"),
        Verdict::NotSuitable { code, .. } => format!("{code:>14}"),
    });
    print(format_args!("{:<28}{}", "verdict", verdicts.collect::<String>()));
    let mut rows: BTreeMap<(usize, usize), (String, Vec<String>)> = BTreeMap::new();
    for outcome in outcomes {
        for (g, group) in outcome.prediction.measurement_groups.iter().enumerate() {
            for (m, measurement) in group.measurements.iter().enumerate() {
                let name = format!("{}, {}", group.label, measurement.label);
                let value = measurement.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
                rows.entry((g, m)).or_insert_with(|| (name, Vec::new())).1.push(format!("{value:>14}"));
            }
        }
        let groups = outcome.prediction.measurement_groups.len();
        for (f, finding) in outcome.prediction.findings.iter().enumerate() {
            let row = rows.entry((groups, f)).or_insert_with(|| (finding.label.clone(), Vec::new()));
            row.1.push(format!("{:>14.6}", finding.probability));
        }
    }
    for (name, values) in rows.values() {
        print(format_args!("{name:<28}{}", values.concat()));
    }
}

/// What differs between two devices.
pub(super) fn difference(first: &Outcome, other: &Outcome, difference: &Difference, within: bool) {
    print(format_args!(
        "\n{} against {}: {}",
        other.device,
        first.device,
        if within { "they agree" } else { "THEY DIFFER" }
    ));
    match difference.differing_voxels {
        Some(count) => print(format_args!("  voxels whose label differs  {count}")),
        None => print(format_args!("  only one of them has a label map")),
    }
    for (segment, dice) in &difference.dice {
        print(format_args!("  Dice, {segment:<20}  {dice:.6}"));
    }
    if !difference.same_text {
        print(format_args!("  the generated texts differ"));
    }
    print(format_args!("  largest relative difference of a number  {:.2e}", difference.largest_relative()));
}

/// One table of everything.
pub(super) fn summary(all: &[Compared]) {
    let Some(first) = all.first() else { return };
    let devices: String = first.times.iter().map(|(device, _)| format!("{device:>14}")).collect();
    let width = all.iter().map(|compared| compared.model.len()).max().unwrap_or(0).max(5);
    let head = format!("{:>12}{:>10}{:>10}", "least Dice", "largest", "text");
    print(format_args!("\n{:<width$}  {:<14}{devices}{head}", "model", "series"));
    for Compared { model, series, times, least_dice, largest, same_text, agree } in all {
        let times: String = times.iter().map(|(_, time)| format!("{:>14}", milliseconds(*time))).collect();
        let text = if *same_text { "same" } else { "differs" };
        let end = format!("{least_dice:>12.6}{largest:>10.1e}{text:>10}");
        let word = if *agree { "they agree" } else { "THEY DIFFER" };
        let from = series.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
        print(format_args!("{model:<width$}  …{:<13}{times}{end}  {word}", &series[from..]));
    }
}
