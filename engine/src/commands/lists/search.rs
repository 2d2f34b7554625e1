//! LPOS: where in a list an element is.

use std::ops::ControlFlow;

use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Reply, format};

use super::OUT_OF_RANGE;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

/// LPOS' options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Options {
    /// Matches that are left out before the first.
    skip: u64,
    is_backwards: bool,
    /// How many are wanted, as a list; 0 for all.
    count: Option<u64>,
    /// How many elements are compared; 0 for all.
    most: u64,
}

const RANK: Stop = Stop::error(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the \
     end of the list",
);

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let mut options = Self { skip: 0, is_backwards: false, count: None, most: 0 };
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            let value = rest.next().ok_or(Stop::SYNTAX)?;
            let number = format::parse_integer(value);
            let natural = |else_error| number.and_then(|number| u64::try_from(number).ok()).ok_or(else_error);
            if option.eq_ignore_ascii_case(b"RANK") {
                match number.ok_or(Stop::NOT_AN_INTEGER)? {
                    i64::MIN => return Err(OUT_OF_RANGE),
                    0 => return Err(RANK),
                    rank => (options.skip, options.is_backwards) = (rank.unsigned_abs() - 1, rank < 0),
                }
            } else if option.eq_ignore_ascii_case(b"COUNT") {
                options.count = Some(natural(Stop::error("ERR COUNT can't be negative"))?);
            } else if option.eq_ignore_ascii_case(b"MAXLEN") {
                options.most = natural(Stop::error("ERR MAXLEN can't be negative"))?;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        Ok(options)
    }
}

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn lpos(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let Options { mut skip, is_backwards, count, most } = Options::parse(request.args)?;
        let (key, found) = self.read_list(request)?;
        let len = self.list_len(found);
        let looked_at = if most == 0 { len } else { most.min(len) };
        let range = if is_backwards { (len - looked_at, len) } else { (0, looked_at) };
        let wanted = match count {
            None => 1,
            Some(0) => u64::MAX,
            Some(count) => count,
        };
        let (mut places, mut nth) = (Vec::new(), 0);
        if let Some(found) = found {
            let element = request.args.at(2);
            self.list_each(key, found, range, is_backwards, |other| {
                if other == element {
                    if skip == 0 {
                        places.push(if is_backwards { len - 1 - nth } else { nth });
                    }
                    skip = skip.saturating_sub(1);
                }
                nth += 1;
                if places.len() as u64 == wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        if count.is_some() {
            reply.array(places.len());
            places.iter().for_each(|place| reply.integer(*place as i64));
        } else {
            match places.first() {
                Some(place) => reply.integer(*place as i64),
                None => reply.null(),
            }
        }
        Ok(())
    }
}
