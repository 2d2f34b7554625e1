//! What a sorted set holds, asked by member or counted.

use emberkv_log::Value;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::{CommandId, arity_error};
use emberkv_resp::{Args, Reply};

use super::span::{By, Span};
use crate::collections::{Type, Whole, mark, order_of, score_in};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

fn optional(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// ZCARD and ZSCORE, out of another core's memory: of what is whole. Returns whether it has replied.
pub(in crate::commands) fn direct(
    id: CommandId,
    args: Args<'_>,
    value: Option<Value<'_>>,
    reply: &mut Reply<'_>,
) -> bool {
    let whole = match value {
        None => None,
        Some(Value::Whole(bytes)) => match Whole::read(bytes) {
            whole if whole.head.kind == Type::ZSet => Some(whole),
            _ => return false,
        },
        Some(_) => return false,
    };
    if id == CommandId::Zcard {
        reply.integer(whole.map_or(0, |whole| whole.head.count) as i64);
    } else {
        optional(reply, whole.and_then(|whole| whole.pairs().of(args.at(2))).map(|pair| score_in(pair.value)));
    }
    true
}

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn zcard(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (_, found) = self.read_sorted(request, 1)?;
        reply.integer(self.member_count(found) as i64);
        Ok(())
    }

    pub(in crate::commands) fn zscore(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_sorted(request, 1)?;
        let score = found.map(|found| self.score(key, found, request.args.at(2))).transpose()?.flatten();
        optional(reply, score);
        Ok(())
    }

    pub(in crate::commands) fn zmscore(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_sorted(request, 1)?;
        let members = request.args.from(2);
        if let Some(root) = found.and_then(|found| self.root(found)) {
            // all of them are here before any is replied
            self.bring_elements(key, root, members.iter())?;
        }
        reply.array(members.len());
        for member in members.iter() {
            let score = found.map(|found| self.score(key, found, member)).transpose()?.flatten();
            optional(reply, score);
        }
        Ok(())
    }

    /// ZCOUNT, ZLEXCOUNT.
    pub(in crate::commands) fn zcount(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let by = if request.id == CommandId::Zcount { By::Score } else { By::Bytes };
        let span = Span::parse(by, request.args.at(2), request.args.at(3))?;
        let (key, found) = self.read_sorted(request, 1)?;
        let places = found.map(|found| self.places(key, found, span)).transpose()?.unwrap_or(0..0);
        reply.integer((places.end - places.start) as i64);
        Ok(())
    }

    /// ZRANK, ZREVRANK.
    pub(in crate::commands) fn zrank(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (args, member) = (request.args, request.args.at(2));
        if args.len() > 4 {
            return Err(Stop::Error(arity_error(request.id.command().name).into()));
        }
        let with_score = args.get(3).is_some();
        if args.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"withscore")) {
            return Err(Stop::SYNTAX);
        }
        let (key, found) = self.read_sorted(request, 1)?;
        let score = found.map(|found| self.score(key, found, member)).transpose()?.flatten();
        let (Some(found), Some(score)) = (found, score) else {
            if with_score {
                reply.null_array();
            } else {
                reply.null();
            }
            return Ok(());
        };
        let mut place = self.place_of(key, found, &mark(order_of(score), member))?;
        if request.id == CommandId::Zrevrank {
            place = self.member_count(Some(found)).saturating_sub(place + 1);
        }
        if with_score {
            reply.array(2);
        }
        reply.integer(place as i64);
        if with_score {
            reply.double(score);
        }
        Ok(())
    }
}
