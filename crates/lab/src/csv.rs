//! Fields of CSV files (RFC 4180).

/// A field, in quotation marks where it holds a sign of CSV.
pub(crate) fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}
