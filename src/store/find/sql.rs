//! A question in SQL.

use std::fmt::Write as _;

use super::attribute::{Attribute, Column, Level};
use super::query::{Condition, FindQuery, Matching};

/// What a statement's `?` stand for, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bind {
    Text(String),
    Number(i64),
}

/// The parts of the statements that answer one question. The same shape of question gives the same text, so that the
/// connection prepares it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The values that are wanted, as texts named `c0`, `c1`…, each after a comma.
    columns: String,
    /// A match as one JSON array of its key and of an array of those values.
    found: String,
    /// The tables of the level.
    from: &'static str,
    /// The key of the level's table.
    key: &'static str,
    condition: String,
    pub(super) binds: Vec<Bind>,
    /// Whether the statements are worth keeping: few questions have another text.
    pub(super) is_usual: bool,
}

impl Plan {
    pub(super) fn new(query: &FindQuery) -> Self {
        let (from, key) = match query.level {
            Level::Patient => ("patient", "patient.patient_key"),
            Level::Study => ("study", "study.study_key"),
            Level::Series => ("series JOIN study USING (study_key)", "series.series_key"),
            Level::Image => {
                ("instance JOIN series USING (series_key) JOIN study USING (study_key)", "instance.instance_key")
            }
        };
        let mut condition = Where { level: query.level, sql: String::new(), binds: Vec::new(), is_usual: true };
        for each in &query.conditions {
            condition.and(each);
        }
        condition.there_are_instances();
        let mut columns = String::new();
        let mut names = Vec::new();
        for (index, attribute) in query.returned.iter().enumerate() {
            let _ = write!(columns, ", {} AS c{index}", returned(attribute, query.level));
            names.push(format!("c{index}"));
        }
        let found = format!("json_group_array(json_array(k, json_array({})))", names.join(", "));
        let Where { sql: condition, binds, is_usual, .. } = condition;
        Self { columns, found, from, key, condition, binds, is_usual }
    }

    /// The first matches, at most `limit`, as one JSON array: one row for all of them costs the driver a fraction of
    /// what a row for each and a value for each column would.
    pub(super) fn first(&self, limit: usize) -> String {
        let Self { columns, found, from, key, condition, .. } = self;
        format!("SELECT {found} FROM (SELECT {key} AS k{columns} FROM {from}{condition} LIMIT {limit})")
    }

    /// The keys of all matches as one JSON array.
    pub(super) fn keys(&self) -> String {
        let Self { from, key, condition, .. } = self;
        format!("SELECT json_group_array({key}) FROM {from}{condition}")
    }

    /// The matches whose keys stand in a JSON array, which is the one thing to bind.
    pub(super) fn by_keys(&self) -> String {
        let Self { columns, found, from, key, .. } = self;
        format!(
            "SELECT {found} FROM (SELECT {key} AS k{columns} FROM {from} \
             WHERE {key} IN (SELECT value FROM json_each(?)))"
        )
    }
}

/// A column as text, never null.
fn returned(attribute: &Attribute, level: Level) -> String {
    match attribute.column {
        Column::Text(column)
        | Column::Time(column)
        | Column::Name(column)
        | Column::Names(column)
        | Column::Many(column) => spelt(column, level),
        Column::Number(column) | Column::Returned(column) => {
            format!("coalesce({} || '', '')", spelt(column, level))
        }
    }
}

/// Puts the table of the patient's attributes in place of `@`.
fn spelt(column: &str, level: Level) -> String {
    column.replace('@', if level == Level::Patient { "patient" } else { "study" })
}

/// A `WHERE` clause in the making.
struct Where {
    level: Level,
    sql: String,
    binds: Vec<Bind>,
    is_usual: bool,
}

/// What is in a list that is bound as one JSON array: the text of the statement is the same however long it is.
const IN_LIST: &str = "IN (SELECT value FROM json_each(?))";

impl Where {
    fn and(&mut self, condition: &Condition) {
        self.begin();
        if condition.any_of.len() > 1
            && let Some(list) = all_equal(&condition.any_of)
            && self.list(&condition.attribute.column)
        {
            self.text(list);
            return;
        }
        // Each number of alternatives has a text of its own.
        self.is_usual &= condition.any_of.len() == 1;
        self.sql.push('(');
        for (index, matching) in condition.any_of.iter().enumerate() {
            self.sql.push_str(if index == 0 { "" } else { " OR " });
            self.matching(&condition.attribute.column, matching);
        }
        self.sql.push(')');
    }

    fn begin(&mut self) {
        self.sql.push_str(if self.sql.is_empty() { " WHERE " } else { " AND " });
    }

    /// What has lost its instances has a row for its story, and is not there for anybody who asks.
    fn there_are_instances(&mut self) {
        let sql = match self.level {
            Level::Patient => {
                "EXISTS (SELECT 1 FROM study WHERE study.patient_key = patient.patient_key AND study.number_of_instances > 0)"
            }
            Level::Study => "study.number_of_instances > 0",
            Level::Series => "series.number_of_instances > 0",
            Level::Image => return,
        };
        self.begin();
        self.sql.push_str(sql);
    }

    /// Whether the column is one that can be looked for in a list, which is then to be bound.
    fn list(&mut self, column: &Column) -> bool {
        match column {
            Column::Text(column) | Column::Number(column) => {
                let _ = write!(self.sql, "{} {IN_LIST}", spelt(column, self.level));
            }
            Column::Many(column) => {
                let values = values_of(&spelt(column, self.level));
                let _ = write!(self.sql, "EXISTS (SELECT 1 FROM {values} AS one WHERE one.value {IN_LIST})");
            }
            Column::Time(_) | Column::Name(_) | Column::Names(_) | Column::Returned(_) => return false,
        }
        true
    }

    fn matching(&mut self, column: &Column, matching: &Matching) {
        match (column, matching) {
            (Column::Name(column), Matching::Name(groups)) => {
                self.name(&NameGroups::of_column(&spelt(column, self.level)), groups);
            }
            (Column::Names(column), Matching::Name(groups)) => {
                let values = values_of(&format!("{}_folded", spelt(column, self.level)));
                let _ = write!(self.sql, "EXISTS (SELECT 1 FROM {values} AS one WHERE one.value > '' AND (");
                self.name(&NameGroups::within("one.value"), groups);
                self.sql.push_str("))");
            }
            (Column::Many(column), Matching::Equal(text)) => {
                let column = spelt(column, self.level);
                let _ = write!(self.sql, "instr('\\' || {column} || '\\', ?) > 0");
                self.text(format!("\\{text}\\"));
            }
            (Column::Many(column), Matching::Wildcard(pattern)) => {
                let values = values_of(&spelt(column, self.level));
                let _ = write!(self.sql, "EXISTS (SELECT 1 FROM {values} WHERE value GLOB ?)");
                self.text(glob(pattern));
            }
            (Column::Time(column), Matching::Range { from, to }) => {
                let column = spelt(column, self.level);
                let whole = format!("substr({column} || '000000', 1, max(6, length({column})))");
                let _ = write!(self.sql, "{column} > ''");
                self.range(&whole, from.as_deref(), to.as_deref());
            }
            (Column::Number(column), Matching::Number(number)) => {
                let _ = write!(self.sql, "{} = ?", spelt(column, self.level));
                self.binds.push(Bind::Number(*number));
            }
            (Column::Text(column) | Column::Time(column), matching) => {
                self.plain(&spelt(column, self.level), matching);
            }
            // A kind of matching that the attribute does not have fits nothing.
            _ => self.sql.push('0'),
        }
    }

    fn plain(&mut self, column: &str, matching: &Matching) {
        match matching {
            Matching::Equal(text) => {
                let _ = write!(self.sql, "{column} = ?");
                self.text(text.clone());
            }
            Matching::Wildcard(pattern) => {
                self.within_prefix(column, pattern);
                let _ = write!(self.sql, "{column} GLOB ?");
                self.text(glob(pattern));
            }
            Matching::Range { from, to } => {
                let _ = write!(self.sql, "{column} > ''");
                self.range(column, from.as_deref(), to.as_deref());
            }
            Matching::Number(_) | Matching::Name(_) => self.sql.push('0'),
        }
    }

    fn range(&mut self, column: &str, from: Option<&str>, to: Option<&str>) {
        for (bound, operator) in [(from, ">="), (to, "<=")] {
            if let Some(bound) = bound {
                let _ = write!(self.sql, " AND {column} {operator} ?");
                self.text(bound.to_owned());
            }
        }
    }

    /// Lets an index find what begins as the pattern does before its first wildcard.
    fn within_prefix(&mut self, column: &str, pattern: &str) {
        let prefix = pattern.split(['*', '?']).next().unwrap_or_default();
        if !prefix.is_empty() {
            let _ = write!(self.sql, "{column} >= ? AND {column} < ? AND ");
            self.text(prefix.to_owned());
            self.text(format!("{prefix}{}", char::MAX));
        }
    }

    /// A pattern of ASCII is looked for in the first component group; any other may be meant for the ideographic or the
    /// phonetic one as well (PS3.5 section 6.2.1.1).
    fn name(&mut self, name: &NameGroups, patterns: &[String]) {
        let in_group = [Self::first_group, Self::ideographic_group, Self::phonetic_group];
        if let [pattern] = patterns {
            let searched = if pattern.is_ascii() { 1 } else { in_group.len() };
            for (index, in_group) in in_group.iter().take(searched).enumerate() {
                self.sql.push_str(if index == 0 { "(" } else { " OR (" });
                in_group(self, name, pattern);
                self.sql.push(')');
            }
            return;
        }
        self.sql.push('1');
        let named = in_group.iter().zip(patterns).filter(|(_, pattern)| pattern.bytes().any(|b| b != b'*'));
        for (in_group, pattern) in named {
            self.sql.push_str(" AND ");
            in_group(self, name, pattern);
        }
    }

    fn first_group(&mut self, name: &NameGroups, pattern: &str) {
        let NameGroups { folded, .. } = name;
        self.within_prefix(folded, pattern);
        let _ = write!(self.sql, "substr({folded}, 1, instr({folded} || '=', '=') - 1) GLOB ?");
        self.text(glob(pattern));
    }

    fn ideographic_group(&mut self, name: &NameGroups, pattern: &str) {
        self.later_group(&name.ideographic, pattern);
    }

    fn phonetic_group(&mut self, name: &NameGroups, pattern: &str) {
        self.later_group(&name.phonetic, pattern);
    }

    fn later_group(&mut self, group: &str, pattern: &str) {
        // Said so that the index, which leaves out empty groups, can be used.
        let _ = write!(self.sql, "{group} > '' AND ");
        self.within_prefix(group, pattern);
        let _ = write!(self.sql, "{group} GLOB ?");
        self.text(glob(pattern));
    }

    fn text(&mut self, text: String) {
        self.binds.push(Bind::Text(text));
    }
}

/// A folded name and its second and third component group (PS3.5 section 6.2.1.1), in SQL.
struct NameGroups {
    folded: String,
    ideographic: String,
    phonetic: String,
}

impl NameGroups {
    /// Of a name that has columns for them.
    fn of_column(column: &str) -> Self {
        Self {
            folded: format!("{column}_folded"),
            ideographic: format!("{column}_ideographic"),
            phonetic: format!("{column}_phonetic"),
        }
    }

    /// Of any folded name.
    fn within(name: &str) -> Self {
        let behind = |text: &str| format!("substr({text}, instr({text} || '=', '=') + 1)");
        let later = behind(name);
        Self {
            folded: name.to_owned(),
            ideographic: format!("substr({later}, 1, instr({later} || '=', '=') - 1)"),
            phonetic: behind(&later),
        }
    }
}

/// A list that holds nothing but texts or numbers to be the same as, as JSON.
fn all_equal(any_of: &[Matching]) -> Option<String> {
    let one = |matching: &Matching| match matching {
        Matching::Equal(text) => Some(serde_json::Value::from(text.as_str())),
        Matching::Number(number) => Some(serde_json::Value::from(*number)),
        _ => None,
    };
    any_of.iter().map(one).collect::<Option<serde_json::Value>>().map(|list| list.to_string())
}

/// A table of the values that backslashes join in a column: JSON's quoting, with each quoted backslash made a border.
fn values_of(column: &str) -> String {
    format!("json_each('[' || replace(json_quote({column}), '\\\\', '\",\"') || ']')")
}

/// A pattern in the syntax of GLOB, where `[` opens a set of characters.
fn glob(pattern: &str) -> String {
    pattern.replace('[', "[[]")
}
