//! Is there an order of a register's operations that explains every answer? The search of Wing and Gong with the
//! memory of Lowe and Porcupine: a configuration (what has been executed, and the state that it leaves) that led
//! nowhere once is never entered again.
//!
//! A connection's operations on one register are executed in the order in which it sent them, pipelined or not, so a
//! configuration is a position in each connection's sequence. Where a register lies in several partitions, operations of
//! one connection that have none in common may overtake each other: each such lane is a sequence of its own.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::register::{Answer, Op, State, shown};

/// One operation of a history.
#[derive(Debug, Clone)]
pub struct Event {
    /// What was asked.
    pub op: Op,
    /// The answer; `None` if it never came: then it may or may not have been executed.
    pub answer: Option<Answer>,
    /// When it was sent: some clock that all connections share.
    pub sent: u64,
    /// When the answer was there.
    pub answered: u64,
    /// The one partition that it touches, of a register that lies in several.
    pub lane: Option<u16>,
}

/// One of the sequences that a connection's operations fall into.
#[derive(Debug, Default)]
struct Chain<'h> {
    connection: usize,
    events: Vec<&'h Event>,
    /// For each event: chains of the same connection, and how many of their events come before it.
    after: Vec<Vec<(usize, u32)>>,
}

/// Deals a connection's operations to lanes. What has none is in the first, and comes after and before all others.
fn weave<'h>(connection: usize, events: &'h [Event], chains: &mut Vec<Chain<'h>>) {
    let first = chains.len();
    chains.push(Chain { connection, ..Chain::default() });
    let mut lanes: Vec<u16> = Vec::new();
    for event in events {
        let length = |chains: &[Chain<'_>], chain: usize| u32::try_from(chains[chain].events.len()).unwrap_or(u32::MAX);
        let (chain, after) = match event.lane {
            None => (first, (first + 1..chains.len()).map(|lane| (lane, length(chains, lane))).collect()),
            Some(lane) => {
                let known = lanes.iter().position(|known| *known == lane);
                let at = known.unwrap_or_else(|| {
                    lanes.push(lane);
                    chains.push(Chain { connection, ..Chain::default() });
                    lanes.len() - 1
                });
                (first + 1 + at, vec![(first, length(chains, first))])
            }
        };
        chains[chain].events.push(event);
        chains[chain].after.push(after);
    }
}

impl Event {
    /// After this no operation can be executed before it. Never, without an answer.
    fn deadline(&self) -> u64 {
        if self.answer.is_some() { self.answered } else { u64::MAX }
    }

    fn allows(&self, answer: &Answer) -> bool {
        self.answer.as_ref().is_none_or(|given| given == answer)
    }
}

/// What the search has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Some order explains everything.
    Linearizable,
    /// No order does; what the longest attempt could not explain.
    Illegal(String),
    /// More configurations than [`BUDGET`]: not decided.
    TooHard,
}

/// How many configurations are tried: a history of some thousand operations of ten connections takes tens of
/// thousands, and memory for a million is a few hundred MB.
pub const BUDGET: usize = 1_000_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Configuration {
    /// How many operations of each chain were executed.
    executed: Box<[u32]>,
    state: State,
}

struct Search<'h> {
    chains: Vec<Chain<'h>>,
    seen: HashSet<Configuration>,
    stack: Vec<Configuration>,
}

/// Checks the history of one register, which began in `initial`: for each connection its operations in the order in
/// which it sent them.
#[must_use]
pub fn check(history: &[Vec<Event>], initial: State) -> Verdict {
    let mut chains = Vec::new();
    history.iter().enumerate().for_each(|(connection, events)| weave(connection, events, &mut chains));
    let start = Configuration { executed: vec![0; chains.len()].into(), state: initial };
    let mut search = Search { chains, seen: HashSet::new(), stack: vec![start] };
    let mut longest: Option<Configuration> = None;
    while let Some(mut configuration) = search.stack.pop() {
        search.take_what_changes_nothing(&mut configuration);
        if search.is_complete(&configuration) {
            return Verdict::Linearizable;
        }
        let length = |c: &Configuration| c.executed.iter().map(|n| u64::from(*n)).sum::<u64>();
        if longest.as_ref().is_none_or(|longest| length(longest) < length(&configuration)) {
            longest = Some(configuration.clone());
        }
        if search.seen.len() >= BUDGET {
            return Verdict::TooHard;
        }
        if search.seen.insert(configuration.clone()) {
            search.branch(&configuration);
        }
    }
    Verdict::Illegal(longest.map_or_else(String::new, |longest| search.describe(&longest)))
}

impl<'h> Search<'h> {
    /// The next operation of a chain.
    fn next(&self, configuration: &Configuration, chain: usize) -> Option<&'h Event> {
        self.chains[chain].events.get(configuration.executed[chain] as usize).copied()
    }

    /// Whether all has been executed that comes before a chain's next operation.
    fn is_due(&self, configuration: &Configuration, chain: usize) -> bool {
        let after = &self.chains[chain].after[configuration.executed[chain] as usize];
        after.iter().all(|(other, count)| configuration.executed[*other] >= *count)
    }

    /// The operations that may come next: those sent before any other that waits was answered.
    fn candidates(&self, configuration: &Configuration) -> Vec<(usize, &'h Event)> {
        let waiting: Vec<(usize, &'h Event)> =
            (0..self.chains.len()).filter_map(|chain| Some((chain, self.next(configuration, chain)?))).collect();
        let deadline = waiting.iter().map(|(_, event)| event.deadline()).min().unwrap_or(u64::MAX);
        let may_be_next =
            |(chain, event): &(usize, &Event)| event.sent <= deadline && self.is_due(configuration, *chain);
        waiting.into_iter().filter(may_be_next).collect()
    }

    /// An operation that may come next, whose answer fits, and which changes no state wherever that answer fits, can as
    /// well come now: every order with it later has a twin with it here. This takes most reads out of the search.
    fn take_what_changes_nothing(&self, configuration: &mut Configuration) {
        loop {
            let free: Vec<usize> = self
                .candidates(configuration)
                .into_iter()
                .filter(|(_, event)| {
                    let given = event.answer.as_ref();
                    given.is_some_and(|given| {
                        event.op.changes_nothing(given) && event.op.apply(&configuration.state).1 == *given
                    })
                })
                .map(|(connection, _)| connection)
                .collect();
            if free.is_empty() {
                return;
            }
            // they do not disturb each other, so all of them go at once.
            free.into_iter().for_each(|connection| configuration.executed[connection] += 1);
        }
    }

    fn is_complete(&self, configuration: &Configuration) -> bool {
        (0..self.chains.len()).all(|chain| self.next(configuration, chain).is_none_or(|event| event.answer.is_none()))
    }

    fn branch(&mut self, configuration: &Configuration) {
        let mut candidates = self.candidates(configuration);
        // the one that was answered first is tried first: most often it came first.
        candidates.sort_by_key(|(_, event)| std::cmp::Reverse(event.deadline()));
        for (connection, event) in candidates {
            let (state, answer) = event.op.apply(&configuration.state);
            if event.allows(&answer) {
                let mut executed = configuration.executed.clone();
                executed[connection] += 1;
                self.stack.push(Configuration { executed, state });
            }
        }
    }

    /// The place where the longest order ended: what had been executed just before, and what could not come next.
    fn describe(&self, configuration: &Configuration) -> String {
        let mut text =
            format!("no order explains the answers. the longest ends with {}\n", shown(&configuration.state));
        let mut before: Vec<(usize, &Event)> = Vec::new();
        for (Chain { connection, events, .. }, executed) in self.chains.iter().zip(&configuration.executed) {
            before.extend(events[..*executed as usize].iter().map(|event| (*connection, *event)));
        }
        before.sort_by_key(|(_, event)| event.answered);
        let recent = before.len().saturating_sub(8);
        for (connection, event) in &before[recent..] {
            line(&mut text, "executed", *connection, event);
        }
        for (Chain { connection, events, .. }, executed) in self.chains.iter().zip(&configuration.executed) {
            for event in events[*executed as usize..].iter().take(2) {
                line(&mut text, "waits   ", *connection, event);
            }
        }
        text
    }
}

fn line(text: &mut String, what: &str, connection: usize, event: &Event) {
    let answer = event.answer.as_ref().map_or_else(|| "no answer".into(), ToString::to_string);
    let lane = event.lane.map_or_else(String::new, |lane| format!(", partition {lane}"));
    // writing to a string can't fail.
    let _ = writeln!(
        text,
        "      {what} [{:>10} .. {:>10}] connection {connection}{lane}: {} -> {answer}",
        event.sent, event.answered, event.op
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn event(sent: u64, answered: u64, op: Op, answer: Answer) -> Event {
        Event { op, answer: Some(answer), sent, answered, lane: None }
    }

    fn set(sent: u64, answered: u64, value: &str) -> Event {
        event(sent, answered, Op::Set(value.into()), Answer::Ok)
    }

    fn get(sent: u64, answered: u64, value: &str) -> Event {
        let state = (value != "nil").then(|| value.as_bytes().to_vec());
        event(sent, answered, Op::Get, Answer::Content(state))
    }

    fn is_legal(history: &[Vec<Event>]) -> bool {
        match check(history, None) {
            Verdict::Linearizable => true,
            Verdict::Illegal(_) => false,
            Verdict::TooHard => panic!("too hard"),
        }
    }

    #[test]
    fn a_read_during_a_write_may_see_either() {
        for value in ["nil", "a"] {
            assert!(is_legal(&[vec![set(0, 10, "a")], vec![get(5, 6, value)]]));
        }
        assert!(!is_legal(&[vec![set(0, 10, "a")], vec![get(5, 6, "b")]]));
    }

    #[test]
    fn a_read_after_a_write_must_see_it() {
        assert!(is_legal(&[vec![set(0, 10, "a")], vec![get(11, 12, "a")]]));
        assert!(!is_legal(&[vec![set(0, 10, "a")], vec![get(11, 12, "nil")]]));
    }

    #[test]
    fn what_one_has_seen_the_next_must_see() {
        let write = vec![set(0, 100, "a")];
        assert!(!is_legal(&[write.clone(), vec![get(10, 11, "a")], vec![get(20, 21, "nil")]]));
        assert!(is_legal(&[write, vec![get(10, 21, "a")], vec![get(20, 21, "nil")]]));
    }

    #[test]
    fn a_pipeline_is_executed_in_its_order() {
        // both were on their way at once: real time alone would allow the other order.
        assert!(is_legal(&[vec![set(0, 10, "a"), get(0, 10, "a")]]));
        assert!(!is_legal(&[vec![set(0, 10, "a"), get(0, 10, "nil")]]));
        assert!(!is_legal(&[vec![set(0, 10, "a"), set(0, 10, "b")], vec![get(11, 12, "a")]]));
    }

    #[test]
    fn only_what_touches_different_partitions_overtakes() {
        let in_lane = |lane, event| Event { lane: Some(lane), ..event };
        let writer = vec![set(0, 10, "a"), set(20, 30, "b")];
        let reads = |first, second| vec![in_lane(first, get(0, 40, "b")), in_lane(second, get(0, 40, "a"))];
        assert!(is_legal(&[writer.clone(), reads(0, 1)]));
        assert!(!is_legal(&[writer.clone(), reads(1, 1)]));
        // what touches all partitions stays between what was sent before and after it.
        let [b, a] = &reads(0, 1)[..] else { panic!("two reads") };
        assert!(!is_legal(&[writer.clone(), vec![b.clone(), get(0, 40, "b"), a.clone()]]));
        assert!(!is_legal(&[vec![set(0, 40, "b"), in_lane(0, get(0, 40, "nil"))]]));
    }

    #[test]
    fn two_increments_never_give_the_same_number() {
        let incr = |number| event(0, 10, Op::Incr, Answer::Integer(number));
        assert!(is_legal(&[vec![incr(2)], vec![incr(1)]]));
        assert!(!is_legal(&[vec![incr(1)], vec![incr(1)]]));
    }

    #[test]
    fn only_one_of_those_who_take_it_gets_it() {
        let take = |state: Option<&str>| event(20, 30, Op::GetDel, Answer::Content(state.map(|s| s.into())));
        assert!(is_legal(&[vec![set(0, 1, "a")], vec![take(Some("a"))], vec![take(None)]]));
        assert!(!is_legal(&[vec![set(0, 1, "a")], vec![take(Some("a"))], vec![take(Some("a"))]]));
        assert!(!is_legal(&[vec![set(0, 1, "a")], vec![take(None)], vec![take(None)]]));
    }

    #[test]
    fn an_unanswered_write_may_have_happened_at_any_time_or_never() {
        let lost = Event { op: Op::Set(b"a".to_vec()), answer: None, sent: 0, answered: 0, lane: None };
        assert!(is_legal(&[vec![lost.clone()], vec![get(5, 6, "nil"), get(50, 60, "a")]]));
        assert!(is_legal(&[vec![lost.clone()], vec![get(5, 6, "nil")]]));
        assert!(!is_legal(&[vec![lost], vec![get(5, 6, "a"), get(50, 60, "nil")]]));
    }

    #[test]
    fn a_write_of_what_is_there_already_may_be_needed_later() {
        let again = set(10, 60, "a");
        assert!(is_legal(&[vec![set(0, 1, "a")], vec![again], vec![set(20, 30, "b"), get(40, 50, "a")]]));
    }

    #[test]
    fn nonsense_is_never_explained() {
        assert!(!is_legal(&[vec![event(0, 1, Op::Get, Answer::Nonsense("half".into()))]]));
    }

    /// Executes random operations at random moments within their intervals, on a correct register.
    fn lived(seed: u64, connections: usize, operations: usize) -> Vec<Vec<Event>> {
        let mut rng = Rng::new(seed);
        let mut moments: Vec<(u64, usize)> = Vec::new();
        let mut history = vec![Vec::new(); connections];
        let mut clock = vec![0_u64; connections];
        for _ in 0..operations {
            let connection = rng.index(connections);
            clock[connection] += rng.between(1, 100);
            moments.push((clock[connection], connection));
        }
        moments.sort_unstable();
        let mut state = None;
        for (number, (at, connection)) in moments.into_iter().enumerate() {
            let value = number.to_string().into_bytes();
            let op = match rng.below(9) {
                0..2 => Op::Get,
                2..4 => Op::Set(value),
                4 => Op::Incr,
                5 => Op::Append(b"7".to_vec()),
                6 => Op::SetNx(value),
                7 => Op::Del,
                _ => Op::GetDel,
            };
            let (after, answer) = op.apply(&state);
            state = after;
            let (sent, answered) = (at.saturating_sub(rng.below(60)), at + rng.below(60));
            history[connection].push(event(sent, answered, op, answer));
        }
        // as in a pipeline: never sent, never answered before the one before.
        for events in &mut history {
            let mut least = (0, 0);
            for event in events.iter_mut() {
                least = (least.0.max(event.sent), least.1.max(event.answered));
                (event.sent, event.answered) = least;
            }
        }
        history
    }

    #[test]
    fn what_a_correct_register_did_is_legal() {
        for seed in 0..50 {
            assert_eq!(check(&lived(seed, 6, 300), None), Verdict::Linearizable, "seed {seed}");
        }
    }

    #[test]
    fn an_answer_from_another_time_is_found() {
        let mut found = 0;
        for seed in 0..50 {
            let mut history = lived(seed, 4, 200);
            let stale = history[0].iter().rposition(|event| matches!(event.answer, Some(Answer::Integer(n)) if n > 1));
            let Some(at) = stale else { continue };
            history[0][at].answer = Some(Answer::Integer(-5));
            assert!(matches!(check(&history, None), Verdict::Illegal(_)), "seed {seed}");
            found += 1;
        }
        assert!(found > 30, "only {found} histories had something to falsify");
    }
}
