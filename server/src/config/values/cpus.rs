//! Lists of processors, as taskset writes them.

use std::fmt::Write;

use super::{Codec, Put, Reason, only, utf8};

/// No machine has processors beyond this; keeps a wrong number from making a long list.
const MAX: usize = 4096;

/// Processors in the order in which they are named: `0-3,8` or `0-6:2` (every second one). None: any will do.
#[derive(Debug)]
pub(in crate::config) struct CpuList;

fn range(text: &str) -> Option<impl Iterator<Item = usize> + use<>> {
    let (range, step) = text.split_once(':').unwrap_or((text, "1"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let step: usize = step.trim().parse().ok()?;
    (first <= last && last < MAX && step > 0).then(|| (first..=last).step_by(step))
}

impl Codec<Vec<usize>> for CpuList {
    fn parse(&self, words: &[&[u8]], _: &Vec<usize>, _: Put) -> Result<Vec<usize>, Reason> {
        let text = utf8(only(words))?;
        let mut processors = Vec::new();
        for part in text.split(',').filter(|_| !text.is_empty()) {
            processors.extend(range(part).ok_or_else(|| Reason::new("not a list of processors like 0-3,8"))?);
        }
        Ok(processors)
    }

    fn print(&self, value: &Vec<usize>) -> Vec<u8> {
        let mut text = String::new();
        for processor in value {
            // writing to a string does not fail
            let _ = write!(text, "{}{processor}", if text.is_empty() { "" } else { "," });
        }
        text.into_bytes()
    }

    fn kind(&self) -> String {
        "0-3,8".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_as_taskset_reads_them() {
        let read = |text| parse(&CpuList, &Vec::new(), text);
        assert_eq!(read("0-3,8").unwrap(), [0, 1, 2, 3, 8]);
        assert_eq!(read("1-6:2,0").unwrap(), [1, 3, 5, 0]);
        assert_eq!(read("").unwrap(), [0; 0]);
        for wrong in ["a", "3-1", "1,,2", "0-3:0", "9999999", "-1", "1-"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn lists_round_trip(list in prop::collection::vec(0usize..MAX, 0..10)) {
            round_trips(&CpuList, &Vec::new(), &list);
        }
    }
}
