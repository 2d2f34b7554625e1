//! A value by itself, without a record: of a transaction's own, or on its way from one key to another.

use emberkv_log::Value;
use emberkv_log::disk::Disk;

use crate::lookup::Found;
use crate::partition::Partition;
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
        };
        Self { value, expires_at_ms }
    }

    /// A text, in the form in which it is stored.
    pub(crate) fn text(text: Vec<u8>, expires_at_ms: Option<u64>) -> Self {
        let value = match stored(&text) {
            Value::Int(int) => Stored::Int(int),
            Value::Bytes(_) | Value::Packed(_) => Stored::Bytes(text),
        };
        Self { value, expires_at_ms }
    }

    pub(crate) fn value(&self) -> Value<'_> {
        match &self.value {
            Stored::Int(int) => Value::Int(*int),
            Stored::Bytes(bytes) => Value::Bytes(bytes),
        }
    }

    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }
}

impl<D: Disk> Partition<D> {
    /// What a key holds, copied.
    pub(crate) fn held(&self, found: Found) -> Held {
        Held::new(self.value(found), found.expires_at_ms)
    }
}
