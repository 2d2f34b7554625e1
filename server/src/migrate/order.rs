//! What a MIGRATE asks for.

use std::fmt;
use std::time::Duration;

use emberkv_resp::schema::migrated_from;
use emberkv_resp::{Args, format};

const SYNTAX: &str = "ERR syntax error";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const KEY_AND_KEYS: &str = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";

/// What redis waits where it is told to wait no time.
const USUAL_MS: u64 = 1000;

/// No step waits longer, whatever it is told: who waits for ever keeps a thread, and keeps others from moving keys.
const LONGEST_MS: u64 = 600_000;

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub host: String,
    /// As it was given: the system's resolver says what is wrong with it.
    pub port: String,
    pub db: i64,
    /// For each step of it.
    pub timeout: Duration,
    /// The keys stay here too.
    pub copy: bool,
    /// Those of these names that are there are written over.
    pub replace: bool,
    /// AUTH's arguments.
    pub auth: Vec<Vec<u8>>,
    /// In the order in which they were named.
    pub keys: Vec<Box<[u8]>>,
}

impl fmt::Debug for Order {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Order({}:{} {}, {} keys)", self.host, self.port, self.db, self.keys.len())
    }
}

impl Order {
    /// Reads a request.
    ///
    /// # Errors
    /// The reply, if it makes no sense.
    pub fn parse(args: Args<'_>) -> Result<Self, String> {
        let text = |at: usize| String::from_utf8_lossy(args.at(at)).into_owned();
        let (mut copy, mut replace, mut auth) = (false, false, Vec::new());
        let mut keys: Vec<Box<[u8]>> = vec![args.at(3).into()];
        let mut at = 6;
        while let Some(option) = args.get(at) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if is(b"copy") {
                copy = true;
            } else if is(b"replace") {
                replace = true;
            } else if is(b"auth") {
                auth = vec![args.get(at + 1).ok_or(SYNTAX)?.to_vec()];
                at += 1;
            } else if is(b"auth2") {
                let password = args.get(at + 2).ok_or(SYNTAX)?;
                auth = vec![args.at(at + 1).to_vec(), password.to_vec()];
                at += 2;
            } else if is(b"keys") {
                // the same that its client must be allowed to touch
                let Ok(Some(first)) = migrated_from(args) else { return Err(KEY_AND_KEYS.into()) };
                keys = args.from(first).iter().map(Into::into).collect();
                break;
            } else {
                return Err(SYNTAX.into());
            }
            at += 1;
        }
        let timeout_ms = format::parse_integer(args.at(5)).ok_or(NOT_A_NUMBER)?;
        let db = format::parse_integer(args.at(4)).ok_or(NOT_A_NUMBER)?;
        let timeout_ms = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0).unwrap_or(USUAL_MS);
        let timeout = Duration::from_millis(timeout_ms.min(LONGEST_MS));
        Ok(Self { host: text(1), port: text(2), db, timeout, copy, replace, auth, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emberkv_resp::OwnedArgs;

    fn parse(line: &str) -> Result<Order, String> {
        let words: Vec<&[u8]> =
            line.split(' ').map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect();
        Order::parse(OwnedArgs::from_words(&words).args())
    }

    #[test]
    fn options_are_read_in_any_order() {
        let order = parse("migrate h 1 k 2 300 REPLACE copy auth pw").unwrap();
        assert!(order.copy && order.replace && order.auth == [b"pw"] && order.keys == [Box::from(&b"k"[..])]);
        assert_eq!((order.db, order.timeout), (2, Duration::from_millis(300)));
        let order = parse("migrate h 1 '' 0 0 auth2 me pw keys a copy").unwrap();
        assert_eq!((order.keys.len(), order.copy, order.auth.len(), order.timeout.as_millis()), (2, false, 2, 1000));
        assert_eq!(parse("migrate h 1 '' 0 1 keys").unwrap().keys.len(), 0);
        // what a client must be allowed to touch is what is moved
        assert_eq!(parse("migrate h 1 '' 0 1 keys a keys b").unwrap().keys.len(), 3);
        assert_eq!(parse("migrate h 1 '' 0 1 auth keys").unwrap().keys, [Box::from(&b""[..])]);
        assert_eq!(parse("migrate h 1 '' 0 1 auth2 keys keys keys a").unwrap().keys.len(), 1);
        assert_eq!(parse("migrate h 1 k 0 9000000000000000").unwrap().timeout, Duration::from_secs(600));
        assert!(!format!("{:?}", parse("migrate h 1 k 2 3 auth secret")).contains("secret"));
    }

    #[test]
    fn what_is_wrong_is_said_in_redis_words() {
        for (line, error) in [
            ("migrate h 1 k 0 1 auth", SYNTAX),
            ("migrate h 1 k 0 1 auth2 me", SYNTAX),
            ("migrate h 1 k x x nonsense", SYNTAX),
            ("migrate h 1 k 0 1 keys a", KEY_AND_KEYS),
            ("migrate h 1 k x 1", NOT_A_NUMBER),
            ("migrate h 1 k 0 x", NOT_A_NUMBER),
        ] {
            assert_eq!(parse(line).unwrap_err(), error, "{line}");
        }
    }
}
