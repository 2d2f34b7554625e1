//! `emberkv import redis://source`: what a server has, and with `--follow` what it is told from then on, until the cut-over.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use emberkv_console::{Connection, Interrupt, Target};

use crate::apply::{Applier, Asked};
use crate::error::{Error, Result, of};
use crate::link::{Link, Point, Start};
use crate::load::{Policy, WHOLE_BYTES, load};
use crate::rdb::Reader;
use crate::report::{Report, say};
use crate::servers::{Progress, connect, databases, info, words};
use crate::sink::Sink;
use crate::state::{KEY, State, must};

/// How often the source is told how much was applied.
const PERIOD: Duration = Duration::from_secs(1);
/// Before a link that broke is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a cut-over waits for what the source has yet to send.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// How long it waits for more commands before what has come is applied.
const LOOK: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub source: Target,
    pub target: Target,
    /// Go on after the copy.
    pub follow: bool,
    /// Until there is nothing left to follow.
    pub until_caught_up: bool,
    /// What the target does not take is counted, and no reason to stop.
    pub skip_errors: bool,
    /// What the target has may go.
    pub flush: bool,
}

/// Does it.
///
/// # Errors
/// When a server can't be reached at the start, or refuses what is needed; or when it was interrupted before there was a
/// point at which all is whole.
pub(crate) fn run(job: &Job, interrupt: &Interrupt) -> Result<Report> {
    let mut run = Run { job, interrupt, report: Report::default(), has_begun: false };
    if !job.follow {
        return run.copy_once();
    }
    loop {
        match run.session() {
            Ok(()) => return Ok(run.report),
            Err(_) if interrupt.load(Ordering::Relaxed) => return run.cut_over_alone(),
            Err(error) if error.is_passing() && run.has_begun => {
                eprintln!("{error}; trying again");
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

struct Run<'a> {
    job: &'a Job,
    interrupt: &'a Interrupt,
    report: Report,
    /// A link has been there: if it breaks it is tried again.
    has_begun: bool,
}

impl Run<'_> {
    fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// What the source has, once, over what the target has.
    fn copy_once(mut self) -> Result<Report> {
        let target = connect(&self.job.target, "target")?;
        let (mut link, start) = Link::attach(&self.job.source, None, self.interrupt)?;
        let Start::Full(point) = start else {
            return Err(Error::Usage("the source goes on with a history that it was not asked for".into()));
        };
        self.copy(&mut link, target, true)?;
        say(format_args!("the target has what the source had at offset {} of {}", point.offset, point.id));
        Ok(self.report)
    }

    /// Follows until the cut-over, or until a link breaks.
    fn session(&mut self) -> Result<()> {
        let mut target = connect(&self.job.target, "target")?;
        let state = State::read(&mut target)?;
        let from = match &state {
            Some(State::Refused(point)) if !self.job.skip_errors && !self.job.flush => {
                return Err(Error::Usage(format!(
                    "the target did not take a command before offset {}: --skip-errors goes on without it, --flush begins anew",
                    point.offset
                )));
            }
            Some(State::Following(point) | State::Refused(point)) if self.has_begun || !self.job.flush => {
                Some(point.clone())
            }
            _ => None,
        };
        if state.is_none() && !self.job.flush && !databases(&mut target, "target")?.is_empty() {
            return Err(Error::Usage(
                "the target is not empty; to follow it has to have what the source has: --flush removes what is there"
                    .into(),
            ));
        }
        self.hold_expiry(&mut target)?;
        let (mut link, start) = Link::attach(&self.job.source, from.as_ref(), self.interrupt)?;
        self.has_begun = true;
        let (target, point) = match (start, from) {
            (Start::Continue(id), Some(from)) => {
                let point = Point { id: id.unwrap_or(from.id), ..from };
                eprintln!("going on at offset {} of {}", point.offset, point.id);
                (target, point)
            }
            (Start::Full(point), _) => (self.begin_anew(&mut link, target, state.is_some(), &point)?, point),
            (Start::Continue(_), None) => {
                return Err(Error::Usage("the source goes on with a history that it was not asked for".into()));
            }
        };
        self.follow(&mut link, Applier::new(target, point, self.job.skip_errors)?)
    }

    /// Keys expire by the source's word: by their own time some would go that the source gives more time in what we have
    /// yet to read.
    fn hold_expiry(&self, target: &mut Connection) -> Result<()> {
        let held = target.call(&["CONFIG", "SET", "import-mode", "yes"], |_| {}).map_err(of("target"))?;
        match held.error() {
            // valkey shows what has expired only to those who say so; others don't know the command
            None => drop(target.call(&["CLIENT", "IMPORT-SOURCE", "ON"], |_| {}).map_err(of("target"))?),
            Some(_) if self.has_begun => {}
            Some(reply) => eprintln!(
                "warning: the target has no import-mode ({reply}): a key that expires there before the source's word that it \
                 lives longer has come is lost"
            ),
        }
        Ok(())
    }

    /// The source is not there at the cut-over: what the target has is all there will be.
    fn cut_over_alone(self) -> Result<Report> {
        let mut target = connect(&self.job.target, "target")?;
        match State::read(&mut target)? {
            Some(State::Following(point)) if self.has_begun => {
                eprintln!("warning: the source can't be reached: what it has not sent is not here");
                cut_over(&mut target, &point)?;
                Ok(self.report)
            }
            _ => Err(Error::Interrupted),
        }
    }

    /// A copy of all into a target that has nothing else.
    fn begin_anew(
        &mut self,
        link: &mut Link,
        mut target: Connection,
        is_ours: bool,
        point: &Point,
    ) -> Result<Connection> {
        if is_ours || self.job.flush {
            must(&mut target, &words("FLUSHALL", &[]))?;
        }
        State::Copying.write(&mut target)?;
        eprintln!("copying what the source has at offset {} of {}", point.offset, point.id);
        let mut target = self.copy(link, target, false)?;
        if !self.report.is_whole() && !self.job.skip_errors {
            return Err(Error::Usage(format!(
                "{}\nthe copy is not whole, so what comes next would make no sense: --skip-errors follows all the same",
                self.report
            )));
        }
        State::Following(point.clone()).write(&mut target)?;
        eprintln!("copied: {}", self.report);
        Ok(target)
    }

    fn copy(&mut self, link: &mut Link, target: Connection, leaves_out_expired: bool) -> Result<Connection> {
        // a copy that is begun anew has nothing of the one before
        let mut sink = Sink::new(target, Report::default())?;
        let mut progress = Progress::new();
        let interrupt = self.interrupt;
        let copied = link.rdb(|bytes| {
            let mut reader = Reader::new(bytes, WHOLE_BYTES)?;
            load(&mut reader, &mut sink, Policy { from_position: 0, leaves_out_expired }, |sink, position| {
                if interrupt.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                progress.say(|| format!("{} keys, {} MiB", sink.report.carried, position >> 20));
                Ok(())
            })
        });
        let followed = self.report.followed;
        let target = match copied {
            Ok(()) => {
                let (target, report) = sink.into_inner()?;
                self.report = report;
                target
            }
            Err(error) => return Err(error),
        };
        self.report.followed = followed;
        Ok(target)
    }

    /// Applies what comes, until it is told to stop.
    fn follow(&mut self, link: &mut Link, mut applier: Applier) -> Result<()> {
        let mut progress = Progress::new();
        let mut told = Instant::now() - PERIOD;
        // where to stop, and until when that is waited for
        let mut goal: Option<(u64, Option<Instant>)> = None;
        // for questions; the link itself has no replies
        let mut asker = connect(&self.job.source, "source").ok();
        let mut end = || {
            let asker = asker.as_mut()?;
            info(asker, "replication", "master_repl_offset", "source").ok()??.parse::<u64>().ok()
        };
        if self.job.until_caught_up {
            let offset =
                end().ok_or_else(|| Error::Usage("the source does not say how far it is (INFO replication)".into()))?;
            goal = Some((offset, None));
        }
        loop {
            if self.is_interrupted() && !matches!(goal, Some((_, Some(_)))) {
                // what the source has told others by now is to be here; if it has gone, that is what we have
                let deadline = Instant::now() + LAST_WAIT;
                goal = Some((end().unwrap_or_else(|| applier.read_offset()), Some(deadline)));
            }
            let has_more = link.has_bytes(if applier.is_even() { LOOK } else { Duration::ZERO })?;
            let mut asked = Asked::None;
            if has_more {
                let (words, bytes) = link.command()?;
                asked = applier.take(words, bytes)?;
            }
            if !has_more || applier.is_full() || asked == Asked::Acknowledge {
                applier.flush(&mut self.report)?;
            }
            if asked == Asked::Acknowledge || told.elapsed() >= PERIOD {
                // what is no command on data is in no transaction of ours, but it is behind us
                let offset = if applier.is_even() { applier.read_offset() } else { applier.applied().offset };
                link.acknowledge(offset)?;
                told = Instant::now();
                let applied = applier.applied().offset;
                progress.say(|| match end() {
                    Some(end) => format!("at offset {offset}, {} bytes behind", end.saturating_sub(offset)),
                    None => format!("at offset {applied}"),
                });
            }
            if let Some((offset, deadline)) = goal
                && applier.is_even()
                && (applier.read_offset() >= offset || deadline.is_some_and(|deadline| Instant::now() >= deadline))
            {
                if applier.read_offset() < offset {
                    eprintln!("warning: the source has {} bytes that did not come", offset - applier.read_offset());
                }
                let point = Point { offset: applier.read_offset(), ..applier.applied().clone() };
                return cut_over(&mut applier.into_target(), &point);
            }
        }
    }
}

/// The target is a server like any other from here on.
fn cut_over(target: &mut Connection, point: &Point) -> Result<()> {
    // where there is no import-mode it was not set either
    target.call(&["CONFIG", "SET", "import-mode", "no"], |_| {}).map_err(of("target"))?;
    // last: as long as it is there, the same command line cuts over once more
    must(target, &words("DEL", &[KEY]))?;
    say(format_args!("cut over at offset {} of {}", point.offset, point.id));
    Ok(())
}
