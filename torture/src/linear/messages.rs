//! Messages: a listener has each speaker's in their order and without a gap, as long as both are connected, and what a speaker wrote
//! before a message is there for whoever has got it, on whatever core (docs/protocol.md, P1). Nothing of it survives anything.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::rng::Rng;
use crate::{Client, Error, Result, Value};

/// Those who speak, each on a channel of its own, and those who listen to all of them.
pub const SPEAKERS: usize = 2;
/// See there.
pub const LISTENERS: usize = 2;
/// Messages in a pipeline, at most.
const DEPTH: u64 = 6;
/// How often a listener looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// Enough to see what is wrong.
const MAX_COMPLAINTS: usize = 5;

/// What all of them share.
#[derive(Debug)]
pub struct Talk<'a> {
    /// The round, for names.
    pub round: u64,
    /// All begin together.
    pub start: &'a Barrier,
    /// Tells when to end.
    pub stop: &'a AtomicBool,
    /// Whether the round may also end by a kill.
    pub may_be_cut_off: bool,
}

/// What a listener has heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Messages.
    pub messages: u64,
    /// What must not be.
    pub complaints: Vec<String>,
}

impl Talk<'_> {
    fn ended(&self, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(Error::Closed) if self.may_be_cut_off => Ok(()),
            other => other,
        }
    }

    fn channel(&self, speaker: usize) -> String {
        format!("talk:{}:{speaker}", self.round)
    }

    /// The key in which a speaker writes what it is about to say; each message has one of some that lie in all partitions.
    fn key(&self, speaker: usize, number: u64) -> String {
        format!("said:{}:{speaker}:{}", self.round, number % 8)
    }

    /// Writes down a number, says it, and so on, in pipelines, until it is told to stop or cut off.
    ///
    /// # Errors
    /// When the connection fails in another way than by being closed.
    pub fn speak(&self, client: &mut Client, rng: Rng, speaker: usize) -> Result<()> {
        self.ended(self.say(client, rng, speaker))
    }

    fn say(&self, client: &mut Client, mut rng: Rng, speaker: usize) -> Result<()> {
        let (channel, mut number) = (self.channel(speaker), 0_u64);
        self.start.wait();
        while !self.stop.load(Ordering::Relaxed) {
            let count = rng.between(1, DEPTH);
            for _ in 0..count {
                number += 1;
                client.send(&["SET", &self.key(speaker, number), &number.to_string()]);
                client.send(&["PUBLISH", &channel, &number.to_string()]);
            }
            for _ in 0..2 * count {
                let reply = client.read()?;
                if matches!(reply, Value::Error(_)) {
                    return Err(Error::Protocol(format!("a speaker was answered {reply:?}")));
                }
            }
        }
        Ok(())
    }

    /// Listens to all speakers, and asks by another connection for what they wrote, until it is told to stop or cut off.
    ///
    /// # Errors
    /// When a connection fails in another way than by being closed.
    pub fn listen(&self, client: &mut Client, reader: &mut Client) -> Result<Heard> {
        let mut heard = Heard::default();
        let subscribed = self.subscribe(client);
        self.start.wait();
        self.ended(subscribed.and_then(|()| self.hear(client, reader, &mut heard)))?;
        Ok(heard)
    }

    fn subscribe(&self, client: &mut Client) -> Result<()> {
        for speaker in 0..SPEAKERS {
            client.command(&["SUBSCRIBE", &self.channel(speaker)])?;
        }
        client.set_timeout(LOOK)
    }

    fn hear(&self, client: &mut Client, reader: &mut Client, heard: &mut Heard) -> Result<()> {
        let mut last = [0; SPEAKERS];
        while !self.stop.load(Ordering::Relaxed) && heard.complaints.len() < MAX_COMPLAINTS {
            let message = match client.read() {
                Err(Error::TimedOut) => continue,
                other => other?,
            };
            let words = message.items().unwrap_or_default();
            let text = |at: usize| String::from_utf8_lossy(words.get(at).and_then(Value::text).unwrap_or_default());
            let speaker = (0..SPEAKERS).find(|speaker| text(1) == self.channel(*speaker));
            let (Some(speaker), Ok(number)) = (speaker, text(2).parse::<u64>()) else {
                heard.complaints.push(format!("a listener has got {message:?}"));
                continue;
            };
            heard.messages += 1;
            if number != last[speaker] + 1 {
                heard.complaints.push(format!("speaker {speaker}: message {number} came after {}", last[speaker]));
            }
            last[speaker] = number;
            let written = reader.command(&["GET", &self.key(speaker, number)])?;
            let found = written.text().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            if found.is_none_or(|found: u64| found < number) {
                heard.complaints.push(format!(
                    "speaker {speaker}: message {number} was there before what it is about: {written:?}"
                ));
            }
        }
        Ok(())
    }
}
