//! Comma-separated values: everything nested in one flat line.

use std::io::Write;

use crate::quote::quote;
use crate::value::Value;

pub(super) fn write(reply: &Value, out: &mut Vec<u8>) {
    match reply {
        Value::Error(text) => {
            let _ = write!(out, "ERROR,{}", quote(text));
        }
        Value::Status(text) | Value::Text(text) | Value::Verbatim(text) => {
            out.extend_from_slice(quote(text).as_bytes());
        }
        Value::Double(text) | Value::BigNumber(text) => out.extend_from_slice(text),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Nil => out.extend_from_slice(b"NULL"),
        Value::Boolean(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Array(items) | Value::Set(items) | Value::Push(items) => list(items.iter(), out),
        Value::Map(pairs) => list(pairs.iter().flat_map(|(name, value)| [name, value]), out),
    }
}

fn list<'a>(items: impl Iterator<Item = &'a Value>, out: &mut Vec<u8>) {
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}
