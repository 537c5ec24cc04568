//! The table: a row a series, written as it comes. Text stays text whatever a spreadsheet would make of it.

mod lines;

mod workbook;

use std::path::{Path, PathBuf};

use lines::Lines;
use workbook::Workbook;

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Empty,
    Text(String),
    Number(f64),
}

impl Cell {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        let text = tidy(text.as_ref());
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }

    pub(super) fn number(number: Option<f64>) -> Self {
        number.filter(|number| number.is_finite()).map_or(Self::Empty, Self::Number)
    }
}

/// In one line, without signs that no table holds.
fn tidy(text: &str) -> String {
    let visible = text.chars().map(|sign| if sign.is_control() { ' ' } else { sign });
    visible.filter(|sign| !matches!(sign, '\u{FFFE}' | '\u{FFFF}')).collect::<String>().trim().to_owned()
}

/// How a table is written, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Xlsx,
    Csv,
    JsonLines,
}

impl Format {
    /// # Errors
    /// What endings there are.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "xlsx" => Ok(Self::Xlsx),
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::JsonLines),
            _ => Err(format!("{}: a table ends in .xlsx, .csv or .jsonl", path.display())),
        }
    }
}

/// Which of the tables a row goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sheet {
    /// A row a series.
    Series,
    /// A row a slice.
    Slices,
}

/// A table that is being written.
pub(super) enum Table {
    Workbook(Box<Workbook>),
    Lines { series: Lines, slices: Option<Lines> },
}

impl Table {
    /// Begins the table at `path`, and one of slices where it has columns: a sheet of the workbook, or a file beside it.
    ///
    /// # Errors
    /// What cannot be written, with its path.
    pub(super) fn create(path: &Path, series: &[String], slices: Option<&[String]>) -> Result<Self, String> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let format = Format::of(path)?;
        if format == Format::Xlsx {
            let workbook = Workbook::create(path, series, slices).map_err(|e| failed(path, &e))?;
            return Ok(Self::Workbook(Box::new(workbook)));
        }
        let lines = |path: &Path, columns: &[String]| {
            Lines::create(path, format == Format::Csv, columns).map_err(|e| failed(path, &e))
        };
        let beside = slices_beside(path);
        let slices = slices.map(|columns| lines(&beside, columns)).transpose()?;
        Ok(Self::Lines { series: lines(path, series)?, slices })
    }

    /// Adds a row; of text files it is with the system when this returns.
    ///
    /// # Errors
    /// What the system or the format says.
    pub(super) fn add(&mut self, sheet: Sheet, row: &[Cell]) -> Result<(), String> {
        match (self, sheet) {
            (Self::Workbook(workbook), sheet) => workbook.add(sheet, row).map_err(|e| e.to_string()),
            (Self::Lines { series, .. }, Sheet::Series) => series.add(row).map_err(|e| e.to_string()),
            (Self::Lines { slices: Some(slices), .. }, Sheet::Slices) => slices.add(row).map_err(|e| e.to_string()),
            (Self::Lines { slices: None, .. }, Sheet::Slices) => Ok(()),
        }
    }

    /// Writes what is not yet written.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub(super) fn finish(self) -> Result<(), String> {
        match self {
            Self::Workbook(workbook) => workbook.finish().map_err(|e| e.to_string()),
            Self::Lines { .. } => Ok(()),
        }
    }
}

/// `results.csv` has `results.slices.csv` beside it.
fn slices_beside(path: &Path) -> PathBuf {
    let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    path.with_extension(format!("slices.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<String> {
        ["name", "number", "note"].map(str::to_owned).to_vec()
    }

    fn row() -> Vec<Cell> {
        vec![Cell::text("=HYPERLINK(\"http://x\")\nтекст"), Cell::number(Some(-0.5)), Cell::number(Some(f64::NAN))]
    }

    #[test]
    fn a_row_is_in_the_file_before_the_next_one_comes_and_no_text_is_a_formula() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let mut table = Table::create(&path, &columns(), Some(&columns()[..1])).unwrap();
        table.add(Sheet::Series, &row()).unwrap();
        table.add(Sheet::Slices, &[Cell::text("-1")]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "name,number,note\r\n\"'=HYPERLINK(\"\"http://x\"\") текст\",-0.5,\r\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("t.slices.csv")).unwrap(), "name\r\n'-1\r\n");
    }

    #[test]
    fn lines_of_json_hold_text_as_it_is_and_null_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let mut table = Table::create(&path, &columns(), None).unwrap();
        table.add(Sheet::Series, &row()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"name\":\"=HYPERLINK(\\\"http://x\\\") текст\",\"number\":-0.5,\"note\":null}\n");
    }

    #[test]
    fn a_workbook_has_a_sheet_of_series_and_one_of_slices_and_no_formula() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.xlsx");
        let mut table = Table::create(&path, &columns(), Some(&columns())).unwrap();
        table.add(Sheet::Series, &row()).unwrap();
        table.add(Sheet::Slices, &[Cell::text("x".repeat(40_000))]).unwrap();
        assert!(!path.exists(), "a workbook is there when it is whole");
        table.finish().unwrap();
        let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
        let mut part = |name: &str| {
            let mut text = String::new();
            archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let book = part("xl/workbook.xml");
        assert!(book.contains("name=\"series\"") && book.contains("name=\"slices\""), "{book}");
        let sheet = part("xl/worksheets/sheet1.xml");
        assert!(sheet.contains(">=HYPERLINK(\"http://x\") текст<"), "{sheet}");
        assert!(sheet.contains("<v>-0.5</v>") && !sheet.contains("<f>"), "{sheet}");
        assert!(part("xl/worksheets/sheet2.xml").contains("xxx…"), "text is cut where a cell ends");
    }

    #[test]
    fn a_table_has_one_of_three_endings() {
        assert_eq!(Format::of(Path::new("a/B.XLSX")), Ok(Format::Xlsx));
        assert!(Format::of(Path::new("results.xls")).unwrap_err().contains(".jsonl"));
        assert!(Format::of(Path::new("csv")).is_err());
    }
}
