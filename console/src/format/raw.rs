//! For scripts: the bytes.

use std::io::Write;

use crate::value::Value;

pub(super) fn write(reply: &Value, between: &[u8], out: &mut Vec<u8>) {
    match reply {
        Value::Nil => {}
        // a line of its own, whatever stands behind replies.
        Value::Error(text) => {
            out.extend_from_slice(text);
            out.push(b'\n');
        }
        Value::Status(text) | Value::Text(text) | Value::Verbatim(text) => out.extend_from_slice(text),
        Value::Double(text) | Value::BigNumber(text) => out.extend_from_slice(text),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Boolean(value) => {
            let _ = write!(out, "({value})");
        }
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(between);
                }
                write(item, between, out);
            }
        }
        Value::Map(pairs) => {
            for (i, (name, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(between);
                }
                write(name, between, out);
                out.push(b' ');
                write(value, between, out);
            }
        }
    }
}
