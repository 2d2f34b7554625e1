//! Commands in, replies out.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use crate::connection::Interrupt;
use crate::error::{Error, Result};
use crate::format::{Format, Style, is_text};
use crate::options::Options;
use crate::session::{Notice, Session};
use crate::target::Target;
use crate::value::Value;

/// What reads commands and shows replies.
pub(crate) struct Console {
    pub(crate) session: Session,
    pub(crate) style: Style,
    errors_fail: bool,
    interrupt: Option<Interrupt>,
}

impl Console {
    pub(crate) fn new(options: &Options, target: Target) -> Self {
        Self {
            session: Session::new(target, options.follows_redirections()),
            style: options.style(),
            errors_fail: options.errors_fail,
            interrupt: None,
        }
    }

    /// From now on ctrl-c ends what is waited for, not the process.
    pub(crate) fn set_interrupt(&mut self, interrupt: Interrupt) {
        self.session.set_interrupt(Arc::clone(&interrupt));
        self.interrupt = Some(interrupt);
    }

    /// Connects, if there is no connection.
    pub(crate) fn connect(&mut self) -> Result<()> {
        let style = &self.style;
        self.session.connect(&mut |notice| tell(notice, style)).map(drop)
    }

    /// Runs a command so often (-1: for ever); false when an error was answered and errors are failures.
    pub(crate) fn repeat(&mut self, words: &[Vec<u8>], times: i64, pause: Option<Duration>) -> Result<bool> {
        let mut left = times;
        while left != 0 {
            if let Some(reply) = self.answer(words)?
                && !self.show(words, &reply)?
            {
                return Ok(false);
            }
            left = if left < 0 { left } else { left - 1 };
            if left != 0
                && let Some(pause) = pause
            {
                sleep(pause);
            }
        }
        Ok(true)
    }

    /// Runs a command and waits for the reply; `None` when that was messages without end, which have been shown.
    pub(crate) fn answer(&mut self, words: &[Vec<u8>]) -> Result<Option<Value>> {
        if is_stream(words) {
            return self.stream(words).map(|()| None);
        }
        let style = &self.style;
        self.session.ask(words, &mut |notice| tell(notice, style)).map(Some)
    }

    /// Shows a reply; false for an error where errors are failures.
    pub(crate) fn show(&self, words: &[Vec<u8>], reply: &Value) -> Result<bool> {
        if self.errors_fail
            && let Some(error) = reply.error()
        {
            eprintln!("{error}");
            return Ok(false);
        }
        print(&self.style.show(reply, is_text(words)))?;
        Ok(true)
    }

    /// Shows what comes, until the server ends it or ctrl-c.
    fn stream(&mut self, words: &[Vec<u8>]) -> Result<()> {
        let style = &self.style;
        let connection = self.session.connect(&mut |notice| tell(notice, style))?;
        connection.send(words)?;
        if style.format == Format::People {
            print(b"Reading messages... (press Ctrl-C to quit)\n")?;
        }
        let mut first = true;
        let ended = loop {
            let message = match connection.read() {
                Ok(message) => message,
                // that is how it ends.
                Err(Error::Interrupted) => break Ok(()),
                Err(error) => break Err(error),
            };
            print(&style.show(&message, false))?;
            if message.is_error() && first {
                return Ok(());
            }
            first = false;
        };
        // subscriptions end with the connection; the next command opens another.
        self.session.disconnect();
        ended
    }

    /// Runs a command every so often on a cleared screen (on a terminal), for ever.
    pub(crate) fn watch(&mut self, words: &[Vec<u8>], pause: Duration) -> Result<Infallible> {
        let screen = io::stdout().is_terminal();
        let title: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let title = format!("every {pause:?}: {}   ({})", title.join(" "), self.session.target().place);
        let style = self.style.clone();
        loop {
            let shown = match self.session.ask(words, &mut |notice| tell(notice, &style)) {
                Ok(reply) => style.show(&reply, is_text(words)),
                // it may come back, and is seen to.
                Err(error) if screen => format!("{error}\n").into_bytes(),
                Err(error) => return Err(error),
            };
            if screen {
                // in one write, so that it does not flicker: home, each line cleared to its end, the rest below.
                let text = String::from_utf8_lossy(&shown).replace("\r\n", "\n").replace('\n', "\x1b[K\n");
                print(format!("\x1b[H\x1b[1m{title}\x1b[0m\x1b[K\n\x1b[K\n{text}\x1b[J").as_bytes())?;
            } else {
                print(&shown)?;
            }
            sleep(pause);
        }
    }

    /// Whether ctrl-c was pressed since this was asked last.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|interrupt| interrupt.swap(false, Ordering::Relaxed))
    }
}

/// Whether a command is answered by messages without end.
fn is_stream(words: &[Vec<u8>]) -> bool {
    let name = words.first().map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    matches!(name.as_slice(), b"subscribe" | b"psubscribe" | b"ssubscribe" | b"monitor")
}

/// Says what happened beside the replies: to people only, as far as it is no warning.
pub(crate) fn tell(notice: Notice, style: &Style) {
    let people = style.format == Format::People && io::stdout().is_terminal();
    match notice {
        Notice::NotLetIn(reply) => eprintln!("AUTH failed: {reply}"),
        Notice::TransactionLost => eprintln!("the connection was lost, and the transaction with it"),
        Notice::Redirected { slot, to } if people => {
            let _ = print(format!("-> redirected to slot {slot} at {to}\n").as_bytes());
        }
        Notice::Push(push) if people => {
            let _ = print(&style.show(&push, false));
        }
        Notice::Redirected { .. } | Notice::Push(_) => {}
    }
}

/// Writes to standard output, at once.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
}
