//! Error replies, by their code.

use std::collections::BTreeMap;

/// So many codes are told apart: a client can make up its own where scripts or modules let it.
const CODES: usize = 128;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors {
    pub total: u64,
    codes: BTreeMap<String, u64>,
}

impl Errors {
    /// Counts an error reply; its code is its first word.
    #[cold]
    pub fn add(&mut self, text: &[u8]) {
        self.total += 1;
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let code = String::from_utf8_lossy(code);
        if let Some(count) = self.codes.get_mut(&*code) {
            *count += 1;
        } else if self.codes.len() < CODES {
            self.codes.insert(code.into_owned(), 1);
        }
    }

    /// Adds those of another core.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        for (code, count) in &other.codes {
            *self.codes.entry(code.clone()).or_default() += count;
        }
    }

    pub fn by_code(&self) -> &BTreeMap<String, u64> {
        &self.codes
    }
}
