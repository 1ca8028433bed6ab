use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, presets};
use plsim::numbers::counted;

use crate::terminal::{Styles, Terminal};

/// A text for people that grows line by line.
pub(crate) struct Page {
    text: String,
    pub(crate) styles: Styles,
    /// Columns that a line may have.
    pub(crate) width: usize,
}

impl Page {
    pub(crate) fn new(terminal: &Terminal) -> Self {
        Self {
            text: String::new(),
            styles: terminal.styles(),
            width: terminal.width(),
        }
    }

    /// Returns the text.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    pub(crate) fn section(&mut self, title: &str, remark: &str) {
        let Styles { strong, dim, .. } = self.styles;
        let gap = if remark.is_empty() { "" } else { "  " };
        self.line("");
        self.line(&format!(
            "{strong}{title}{strong:#}{gap}{dim}{remark}{dim:#}"
        ));
    }

    pub(crate) fn table(&mut self, mut columns: Vec<Column>, rows: usize) {
        let left_out = fit(&mut columns, self.width);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(columns.iter().map(|column| column.cell(&column.head)));
        let shown = columns.first().map_or(0, |column| column.cells.len());
        for index in 0..shown {
            table.add_row(
                columns
                    .iter()
                    .map(|column| column.cell(&column.cells[index])),
            );
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        for line in table.lines() {
            self.line(&format!("  {}", line.trim_end()));
        }
        if !left_out.is_empty() {
            let Styles { dim, .. } = self.styles;
            let what = left_out.join(", ");
            self.line(&format!(
                "  {dim}not shown, for want of width: {what}{dim:#}"
            ));
        }
        if rows > shown {
            let more = counted((rows - shown) as u64, "more row");
            self.line(&format!("  ... {more}; summary.json has all"));
        }
    }

    pub(crate) fn wrapped(&mut self, mark: &str, text: &str) {
        let width = self.width.min(96);
        let mut line = format!("  {mark}");
        let indent = if mark.starts_with(' ') { 6 } else { 4 };
        let mut used = indent;
        for word in words(text) {
            if used + word.chars().count() > width {
                self.line(line.trim_end());
                line = " ".repeat(indent);
                used = indent;
            }
            used += word.chars().count() + 1;
            line.push_str(word);
            line.push(' ');
        }
        self.line(line.trim_end());
    }

    pub(crate) fn line(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{text}");
    }
}

/// Returns the words of a text; a number stays one, whatever its groups of digits.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(' ') {
        let before = text[start..at].ends_with(|last: char| last.is_ascii_digit());
        let digits = text[at + 1..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        if before && digits == 3 {
            continue;
        }
        words.push(&text[start..at]);
        start = at + 1;
    }
    words.push(&text[start..]);
    words
}

/// Blanks between two columns.
const GAP: u16 = 2;

/// A column of a table.
pub(crate) struct Column {
    head: String,
    cells: Vec<String>,
    alignment: CellAlignment,
    /// How early it may be left out where the terminal is narrow: the highest first, 0 never.
    rank: u8,
}

impl Column {
    /// A column of texts, to the left.
    pub(crate) fn name<T>(head: &str, rank: u8, rows: &[T], text: impl Fn(&T) -> String) -> Self {
        let cells = rows.iter().map(text).collect();
        Self {
            head: head.to_owned(),
            cells,
            alignment: CellAlignment::Left,
            rank,
        }
    }

    /// A column of numbers, to the right.
    pub(crate) fn number<T>(head: &str, rank: u8, rows: &[T], text: impl Fn(&T) -> String) -> Self {
        Self {
            alignment: CellAlignment::Right,
            ..Self::name(head, rank, rows, text)
        }
    }

    fn cell(&self, text: &str) -> Cell {
        Cell::new(text).set_alignment(self.alignment)
    }

    fn width(&self) -> usize {
        let texts = self.cells.iter().chain([&self.head]);
        let widest = texts.map(|text| text.chars().count()).max();
        widest.unwrap_or(0) + usize::from(GAP)
    }
}

/// Leaves columns out until the others fit; returns their heads.
fn fit(columns: &mut Vec<Column>, width: usize) -> Vec<String> {
    let mut left_out = Vec::new();
    while columns.iter().map(Column::width).sum::<usize>() > width {
        let ranked = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.rank > 0);
        let Some((index, _)) = ranked.max_by_key(|(_, column)| column.rank) else {
            break;
        };
        left_out.push(columns.remove(index).head);
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::{Column, fit, words};

    #[test]
    fn a_number_is_one_word() {
        assert_eq!(
            words("1 234 567 ports, 300 s"),
            ["1 234 567", "ports,", "300", "s"]
        );
        assert_eq!(words("at 24 h"), ["at", "24", "h"]);
        assert_eq!(words(""), [""]);
    }

    #[test]
    fn narrow_terminals_lose_the_least_needed_columns_first() {
        let column = |head: &str, rank| Column::number(head, rank, &[1_234], i32::to_string);
        let kept = |width| {
            let mut columns = vec![
                column("aaaaaa", 0),
                column("bbbbbb", 2),
                column("cccccc", 1),
            ];
            let left_out = fit(&mut columns, width);
            let heads = columns.into_iter().map(|column| column.head);
            (heads.collect::<Vec<_>>().concat(), left_out.concat())
        };
        let fitted = |kept: &str, left_out: &str| (kept.to_owned(), left_out.to_owned());
        assert_eq!(kept(24), fitted("aaaaaabbbbbbcccccc", ""));
        assert_eq!(kept(23), fitted("aaaaaacccccc", "bbbbbb"));
        assert_eq!(kept(10), fitted("aaaaaa", "bbbbbbcccccc"));
        assert_eq!(kept(usize::MAX), fitted("aaaaaabbbbbbcccccc", ""));
    }
}
