//! The table as a workbook, for people. Rows wait in temporary files; the workbook is there when it is whole.

use std::path::{Path, PathBuf};

use rust_xlsxwriter::{Format, Workbook as Book, Worksheet, XlsxError};

use super::{Cell, Sheet};

/// Rows that a sheet holds, its heading included.
const MOST_ROWS: u32 = 1_048_576;
/// A cell holds 32,767 UTF-16 units.
const MOST_UNITS: usize = 32_000;

/// A workbook that is being written.
pub(in crate::cli::read) struct Workbook {
    book: Book,
    path: PathBuf,
    series: Pages,
    slices: Option<Pages>,
}

/// A table over as many sheets as it needs.
struct Pages {
    name: &'static str,
    columns: Vec<String>,
    /// Of the sheet in the workbook.
    sheet: usize,
    page: usize,
    row: u32,
}

impl Workbook {
    pub(super) fn create(path: &Path, series: &[String], slices: Option<&[String]>) -> Result<Self, XlsxError> {
        // What cannot be written at the end should be known at the beginning.
        let trial = temporary(path);
        drop(std::fs::File::create(&trial)?);
        std::fs::remove_file(&trial)?;
        let mut book = Book::new();
        let series = Pages::begin(&mut book, "series", series)?;
        let slices = slices.map(|columns| Pages::begin(&mut book, "slices", columns)).transpose()?;
        Ok(Self { book, path: path.to_owned(), series, slices })
    }

    pub(super) fn add(&mut self, sheet: Sheet, row: &[Cell]) -> Result<(), XlsxError> {
        match (sheet, &mut self.slices) {
            (Sheet::Series, _) => self.series.add(&mut self.book, row),
            (Sheet::Slices, Some(slices)) => slices.add(&mut self.book, row),
            (Sheet::Slices, None) => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> Result<(), XlsxError> {
        for pages in [Some(&self.series), self.slices.as_ref()].into_iter().flatten() {
            pages.end(&mut self.book)?;
        }
        let whole = temporary(&self.path);
        self.book.save(&whole)?;
        std::fs::rename(&whole, &self.path)?;
        Ok(())
    }
}

impl Pages {
    fn begin(book: &mut Book, name: &'static str, columns: &[String]) -> Result<Self, XlsxError> {
        let sheet = book.worksheets().len();
        let mut pages = Self { name, columns: columns.to_vec(), sheet, page: 0, row: 0 };
        pages.turn(book)?;
        Ok(pages)
    }

    /// A new sheet with its heading.
    fn turn(&mut self, book: &mut Book) -> Result<(), XlsxError> {
        self.page += 1;
        self.sheet = book.worksheets().len();
        let sheet = book.add_worksheet_with_constant_memory()?;
        sheet.set_name(if self.page == 1 { self.name.to_owned() } else { format!("{} {}", self.name, self.page) })?;
        sheet.set_freeze_panes(1, 0)?;
        let bold = Format::new().set_bold();
        for (column, name) in (0u16..).zip(&self.columns) {
            sheet.set_column_width(column, width(name))?;
            sheet.write_string_with_format(0, column, cut(name), &bold)?;
        }
        self.row = 1;
        Ok(())
    }

    fn add(&mut self, book: &mut Book, row: &[Cell]) -> Result<(), XlsxError> {
        if self.row == MOST_ROWS {
            self.end(book)?;
            self.turn(book)?;
        }
        let sheet = book.worksheet_from_index(self.sheet)?;
        for (column, cell) in (0u16..).zip(row) {
            write(sheet, self.row, column, cell)?;
        }
        self.row += 1;
        Ok(())
    }

    /// The arrows that filter, over all rows.
    fn end(&self, book: &mut Book) -> Result<(), XlsxError> {
        let last = u16::try_from(self.columns.len().saturating_sub(1)).unwrap_or(u16::MAX);
        book.worksheet_from_index(self.sheet)?.autofilter(0, 0, self.row - 1, last)?;
        Ok(())
    }
}

fn write(sheet: &mut Worksheet, row: u32, column: u16, cell: &Cell) -> Result<(), XlsxError> {
    match cell {
        Cell::Empty => {}
        // Written as a string: never a formula, never a link.
        Cell::Text(text) => drop(sheet.write_string(row, column, cut(text))?),
        Cell::Number(number) => drop(sheet.write_number(row, column, *number)?),
    }
    Ok(())
}

fn cut(text: &str) -> String {
    let mut units = 0;
    let too_much = text.char_indices().find(|(_, c)| {
        units += c.len_utf16();
        units > MOST_UNITS
    });
    match too_much {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn width(name: &str) -> f64 {
    match name {
        "path_to_study" | "study_uid" | "series_uid" | "sop_instance_uid" | "warnings" | "error" => 40.0,
        _ => f64::from(u32::try_from(name.chars().count()).unwrap_or(40).clamp(10, 40)) + 2.0,
    }
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_the_units_that_a_cell_counts() {
        let whole = "a".repeat(MOST_UNITS);
        assert_eq!(cut(&whole), whole);
        let cut = cut(&"😀".repeat(20_000));
        assert_eq!(cut.encode_utf16().count(), MOST_UNITS + 1);
        assert!(cut.ends_with("😀…"));
    }
}
