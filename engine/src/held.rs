//! A value by itself, without a record: of a transaction's own, or on its way from one key to another.

use emberkv_log::{Kind, Value};

use crate::collections::{Root, Whole};
use crate::write::stored;

/// What a key holds: its value, and when it expires.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    value: Stored,
    expires_at_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stored {
    Int(i64),
    Bytes(Vec<u8>),
    Whole(Vec<u8>),
    Root(Vec<u8>),
    Long(Vec<u8>),
    Chunked(Vec<u8>),
}

impl Held {
    /// A copy of a value.
    pub(crate) fn new(value: Value<'_>, expires_at_ms: Option<u64>) -> Self {
        let value = match value {
            Value::Int(int) => Stored::Int(int),
            Value::Bytes(bytes) => Stored::Bytes(bytes.to_vec()),
            Value::Packed(packed) => {
                let mut bytes = Vec::new();
                packed.unpack(&mut bytes);
                Stored::Bytes(bytes)
            }
            Value::Whole(bytes) => Stored::Whole(bytes.to_vec()),
            Value::Root(bytes) => Stored::Root(bytes.to_vec()),
            Value::Chunked(bytes) => Stored::Chunked(bytes.to_vec()),
        };
        Self { value, expires_at_ms }
    }

    /// A text, in the form in which it is stored.
    pub(crate) fn text(text: Vec<u8>, expires_at_ms: Option<u64>) -> Self {
        let value = match stored(&text) {
            Value::Int(int) => Stored::Int(int),
            _ => Stored::Bytes(text),
        };
        Self { value, expires_at_ms }
    }

    /// A collection's image.
    pub(crate) fn whole(image: Vec<u8>, expires_at_ms: Option<u64>) -> Self {
        Self { value: Stored::Whole(image), expires_at_ms }
    }

    /// A collection's root.
    pub(crate) fn root(root: Vec<u8>, expires_at_ms: Option<u64>) -> Self {
        Self { value: Stored::Root(root), expires_at_ms }
    }

    /// A text that was in chunks, and will be again.
    pub(crate) fn long(text: Vec<u8>, expires_at_ms: Option<u64>) -> Self {
        Self { value: Stored::Long(text), expires_at_ms }
    }

    /// The root of a string in chunks.
    pub(crate) fn chunked(root: Vec<u8>, expires_at_ms: Option<u64>) -> Self {
        Self { value: Stored::Chunked(root), expires_at_ms }
    }

    /// The text, if it is to be in chunks.
    pub(crate) fn long_text(&self) -> Option<&[u8]> {
        if let Stored::Long(text) = &self.value { Some(text) } else { None }
    }

    /// What its record is.
    pub(crate) fn kind(&self) -> Kind {
        match self.value {
            Stored::Int(_) => Kind::PutInt,
            Stored::Bytes(_) | Stored::Long(_) => Kind::Put,
            Stored::Whole(_) => Kind::PutWhole,
            Stored::Root(_) => Kind::PutRoot,
            Stored::Chunked(_) => Kind::PutChunked,
        }
    }

    pub(crate) fn value(&self) -> Value<'_> {
        match &self.value {
            Stored::Int(int) => Value::Int(*int),
            Stored::Bytes(bytes) | Stored::Long(bytes) => Value::Bytes(bytes),
            Stored::Whole(bytes) => Value::Whole(bytes),
            Stored::Root(bytes) => Value::Root(bytes),
            Stored::Chunked(bytes) => Value::Chunked(bytes),
        }
    }

    /// How many elements a collection has.
    pub(crate) fn count(&self) -> u64 {
        match &self.value {
            Stored::Whole(bytes) => Whole::read(bytes).head.count,
            Stored::Root(bytes) => Root::read(bytes).head.count,
            Stored::Int(_) | Stored::Bytes(_) | Stored::Long(_) | Stored::Chunked(_) => 0,
        }
    }

    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }
}
