//! Numbers: INCR and its relatives. The log gets the result (law 5).

use emberkv_log::disk::Disk;
use emberkv_log::{Value, canonical_int};
use emberkv_resp::{Reply, format};

use crate::group::Request;
use crate::long_double::Operand;
use crate::lookup::TextBuf;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::write::stored;

impl<D: Disk> Partition<D> {
    pub(super) fn incr(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.add(request, 1, reply)
    }

    pub(super) fn decr(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.add(request, -1, reply)
    }

    pub(super) fn incrby(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let by = format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        self.add(request, by, reply)
    }

    pub(super) fn decrby(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let by = format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        let by = by.checked_neg().ok_or(Stop::error("ERR decrement would overflow"))?;
        self.add(request, by, reply)
    }

    fn add(&mut self, request: Request<'_>, by: i64, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_part(key)?;
        let value = match old.live().map(|found| self.value(found)) {
            None => 0,
            Some(Value::Int(int)) => int,
            Some(Value::Bytes(bytes)) => canonical_int(bytes).ok_or(Stop::NOT_AN_INTEGER)?,
            // what is packed, or in chunks, is longer than any integer
            Some(Value::Packed(_) | Value::Whole(_) | Value::Root(_) | Value::Chunked(_)) => {
                return Err(Stop::NOT_AN_INTEGER);
            }
        };
        let sum = value.checked_add(by).ok_or(Stop::error("ERR increment or decrement would overflow"))?;
        let expires_at_ms = old.live().and_then(|found| found.expires_at_ms);
        self.set(key, Value::Int(sum), expires_at_ms, old)?;
        reply.integer(sum);
        Ok(())
    }

    pub(super) fn incrbyfloat(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        const NOT_A_FLOAT: Stop = Stop::error("ERR value is not a valid float");
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_string(key)?;
        let mut buf = TextBuf::default();
        let value = match old.live() {
            None => Operand::ZERO,
            Some(found) => Operand::parse(self.text(found, &mut buf)).ok_or(NOT_A_FLOAT)?,
        };
        let by = Operand::parse(request.args.at(2)).ok_or(NOT_A_FLOAT)?;
        let sum = value.plus(by).ok_or(Stop::error("ERR increment would produce NaN or Infinity"))?;
        let text = sum.to_text();
        let expires_at_ms = old.live().and_then(|found| found.expires_at_ms);
        self.set(key, stored(text.as_bytes()), expires_at_ms, old)?;
        reply.bulk(text.as_bytes());
        Ok(())
    }
}
