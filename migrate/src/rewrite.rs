//! A value as commands that make it, for what RESTORE does not take, or not in one piece.

use crate::error::Result;
use crate::rdb::{Element, Group};

/// A command has no more words than this, and no more bytes unless a single element has.
const MOST_WORDS: usize = 512;
const MOST_BYTES: usize = 1 << 20;

/// Where the commands go.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(Vec<Vec<u8>>) -> Result<()>;

/// See the module. The key is removed first.
pub(crate) struct Rewrite<'a> {
    key: &'a [u8],
    emit: Emit<'a>,
    /// The command that gets more elements.
    words: Vec<Vec<u8>>,
    bytes: usize,
    /// When fields of that command expire.
    times: Vec<(Vec<u8>, u64)>,
    is_empty: bool,
}

fn word(text: impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}

impl<'a> Rewrite<'a> {
    pub fn new(key: &'a [u8], emit: Emit<'a>) -> Result<Self> {
        emit(vec![word("DEL"), key.to_vec()])?;
        Ok(Self { key, emit, words: Vec::new(), bytes: 0, times: Vec::new(), is_empty: true })
    }

    /// Takes the next piece of the value.
    pub fn element(&mut self, element: Element) -> Result<()> {
        match element {
            Element::Piece(text) => {
                let name = if self.is_empty { "SET" } else { "APPEND" };
                self.send(name, vec![text])?;
            }
            Element::Item(text) => self.add("RPUSH", vec![text])?,
            Element::Member(text) => self.add("SADD", vec![text])?,
            // as short as it can be, and with an exponent: what is far from 1 would have hundreds of digits
            Element::Scored(member, score) => self.add("ZADD", vec![word(format!("{score:e}")), member])?,
            Element::Field(field, value, time) => {
                self.times.extend(time.map(|time| (field.clone(), time)));
                self.add("HSET", vec![field, value])?;
            }
            Element::Entry(id, fields) => {
                let mut words = vec![word(id)];
                words.extend(fields);
                self.send("XADD", words)?;
            }
            Element::Counters(last, deleted, added) => {
                if self.is_empty {
                    // the entry is not kept, but there has to be a stream
                    let id = if last.ms == 0 && last.seq == 0 { word("0-1") } else { word(last) };
                    self.send("XADD", vec![word("MAXLEN"), word(0), id, word("x"), word("y")])?;
                }
                let words = [word(last), word("ENTRIESADDED"), word(added), word("MAXDELETEDID"), word(deleted)];
                self.send("XSETID", words.to_vec())?;
            }
            Element::Group(group) => self.group(group)?,
        }
        self.is_empty = false;
        Ok(())
    }

    fn group(&mut self, group: Group) -> Result<()> {
        let name = || group.name.clone();
        let mut words = vec![word("XGROUP"), word("CREATE"), self.key.to_vec(), name(), word(group.last)];
        if let Some(read) = group.read {
            words.extend([word("ENTRIESREAD"), word(read)]);
        }
        (self.emit)(words)?;
        for consumer in &group.consumers {
            let words = ["XGROUP", "CREATECONSUMER"].map(word).into_iter();
            (self.emit)(words.chain([self.key.to_vec(), name(), consumer.clone()]).collect())?;
        }
        for claim in &group.claims {
            let consumer = group.consumers[claim.consumer].clone();
            let mut words = vec![name(), consumer, word(0), word(claim.id), word("TIME"), word(claim.delivered_ms)];
            words.extend([word("RETRYCOUNT"), word(claim.deliveries), word("FORCE"), word("JUSTID")]);
            self.send("XCLAIM", words)?;
        }
        Ok(())
    }

    /// A command about the key, sent at once.
    fn send(&mut self, name: &str, words: Vec<Vec<u8>>) -> Result<()> {
        let mut all = vec![word(name), self.key.to_vec()];
        all.extend(words);
        (self.emit)(all)
    }

    /// Adds an element to the command that is being made.
    fn add(&mut self, name: &str, words: Vec<Vec<u8>>) -> Result<()> {
        if self.words.is_empty() {
            self.words = vec![word(name), self.key.to_vec()];
        }
        self.bytes += words.iter().map(Vec::len).sum::<usize>();
        self.words.extend(words);
        if self.words.len() >= MOST_WORDS || self.bytes >= MOST_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        if !self.words.is_empty() {
            (self.emit)(std::mem::take(&mut self.words))?;
        }
        for (field, time) in std::mem::take(&mut self.times) {
            self.send("HPEXPIREAT", vec![word(time), word("FIELDS"), word(1), field])?;
        }
        Ok(())
    }

    /// After the last piece.
    pub fn finish(mut self, expires_at_ms: Option<u64>) -> Result<()> {
        self.flush()?;
        match expires_at_ms {
            Some(ms) => self.send("PEXPIREAT", vec![word(ms)]),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(elements: Vec<Element>, expires_at_ms: Option<u64>) -> Vec<String> {
        let mut all = Vec::new();
        let mut emit = |words: Vec<Vec<u8>>| {
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            all.push(words.join(" "));
            Ok(())
        };
        let mut rewrite = Rewrite::new(b"k", &mut emit).unwrap();
        elements.into_iter().for_each(|element| rewrite.element(element).unwrap());
        rewrite.finish(expires_at_ms).unwrap();
        all
    }

    #[test]
    fn fields_get_their_times_and_the_key_its_own() {
        let fields = vec![Element::Field(word("a"), word("1"), None), Element::Field(word("b"), word("2"), Some(99))];
        assert_eq!(
            commands(fields, Some(77)),
            ["DEL k", "HSET k a 1 b 2", "HPEXPIREAT k 99 FIELDS 1 b", "PEXPIREAT k 77"]
        );
    }

    #[test]
    fn what_is_long_is_cut_in_slices() {
        let items = (0..1000).map(|nth| Element::Item(word(nth))).collect();
        let all = commands(items, None);
        assert_eq!(all.iter().map(|line| line.split(' ').count()).collect::<Vec<_>>(), [2, 512, 492]);
        let pieces = vec![Element::Piece(word("ab")), Element::Piece(word("cd"))];
        assert_eq!(commands(pieces, None), ["DEL k", "SET k ab", "APPEND k cd"]);
    }

    #[test]
    fn scores_are_exact_and_short() {
        let scored = |score| Element::Scored(word("m"), score);
        let all = commands(vec![scored(0.1), scored(1e300), scored(5e-324), scored(f64::NEG_INFINITY)], None);
        assert_eq!(all[1], "ZADD k 1e-1 m 1e300 m 5e-324 m -inf m");
    }
}
