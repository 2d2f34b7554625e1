//! `emberkv import FILE`: an RDB file into a server, from where an earlier run stopped.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use emberkv_console::{Interrupt, Target};

use crate::error::{self, Error, Result};
use crate::load::{Policy, WHOLE_BYTES, load};
use crate::rdb::{Body, Entry, Item, Reader};
use crate::report::Report;
use crate::servers::{Progress, connect};
use crate::sink::Sink;

/// How often the position is written down.
const PERIOD: Duration = Duration::from_secs(1);
const MEGABYTE: u64 = 1 << 20;

/// Where an earlier run stopped: all that ends before the position the target has taken. It is written down after that,
/// so a run that goes on from it sends some keys once more, which changes nothing.
struct Resume {
    path: PathBuf,
    /// Which file it is: its length and its checksum.
    what: String,
    position: u64,
    written: Instant,
}

impl Resume {
    fn open(path: &Path, file: &mut File) -> Result<Self> {
        let what = identity(file).map_err(error::file(path))?;
        let position = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error::file(path)(error)),
            Ok(text) => {
                let found = text.split_once('\n').filter(|(first, _)| *first == what);
                found.and_then(|(_, position)| position.trim().parse().ok()).ok_or_else(|| {
                    Error::Usage(format!("{} is of another file: remove it to begin anew", path.display()))
                })?
            }
        };
        Ok(Self { path: path.to_owned(), what, position, written: Instant::now() })
    }

    fn write(&mut self, position: u64) -> Result<()> {
        let fresh = self.path.with_extension("new");
        let text = format!("{}\n{position}\n", self.what);
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &self.path)).map_err(error::file(&self.path))?;
        self.written = Instant::now();
        Ok(())
    }
}

fn identity(file: &mut File) -> std::io::Result<String> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(8)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(format!(
        "rdb of {len} bytes that ends with {}",
        end.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    ))
}

/// Reads all of it, so that nothing is sent of a file that is damaged.
fn check(file: &mut impl Read, interrupt: &Interrupt) -> Result<()> {
    let mut reader = Reader::new(file, WHOLE_BYTES)?;
    loop {
        match reader.next()? {
            Item::End => return Ok(()),
            Item::Key(Entry { body: Body::Large, kind, .. }) => reader.elements(kind, &mut |_| Ok(()))?,
            _ => {}
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
    }
}

/// Sends all that is in the file.
///
/// # Errors
/// When the file is damaged, or the target has gone; what was sent until then is there.
pub(crate) fn import(path: &Path, to: &Target, resume: Option<&Path>, interrupt: &Interrupt) -> Result<Report> {
    let mut file = File::open(path).map_err(error::file(path))?;
    let len = file.metadata().map_err(error::file(path))?.len();
    let mut resume = resume.map(|state| Resume::open(state, &mut file)).transpose()?;
    let from_position = resume.as_ref().map_or(0, |resume| resume.position);
    if from_position > 0 {
        eprintln!("going on at byte {from_position}");
    }
    check(&mut BufReader::with_capacity(1 << 20, &file), interrupt)?;
    file.seek(SeekFrom::Start(0)).map_err(error::file(path))?;
    let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file), WHOLE_BYTES)?;
    let mut sink = Sink::new(connect(to, "target")?, Report::default())?;
    let mut progress = Progress::new();
    let policy = Policy { from_position, leaves_out_expired: true };
    load(&mut reader, &mut sink, policy, |sink, position| {
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        progress
            .say(|| format!("{} keys, {} of {} MiB", sink.report.carried, position / MEGABYTE, len.div_ceil(MEGABYTE)));
        if let Some(resume) =
            resume.as_mut().filter(|resume| resume.written.elapsed() >= PERIOD && position > from_position)
        {
            sink.drain()?;
            // what was refused would not be seen by a run that goes on from here
            if sink.report.is_whole() {
                resume.write(position)?;
            }
        }
        Ok(())
    })?;
    if let Some(resume) = resume {
        match fs::remove_file(&resume.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error::file(&resume.path)(error)),
            _ => {}
        }
    }
    Ok(sink.into_inner()?.1)
}
