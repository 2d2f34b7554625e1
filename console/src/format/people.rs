//! For people.

use std::io::Write;

use crate::quote::quote;
use crate::value::Value;

/// Writes lines; all but the first begin with `indent`.
pub(super) fn write(reply: &Value, indent: &str, out: &mut Vec<u8>) {
    // writing into memory does not fail.
    let _ = match reply {
        Value::Error(text) => line(out, b"(error) ", text),
        Value::Status(text) | Value::Verbatim(text) => line(out, b"", text),
        Value::Integer(number) => writeln!(out, "(integer) {number}"),
        Value::Double(text) => line(out, b"(double) ", text),
        Value::BigNumber(text) => line(out, b"(big number) ", text),
        Value::Text(text) => writeln!(out, "{}", quote(text)),
        Value::Nil => writeln!(out, "(nil)"),
        Value::Boolean(value) => writeln!(out, "({value})"),
        Value::Array(items) => return members(items, ')', "(empty array)", indent, out),
        Value::Push(items) => return members(items, ')', "(empty push)", indent, out),
        Value::Set(items) => return members(items, '~', "(empty set)", indent, out),
        Value::Map(pairs) => return entries(pairs, indent, out),
    };
}

fn line(out: &mut Vec<u8>, kind: &[u8], text: &[u8]) -> std::io::Result<()> {
    out.extend_from_slice(kind);
    out.extend_from_slice(text);
    out.push(b'\n');
    Ok(())
}

fn members(items: &[Value], mark: char, empty: &str, indent: &str, out: &mut Vec<u8>) {
    if items.is_empty() {
        let _ = writeln!(out, "{empty}");
    }
    let (width, deeper) = widths(items.len(), indent);
    for (i, item) in items.iter().enumerate() {
        let _ = write!(out, "{}{:width$}{mark} ", if i == 0 { "" } else { indent }, i + 1);
        write(item, &deeper, out);
    }
}

fn entries(pairs: &[(Value, Value)], indent: &str, out: &mut Vec<u8>) {
    if pairs.is_empty() {
        let _ = writeln!(out, "(empty hash)");
    }
    let (width, deeper) = widths(pairs.len(), indent);
    for (i, (name, value)) in pairs.iter().enumerate() {
        let _ = write!(out, "{}{:width$}# ", if i == 0 { "" } else { indent }, i + 1);
        write(name, &deeper, out);
        out.pop();
        out.extend_from_slice(b" => ");
        let at = out.len();
        write(value, &deeper, out);
        if value.text().is_none() && is_several_lines(&out[at..]) {
            out.splice(at..at, format!("\n{deeper}").into_bytes());
        }
    }
}

fn is_several_lines(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'\n').count() > 1
}

/// The digits of the largest number, and the indent of what is nested.
fn widths(count: usize, indent: &str) -> (usize, String) {
    let width = count.to_string().len();
    (width, format!("{indent}{}", " ".repeat(width + 2)))
}
