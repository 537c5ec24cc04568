//! Tables as text, for programs: CSV (RFC 4180) and JSON Lines. Each row is with the system before the next one comes.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::Cell;

/// A spreadsheet takes text that begins with one of these for a formula.
const FORMULAS: [char; 4] = ['=', '+', '-', '@'];

/// A file that grows by a line a row.
pub(in crate::cli::read) enum Lines {
    Csv(Box<csv::Writer<File>>),
    Json { file: File, columns: Vec<String> },
}

impl Lines {
    pub(super) fn create(path: &Path, csv: bool, columns: &[String]) -> io::Result<Self> {
        let file = File::create(path)?;
        if !csv {
            return Ok(Self::Json { file, columns: columns.to_vec() });
        }
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(file);
        writer.write_record(columns.iter().map(|name| harmless(name)))?;
        writer.flush()?;
        Ok(Self::Csv(Box::new(writer)))
    }

    pub(super) fn add(&mut self, row: &[Cell]) -> io::Result<()> {
        match self {
            Self::Csv(writer) => {
                writer.write_record(row.iter().map(|cell| match cell {
                    Cell::Empty => String::new(),
                    Cell::Text(text) => harmless(text),
                    Cell::Number(number) => number.to_string(),
                }))?;
                writer.flush()
            }
            Self::Json { file, columns } => {
                let mut line = String::from("{");
                for (index, (name, cell)) in columns.iter().zip(row).enumerate() {
                    let value = match cell {
                        Cell::Empty => Value::Null,
                        Cell::Text(text) => Value::from(text.as_str()),
                        Cell::Number(number) => Value::from(*number),
                    };
                    let comma = if index == 0 { "" } else { "," };
                    line.push_str(&format!("{comma}{}:{value}", Value::from(name.as_str())));
                }
                line.push_str("}\n");
                file.write_all(line.as_bytes())
            }
        }
    }
}

/// Text that stays text: an apostrophe before what would be a formula.
fn harmless(text: &str) -> String {
    if text.starts_with(FORMULAS) { format!("'{text}") } else { text.to_owned() }
}
