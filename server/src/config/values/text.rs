//! Any bytes.

use super::{Codec, Put, Reason, only};

/// A word that can be anything.
#[derive(Debug)]
pub(in crate::config) struct Text;

impl Codec<Vec<u8>> for Text {
    fn parse(&self, words: &[&[u8]], _: &Vec<u8>, _: Put) -> Result<Vec<u8>, Reason> {
        Ok(only(words).to_vec())
    }

    fn print(&self, value: &Vec<u8>) -> Vec<u8> {
        value.clone()
    }

    fn kind(&self) -> String {
        "text".to_owned()
    }
}
