//! A table of a page: it can be sorted by each column, and taken away as CSV.

pub(super) mod results;

use std::fmt::Write;

use super::escape::escape;
use crate::csv::field;
use crate::stats::Estimate;

/// One table.
#[derive(Default)]
pub(super) struct Table {
    /// Name of its CSV file, without an ending.
    pub(super) name: String,
    /// Heads of the columns.
    pub(super) columns: Vec<String>,
    /// Rows of as many entries.
    pub(super) rows: Vec<Vec<Entry>>,
}

/// One entry of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Text that is shown.
    text: String,
    /// Markup before the text.
    before: String,
    /// The number it stands for, by which a column is sorted and which CSV has.
    value: Option<f64>,
    /// Half-width of its 95 % interval, which CSV has in a column of its own.
    half: Option<f64>,
    /// Class of the cell.
    class: &'static str,
}

impl Entry {
    /// Words.
    pub(super) fn words(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A number as it is to be read; `–` for none.
    pub(super) fn number(value: Option<f64>, text: impl FnOnce(f64) -> String) -> Self {
        match value {
            None => Self::words("–"),
            Some(value) if !value.is_finite() => Self::words("not finite"),
            Some(value) => Self { text: text(value).replace('-', "−"), value: Some(value), ..Self::default() },
        }
    }

    /// A mean with its interval.
    pub(super) fn estimate(estimate: Option<Estimate>, decimals: usize) -> Self {
        let text = |e: Estimate| format!("{e:.decimals$}");
        let entry = Self::number(estimate.map(|e| e.mean), |_| estimate.map_or(String::new(), text));
        Self { half: estimate.and_then(|e| e.ci95).filter(|half| half.is_finite()), ..entry }
    }

    /// A difference, in a color where its interval leaves 0 out; `good` is the sign that one hopes for.
    pub(super) fn difference(estimate: Option<Estimate>, good: f64, decimals: usize) -> Self {
        let text = |e: Estimate| format!("{e:+.decimals$}");
        let entry = Self::number(estimate.map(|e| e.mean), |_| estimate.map_or(String::new(), text));
        let entry = Self { half: estimate.and_then(|e| e.ci95).filter(|half| half.is_finite()), ..entry };
        match estimate {
            Some(e) if e.excludes_zero() => entry.of_class(if e.mean * good > 0.0 { "good" } else { "bad" }),
            _ => entry,
        }
    }

    /// The same in a class of the page's style.
    pub(super) fn of_class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    /// The same after some markup.
    pub(super) fn after(self, before: String) -> Self {
        Self { before, ..self }
    }
}

impl Table {
    /// The table as HTML, with a link to its CSV; empty without rows.
    pub(super) fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut html = String::from(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\"><table class=\"sortable\">\n<thead><tr>",
        );
        for column in &self.columns {
            let _ = write!(html, "<th scope=\"col\">{}</th>", escape(column));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for entry in row {
                let class = if entry.class.is_empty() { String::new() } else { format!(" class=\"{}\"", entry.class) };
                let value = entry.value.map_or(String::new(), |value| format!(" data-value=\"{value}\""));
                let _ = write!(html, "<td{class}{value}>{}{}</td>", entry.before, escape(&entry.text));
            }
            html.push_str("</tr>\n");
        }
        let _ = write!(
            html,
            "</tbody></table></div>\n<p class=\"quiet\"><a download=\"{}.csv\" href=\"data:text/csv;charset=utf-8,{}\">CSV</a></p>\n",
            self.name,
            percent_encoded(&self.csv())
        );
        html
    }

    /// The table as CSV: numbers in full, where an entry stands for one, and after a column with intervals one of their half-widths.
    pub(super) fn csv(&self) -> String {
        let line = |fields: Vec<String>| fields.join(",") + "\n";
        let has_half: Vec<bool> =
            (0..self.columns.len()).map(|column| self.rows.iter().any(|row| row[column].half.is_some())).collect();
        let head = |(column, half): (&String, &bool)| match half {
            true => vec![field(column), field(&format!("{column}, ±"))],
            false => vec![field(column)],
        };
        let mut text = line(self.columns.iter().zip(&has_half).flat_map(head).collect());
        for row in &self.rows {
            let fields = |(entry, half): (&Entry, &bool)| {
                let text = match entry.value {
                    Some(value) => value.to_string(),
                    None if entry.text == "–" => String::new(),
                    None => field(&entry.text),
                };
                let width = half.then(|| entry.half.map_or(String::new(), |half| half.to_string()));
                [Some(text), width].into_iter().flatten().collect::<Vec<_>>()
            };
            text.push_str(&line(row.iter().zip(&has_half).flat_map(fields).collect()));
        }
        text
    }
}

/// Text as a URI may hold it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b',' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Script of a page with tables: each head becomes a button that sorts by its column, once up and once down.
pub(super) const SORTING: &str = include_str!("sorting.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_in_csv_and_words_are_escaped() {
        let gain = Estimate { n: 2, mean: -0.125, ci95: Some(0.5) };
        let row = vec![Entry::words("a,<b>"), Entry::estimate(Some(gain), 1), Entry::number(None, |_| String::new())];
        let table =
            Table { name: "x".into(), columns: ["arm", "gain", "p"].map(String::from).to_vec(), rows: vec![row] };
        assert_eq!(table.csv(), "arm,gain,\"gain, ±\",p\n\"a,<b>\",-0.125,0.5,\n");
        let html = table.html();
        assert!(html.contains("<td>a,&lt;b&gt;</td><td data-value=\"-0.125\">−0.1 ± 0.5</td><td>–</td>"), "{html}");
        assert!(html.contains("utf-8,arm,gain,%22gain,%20%C2%B1%22,p%0A%22a,%3Cb%3E%22,-0.125,0.5,%0A"), "{html}");
        assert_eq!(Table { rows: Vec::new(), ..table }.html(), "");
    }
}
