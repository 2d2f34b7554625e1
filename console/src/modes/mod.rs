//! What is done instead of a command.

mod biggest;
mod latency;
mod pipe;
mod scan;
mod spectrum;
mod stat;

use crate::console::tell;
use crate::error::Result;
use crate::format::Format;
use crate::options::Options;
use crate::session::Session;
use crate::target::Target;

pub(crate) use latency::intrinsic_latency;

/// Runs the mode that was chosen, if one was; false when it says that something failed.
pub(crate) fn run(options: &Options, target: &Target) -> Result<Option<bool>> {
    let modes = &options.modes;
    let style = options.style();
    let mut session = Session::new(target.clone(), false);
    let mut tell = |notice| tell(notice, &style);
    let quoted = style.format == Format::People;
    let done = if modes.pipe {
        return pipe::run(session.connect(&mut tell)?, modes.pipe_timeout).map(Some);
    } else if modes.scan {
        scan::run(session.connect(&mut tell)?, modes, options.pause(), quoted)
    } else if modes.bigkeys || modes.memkeys {
        biggest::run(session.connect(&mut tell)?, modes, options.pause())
    } else if modes.stat {
        stat::run(target, options)
    } else if modes.latency || modes.latency_history {
        latency::run(session.connect(&mut tell)?, options, style.format)
    } else if modes.latency_dist {
        spectrum::run(session.connect(&mut tell)?, options.pause())
    } else {
        return Ok(None);
    };
    done.map(|()| Some(true))
}
