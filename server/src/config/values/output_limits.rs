//! `client-output-buffer-limit`: how much unsent output each class of client may have.

use super::{Codec, Put, Reason, memory::parse_memory, show_memory};

/// The bounds of one class of clients. 0 means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// A client with more unsent output than this is disconnected at once.
    pub hard_bytes: u64,
    /// A client with more than this for [`soft_seconds`](Self::soft_seconds) is disconnected.
    pub soft_bytes: u64,
    /// How long a client may be over [`soft_bytes`](Self::soft_bytes), in seconds.
    pub soft_seconds: u64,
}

/// The bounds of all classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Clients that are nothing special.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients with a subscription.
    pub pubsub: OutputLimit,
}

impl Default for OutputLimits {
    /// Redis's defaults.
    fn default() -> Self {
        let limit = |hard_bytes, soft_bytes, soft_seconds| OutputLimit { hard_bytes, soft_bytes, soft_seconds };
        Self {
            normal: OutputLimit::default(),
            replica: limit(256 << 20, 64 << 20, 60),
            pubsub: limit(32 << 20, 8 << 20, 60),
        }
    }
}

impl OutputLimits {
    /// The classes by the names that redis prints.
    fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
    }

    fn class_mut(&mut self, name: &[u8]) -> Option<&mut OutputLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"replica" | b"slave" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

/// Reads and prints [`OutputLimits`]. What is not named keeps its value.
#[derive(Debug)]
pub(in crate::config) struct BufferLimits;

impl Codec<OutputLimits> for BufferLimits {
    fn parse(&self, words: &[&[u8]], current: &OutputLimits, _: Put) -> Result<OutputLimits, Reason> {
        let (lines, rest) = words.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(Reason::new("Wrong number of arguments in buffer limit configuration."));
        }
        let mut limits = *current;
        for [class, hard, soft, seconds] in lines {
            let Some(limit) = limits.class_mut(class) else {
                return Err(Reason::new("Invalid client class specified in buffer limit configuration."));
            };
            *limit = parse_limit(hard, soft, seconds).ok_or_else(|| {
                Reason::new("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
            })?;
        }
        Ok(limits)
    }

    fn print(&self, value: &OutputLimits) -> Vec<u8> {
        let text = value
            .classes()
            .map(|(name, limit)| format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds));
        text.join(" ").into_bytes()
    }

    fn show(&self, value: &OutputLimits) -> String {
        let text = value.classes().map(|(name, limit)| {
            let (hard, soft) = (show_memory(limit.hard_bytes), show_memory(limit.soft_bytes));
            let name = if name == "slave" { "replica" } else { name };
            format!("{name} {hard} {soft} {}", limit.soft_seconds)
        });
        text.join(" ")
    }

    fn kind(&self) -> String {
        "class hard soft seconds".to_owned()
    }

    fn takes_list(&self) -> bool {
        true
    }
}

fn parse_limit(hard: &[u8], soft: &[u8], seconds: &[u8]) -> Option<OutputLimit> {
    Some(OutputLimit {
        hard_bytes: parse_memory(hard)?,
        soft_bytes: parse_memory(soft)?,
        soft_seconds: std::str::from_utf8(seconds).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_classes_named_change_and_the_last_word_counts() {
        let before = OutputLimits::default();
        let text = "normal 1k 1k 5 NORMAL 1m 1m 3 REPLICA 1mb 1mb 8";
        let after = parse(&BufferLimits, &before, text).unwrap();
        assert_eq!(
            BufferLimits.print(&after),
            b"normal 1000000 1000000 3 slave 1048576 1048576 8 pubsub 33554432 8388608 60"
        );
        assert_eq!(parse(&BufferLimits, &before, ""), Ok(before));
    }

    #[test]
    fn errors_are_redis_errors() {
        let reason = |text: &str| parse(&BufferLimits, &OutputLimits::default(), text).unwrap_err();
        assert_eq!(reason("normal 0 0"), "Wrong number of arguments in buffer limit configuration.");
        for class in ["foo", "master"] {
            assert_eq!(
                reason(&format!("{class} 0 0 0")),
                "Invalid client class specified in buffer limit configuration."
            );
        }
        for bad in ["normal 1k 1k x", "normal 1k 1z 0", "normal 1k 1k -1"] {
            assert_eq!(reason(bad), "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
        }
    }

    proptest! {
        #[test]
        fn limits_round_trip(numbers: [(u64, u64, u64); 3]) {
            let [normal, replica, pubsub] = numbers.map(|(hard_bytes, soft_bytes, soft_seconds)| {
                OutputLimit { hard_bytes, soft_bytes, soft_seconds }
            });
            let limits = OutputLimits { normal, replica, pubsub };
            round_trips(&BufferLimits, &OutputLimits::default(), &limits);
        }
    }
}
