//! Json. An error is `error:"text"`, which is none on purpose: who reads json shall not take it for a result.

use std::io::Write;

use crate::quote::quote;
use crate::value::Value;

pub(super) fn write(reply: &Value, ascii: bool, out: &mut Vec<u8>) {
    match reply {
        Value::Error(text) => {
            out.extend_from_slice(b"error:");
            string(text, ascii, out);
        }
        Value::Status(text) | Value::Text(text) | Value::Verbatim(text) => string(text, ascii, out),
        Value::Double(text) => out.extend_from_slice(text),
        // readers of json would round it.
        Value::BigNumber(text) => string(text, ascii, out),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Boolean(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Array(items) | Value::Set(items) | Value::Push(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, ascii, out);
            }
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            for (i, (name, value)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_name(name, ascii, out);
                out.push(b':');
                write(value, ascii, out);
            }
            out.push(b'}');
        }
    }
}

/// A name must be a text.
fn write_name(name: &Value, ascii: bool, out: &mut Vec<u8>) {
    if name.text().is_some() {
        return write(name, ascii, out);
    }
    let mut text = Vec::new();
    write(name, ascii, &mut text);
    string(&text, ascii, out);
}

fn string(text: &[u8], ascii: bool, out: &mut Vec<u8>) {
    if ascii {
        // quoted twice: once for json, once for who unescapes what json gives.
        out.extend_from_slice(quote(text).replace('\\', "\\\\").as_bytes());
        return;
    }
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            8 => out.extend(b"\\b"),
            12 => out.extend(b"\\f"),
            0..=31 => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
