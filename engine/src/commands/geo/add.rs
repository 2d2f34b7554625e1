//! GEOADD: a ZADD of the scores that stand for places.

use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{OwnedArgs, Reply};

use super::parse_point;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn geoadd(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let is_option = |word: &&[u8]| [&b"nx"[..], b"xx", b"ch"].iter().any(|name| word.eq_ignore_ascii_case(name));
        let options = args.from(2).iter().take_while(is_option).count();
        let has = |name: &[u8]| args.from(2).iter().take(options).any(|word| word.eq_ignore_ascii_case(name));
        let places = args.from(2 + options);
        if !places.len().is_multiple_of(3) || has(b"nx") && has(b"xx") {
            return Err(Stop::SYNTAX);
        }
        let mut scores = Vec::with_capacity(places.len() / 3);
        for at in (0..places.len()).step_by(3) {
            scores.push(parse_point(places.from(at))?.score().to_string());
        }
        let mut words: Vec<&[u8]> = vec![b"zadd", args.at(1)];
        words.extend(args.from(2).iter().take(options));
        for (i, score) in scores.iter().enumerate() {
            words.extend([score.as_bytes(), places.at(3 * i + 2)]);
        }
        let added = OwnedArgs::from_words(&words);
        self.zadd(Request { id: CommandId::Zadd, args: added.args(), ..request }, reply)
    }
}
