//! The prompt: commands typed by people, with completion, hints and help out of the schema.

mod complete;
mod guard;
mod help;
mod hint;
mod history;
mod keys;
mod line;
mod paint;

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustyline::Editor;
use rustyline::config::{BellStyle, CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;

use crate::console::{Console, print};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::script::{Line, parse};
use history::History;
use line::Assistant;

/// A command that took so long is worth a word.
const SLOW: Duration = Duration::from_millis(500);

/// Reads and runs commands until ctrl-d, `quit` or `exit`.
pub(crate) fn run(console: &mut Console, asks: bool) -> Result<()> {
    let interrupt = Arc::new(AtomicBool::new(false));
    // while a command runs: at the prompt ctrl-c is a key.
    let registered = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupt));
    registered.map_err(|source| Error::Io { what: "watching for ctrl-c", source })?;
    console.set_interrupt(Arc::clone(&interrupt));
    let mut prompt = Prompt { editor: editor()?, history: History::open(), asks };
    for line in prompt.history.lines() {
        let _ = prompt.editor.add_history_entry(line);
    }
    if let Err(error) = console.connect() {
        eprintln!("{error}");
    }
    loop {
        interrupt.store(false, Ordering::Relaxed);
        let line = match prompt.editor.readline(&label(console)) {
            Ok(line) => line,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => continue,
            Err(ReadlineError::Io(source)) => return Err(Error::Io { what: "reading the terminal", source }),
            Err(error) => return Err(Error::Usage(error.to_string())),
        };
        match prompt.obey(console, &line) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => eprintln!("{error}"),
        }
    }
}

fn editor() -> Result<Editor<Assistant, MemHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::Circular)
        .bell_style(BellStyle::None)
        .max_history_size(history::MOST_LINES)
        .and_then(|config| config.history_ignore_dups(true))
        .map(|config| config.build());
    let unusable = |error: ReadlineError| Error::Usage(error.to_string());
    let config = config.map_err(unusable)?;
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history).map_err(unusable)?;
    editor.set_helper(Some(Assistant::default()));
    Ok(editor)
}

/// `127.0.0.1:6379[3](TX)> `
fn label(console: &Console) -> String {
    let session = &console.session;
    if !session.is_connected() {
        return "not connected> ".into();
    }
    let target = session.target();
    let database = if target.database == 0 { String::new() } else { format!("[{}]", target.database) };
    format!("{}{database}{}> ", target.place, if session.in_transaction() { "(TX)" } else { "" })
}

struct Prompt {
    editor: Editor<Assistant, MemHistory>,
    history: History,
    /// Before what can't be undone.
    asks: bool,
}

impl Prompt {
    /// Does what a line says; false when that is to end.
    fn obey(&mut self, console: &mut Console, line: &str) -> Result<bool> {
        let parsed = parse(line.as_bytes());
        if !matches!(parsed, Line::Empty | Line::Quit)
            && let Some(entry) = history::entry(line)
        {
            let _ = self.editor.add_history_entry(entry.as_str());
            self.history.append(&entry);
        }
        match parsed {
            Line::Empty => {}
            Line::Quit => return Ok(false),
            Line::Wrong(why) => eprintln!("{why}"),
            Line::Connect(place) => {
                console.session.move_to(place);
                console.connect()?;
            }
            Line::Run(times, words) => self.run(console, times, &words)?,
        }
        Ok(true)
    }

    fn run(&mut self, console: &mut Console, times: i64, words: &[Vec<u8>]) -> Result<()> {
        let text = |index: usize| words.get(index).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
        match text(0).unwrap_or_default().as_str() {
            "help" | "?" => return print(help::about(&words[1..], paint::is_wanted()).as_bytes()),
            "clear" if words.len() == 1 => return print(b"\x1b[H\x1b[2J"),
            ":set" => {
                let wanted = match text(1).as_deref() {
                    Some("hints") => true,
                    Some("nohints") => false,
                    _ => return Err(Error::Usage(":set hints or :set nohints".into())),
                };
                self.assist(|assistant| assistant.hints = wanted);
                return Ok(());
            }
            _ => {}
        }
        if self.asks
            && let Some(question) = guard::question(words)
        {
            let place = console.session.target().place.to_string();
            if !confirmed(&format!("{question} ({place}) [y/N] "))? {
                eprintln!("not done");
                return Ok(());
            }
        }
        let start = Instant::now();
        for _ in 0..times {
            if console.was_interrupted() {
                break;
            }
            match console.answer(words)? {
                None => break,
                Some(reply) => {
                    self.assist(|assistant| assistant.keys.note(words, &reply));
                    console.show(words, &reply)?;
                }
            }
        }
        if console.style.format == Format::People && start.elapsed() >= SLOW {
            print(format!("({:.2}s)\n", start.elapsed().as_secs_f64()).as_bytes())?;
        }
        Ok(())
    }

    fn assist(&mut self, change: impl FnOnce(&mut Assistant)) {
        if let Some(assistant) = self.editor.helper_mut() {
            change(assistant);
        }
    }
}

/// Asks, and reads a line; anything but a yes is a no, also the end and ctrl-c.
fn confirmed(question: &str) -> Result<bool> {
    print(question.as_bytes())?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if !answer.ends_with('\n') {
        let _ = io::stdout().write_all(b"\n");
    }
    Ok(read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
