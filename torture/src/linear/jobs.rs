//! Redis's order over several keys: what a connection wrote before the job, in the same pipeline, is there for whoever
//! has seen the job. Each key on its own may be linearizable and this still be broken, when the keys lie in partitions
//! of different cores (docs/protocol.md, D1 to D9).
//!
//! A producer counts upwards: payload `i` is written before job `i`. Who reads the job and then asks for the payload never
//! finds it behind the job. Who asks for both in one pipeline may if they lie in two partitions: the two are read at two cores, and
//! nothing says which comes first. How often is counted. Of one partition they are read in their order (D1).

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::partition::partition;
use crate::rng::Rng;
use crate::{Client, Error, Result, Value};

/// Lines of production, each with keys of its own; the names spread over the partitions.
const LINES: usize = 12;
/// Jobs in a pipeline of the producer, at most.
const DEPTH: u64 = 8;
/// Enough to see what is wrong.
const MAX_COMPLAINTS: usize = 5;

/// How a line's job and payload are written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// SET payload, SET job; GET job, GET payload.
    Set,
    /// SET payload, INCR job; GET job, GET payload.
    Incr,
    /// MSET of two payloads, SET job; GET job, MGET.
    MSet,
    /// SET payload:i, SET job i; GET job, then GET payload:i.
    Named,
}

/// A line of production.
#[derive(Debug, Clone)]
pub struct Line {
    name: String,
    style: Style,
}

impl Line {
    /// The lines of a round.
    #[must_use]
    pub fn of_round(round: u64) -> Vec<Self> {
        const STYLES: [Style; 4] = [Style::Set, Style::Incr, Style::MSet, Style::Named];
        (0..LINES).map(|line| Self { name: format!("{round}:{line}"), style: STYLES[line % STYLES.len()] }).collect()
    }

    fn job(&self) -> String {
        format!("job:{}", self.name)
    }

    fn payload(&self, part: &str) -> String {
        format!("payload:{}:{part}", self.name)
    }

    fn send_job(&self, client: &mut Client, number: u64) -> usize {
        let text = number.to_string();
        let (a, b, job) = (self.payload("a"), self.payload("b"), self.job());
        match self.style {
            Style::Set | Style::Incr => client.send(&["SET", &a, &text]),
            Style::MSet => client.send(&["MSET", &a, &text, &b, &text]),
            Style::Named => client.send(&["SET", &self.payload(&text), &text]),
        }
        match self.style {
            Style::Incr => client.send(&["INCR", &job]),
            _ => client.send(&["SET", &job, &text]),
        }
        2
    }

    fn send_read(&self, client: &mut Client, job: u64) {
        match self.style {
            Style::Set | Style::Incr => client.send(&["GET", &self.payload("a")]),
            Style::MSet => client.send(&["MGET", &self.payload("a"), &self.payload("b")]),
            Style::Named => client.send(&["GET", &self.payload(&job.to_string())]),
        }
    }

    /// Whether job and payload lie in several partitions.
    fn is_spread(&self, partitions: u16) -> bool {
        let of = |key: String| partition(key.as_bytes(), partitions);
        let second = (self.style == Style::MSet).then(|| self.payload("b"));
        std::iter::once(self.payload("a")).chain(second).any(|payload| of(payload) != of(self.job()))
    }

    /// Whether a payload is of some job, if not of the right one.
    fn is_whole(&self, payload: &Value) -> bool {
        match (self.style, payload.items()) {
            (Style::MSet, Some([a, b])) => a == b && number(a).is_some(),
            (Style::MSet, _) => false,
            _ => number(payload).is_some(),
        }
    }

    /// What is wrong with a payload that was read after job number `job`.
    fn wrong(&self, job: u64, payload: &Value) -> Option<String> {
        let fits = match self.style {
            Style::Set | Style::Incr => number(payload).is_some_and(|found| found >= job),
            Style::MSet => match payload.items() {
                Some([a, b]) => a == b && number(a).is_some_and(|found| found >= job),
                _ => false,
            },
            Style::Named => job == 0 || number(payload) == Some(job),
        };
        (!fits).then(|| format!("line {} ({:?}): job {job} was seen, then payload {payload:?}", self.name, self.style))
    }
}

/// A count; what was never written counts as 0.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Null => Some(0),
        value => std::str::from_utf8(value.text()?).ok()?.parse().ok(),
    }
}

/// What all of a round's connections share.
#[derive(Debug)]
pub struct Work<'a> {
    /// The lines.
    pub lines: &'a [Line],
    /// All begin together.
    pub start: &'a Barrier,
    /// Tells when to end.
    pub stop: &'a AtomicBool,
    /// Whether the round may also end by a kill.
    pub may_be_cut_off: bool,
    /// The partitions: reads of one pipeline in two of them may overtake each other.
    pub partitions: u16,
}

/// What a consumer has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// How often it looked.
    pub looks: u64,
    /// How often the payload was behind the job where that may be.
    pub overtaken: u64,
    /// What must not be.
    pub complaints: Vec<String>,
}

impl Work<'_> {
    fn ended(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(Error::Closed) if self.may_be_cut_off => Ok(()),
            other => other,
        }
    }

    /// Writes the jobs of the lines that are its own, in pipelines, until it is told to stop or cut off; the number of
    /// jobs.
    ///
    /// # Errors
    /// When the connection fails in another way than by being closed.
    pub fn produce(&self, client: &mut Client, rng: Rng, mine: impl Fn(usize) -> bool) -> Result<u64> {
        let mine: Vec<&Line> = self.lines.iter().enumerate().filter(|(at, _)| mine(*at)).map(|(_, l)| l).collect();
        let mut jobs = vec![0; mine.len()];
        self.ended(self.write(client, rng, &mine, &mut jobs))?;
        Ok(jobs.iter().sum())
    }

    fn write(&self, client: &mut Client, mut rng: Rng, mine: &[&Line], next: &mut [u64]) -> Result<()> {
        self.start.wait();
        while !self.stop.load(Ordering::Relaxed) {
            let mut replies = 0;
            for _ in 0..rng.between(1, DEPTH) {
                let line = rng.index(mine.len());
                next[line] += 1;
                replies += mine[line].send_job(client, next[line]);
            }
            for _ in 0..replies {
                let reply = client.read()?;
                if matches!(reply, Value::Error(_)) {
                    return Err(Error::Protocol(format!("a producer was answered {reply:?}")));
                }
            }
        }
        Ok(())
    }

    /// Reads jobs and payloads, in one pipeline and in two steps, until it is told to stop or cut off.
    ///
    /// # Errors
    /// When the connection fails in another way than by being closed.
    pub fn consume(&self, client: &mut Client, rng: Rng) -> Result<Seen> {
        let mut seen = Seen::default();
        self.ended(self.look(client, rng, &mut seen))?;
        Ok(seen)
    }

    fn look(&self, client: &mut Client, mut rng: Rng, seen: &mut Seen) -> Result<()> {
        self.start.wait();
        while !self.stop.load(Ordering::Relaxed) && seen.complaints.len() < MAX_COMPLAINTS {
            let line = rng.pick(self.lines);
            // a named payload can only be asked for when the job is known.
            let in_one_pipeline = line.style != Style::Named && rng.percent(60);
            client.send(&["GET", &line.job()]);
            let (job, payload, how) = if in_one_pipeline {
                line.send_read(client, 0);
                (client.read()?, client.read()?, "in one pipeline")
            } else {
                let job = client.read()?;
                line.send_read(client, number(&job).unwrap_or(0));
                (job, client.read()?, "in two steps")
            };
            seen.looks += 1;
            let Some(job) = number(&job) else {
                seen.complaints.push(format!("line {}: the job is {job:?}", line.name));
                continue;
            };
            let overtaken = in_one_pipeline && line.is_spread(self.partitions);
            match line.wrong(job, &payload) {
                Some(_) if overtaken && line.is_whole(&payload) => seen.overtaken += 1,
                Some(wrong) => seen.complaints.push(format!("{wrong}, {how}")),
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: Style) -> Line {
        Line { name: "x".into(), style }
    }

    fn bulk(number: u64) -> Value {
        Value::Bulk(number.to_string().into())
    }

    #[test]
    fn a_payload_behind_its_job_is_wrong() {
        assert_eq!(line(Style::Set).wrong(3, &bulk(3)), None);
        assert_eq!(line(Style::Set).wrong(3, &bulk(7)), None);
        assert!(line(Style::Incr).wrong(3, &bulk(2)).is_some());
        assert!(line(Style::Incr).wrong(1, &Value::Null).is_some());
        assert!(line(Style::Named).wrong(1, &Value::Null).is_some());
    }

    #[test]
    fn half_an_mset_is_wrong() {
        assert_eq!(line(Style::MSet).wrong(2, &Value::Array(vec![bulk(2), bulk(2)])), None);
        assert!(line(Style::MSet).wrong(2, &Value::Array(vec![bulk(3), bulk(2)])).is_some());
    }
}
