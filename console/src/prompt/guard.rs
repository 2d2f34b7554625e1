//! What is asked about before it is sent.

/// The question, for a command that deletes everything, stops the server, or both.
pub(super) fn question(words: &[Vec<u8>]) -> Option<&'static str> {
    let word = |index: usize| words.get(index).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let (first, second) = (word(0), word(1));
    Some(match (first.as_slice(), second.as_slice()) {
        (b"flushall", _) => "delete every key of every database?",
        (b"flushdb", _) => "delete every key of this database?",
        (b"shutdown", b"abort") => return None,
        (b"shutdown", _) => "stop the server?",
        (b"debug", b"sleep" | b"object" | b"help" | b"jmap" | b"protocol" | b"digest") => return None,
        (b"debug", _) => "DEBUG can crash the server or change its data; do it?",
        (b"swapdb", _) => "exchange two databases under all clients?",
        (b"replicaof" | b"slaveof", b"no") => return None,
        (b"replicaof" | b"slaveof", _) => "replace everything here by what the other server has?",
        (b"cluster", b"reset") => "make this node forget the cluster, and maybe its keys?",
        (b"script" | b"function", b"flush") => "delete every script or function?",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_undone_is_asked_about() {
        let asked = |line: &str| question(&crate::quote::split(line.as_bytes()).unwrap()).is_some();
        for line in ["FLUSHALL", "flushdb async", "Shutdown nosave", "debug segfault", "replicaof a 1", "swapdb 0 1"] {
            assert!(asked(line), "{line}");
        }
        for line in ["get flushall", "set a b", "del a", "shutdown abort", "replicaof no one", "debug sleep 1", ""] {
            assert!(!asked(line), "{line}");
        }
    }
}
