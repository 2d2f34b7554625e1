//! Which of the unanswered commands of one connection have taken effect? A command has entirely or not at all, and the
//! commands on one key have in their order; so have all, or those of one partition, as [`Order`] says.
//!
//! What was found under a key says how many of the commands on it may have taken effect. All these rules are of the
//! form "if this one, then that one too", so the least set of commands that obeys them is found by adding what is
//! missing until nothing is.

use std::collections::HashMap;

use super::model::Key;
use super::op::Op;
use crate::partition::partition;

/// What order the commands of one connection keep in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They go to one log, so a first part of them takes effect.
    Whole,
    /// Each of so many partitions has a log: a first part of those that touch no other partition takes effect in each.
    Partitions(u16),
}

impl Order {
    /// For each command the one before it that must have taken effect if it has.
    #[must_use]
    pub fn before(self, ops: &[&Op]) -> Vec<Option<usize>> {
        let mut last: HashMap<u16, usize> = HashMap::new();
        let before = ops.iter().enumerate().map(|(number, op)| match self {
            Self::Whole => number.checked_sub(1),
            Self::Partitions(partitions) => {
                let mut touched: Vec<u16> = op.keys().iter().map(|key| partition(key, partitions)).collect();
                touched.sort_unstable();
                touched.dedup();
                match touched[..] {
                    [only] => last.insert(only, number),
                    _ => None,
                }
            }
        });
        before.collect()
    }
}

/// One key, the commands on it, and what was found.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// The key.
    pub key: Key,
    /// The numbers of the commands on it, ascending.
    pub commands: Vec<usize>,
    /// Whether what was found is what the first `n` of them leave; one more than there are commands.
    pub fits: Vec<bool>,
}

/// The least set of commands that explains every key; the number of a chain that can't be explained otherwise.
///
/// # Errors
/// When there is no such set.
pub fn least(chains: &[Chain], before: &[Option<usize>]) -> Result<Vec<bool>, usize> {
    let mut places: Vec<Vec<(usize, usize)>> = vec![Vec::new(); before.len()];
    for (chain, Chain { commands, fits, .. }) in chains.iter().enumerate() {
        assert_eq!(fits.len(), commands.len() + 1, "a state before the first command and after each");
        commands.iter().enumerate().for_each(|(at, command)| places[*command].push((chain, at)));
    }
    let mut survived = vec![false; before.len()];
    let mut cuts = vec![0; chains.len()];
    // chains and the least number of their commands that must have taken effect.
    let mut wanted: Vec<(usize, usize)> = (0..chains.len()).map(|chain| (chain, 0)).collect();
    while let Some((chain, least)) = wanted.pop() {
        let Chain { commands, fits, .. } = &chains[chain];
        let from = cuts[chain].max(least);
        let cut = (from..fits.len()).find(|cut| fits[*cut]).ok_or(chain)?;
        let mut added: Vec<usize> = commands[cuts[chain]..cut].to_vec();
        cuts[chain] = cut;
        while let Some(command) = added.pop() {
            if !std::mem::replace(&mut survived[command], true) {
                wanted.extend(places[command].iter().map(|(chain, at)| (*chain, at + 1)));
                added.extend(before[command]);
            }
        }
    }
    Ok(survived)
}

#[cfg(test)]
mod tests {
    use super::super::op::{Spelling, Ttl};
    use super::*;

    fn chain(commands: &[usize], fits: &[bool]) -> Chain {
        Chain { key: Key::new(), commands: commands.to_vec(), fits: fits.to_vec() }
    }

    const FREE: [Option<usize>; 3] = [None; 3];

    #[test]
    fn nothing_needs_to_have_happened_where_all_is_as_before() {
        assert_eq!(least(&[chain(&[0, 2], &[true, false, false])], &FREE), Ok(vec![false; 3]));
    }

    #[test]
    fn a_command_is_there_on_all_of_its_keys_or_on_none() {
        let (there, not) = ([false, true], [true, false]);
        assert_eq!(least(&[chain(&[0], &there), chain(&[0], &there)], &FREE), Ok(vec![true, false, false]));
        assert!(least(&[chain(&[0], &there), chain(&[0], &not)], &FREE).is_err());
    }

    #[test]
    fn commands_on_one_key_keep_their_order() {
        // the second command on the first key has taken effect, so the first has, which the other key denies.
        let chains = [chain(&[0, 1], &[false, false, true]), chain(&[0], &[true, false])];
        assert!(least(&chains, &FREE).is_err());
    }

    #[test]
    fn another_number_of_commands_that_fits_as_well_is_taken_when_it_must() {
        let either = chain(&[0, 1], &[true, false, true]);
        assert_eq!(least(&[either.clone(), chain(&[0], &[false, true])], &FREE), Ok(vec![true, true, false]));
        assert_eq!(least(&[either, chain(&[0], &[true, true])], &FREE), Ok(vec![false; 3]));
    }

    #[test]
    fn one_log_leaves_a_first_part() {
        let chains = [chain(&[0], &[true, false]), chain(&[1], &[false, true])];
        assert!(least(&chains, &[None, Some(0)]).is_err());
        assert_eq!(least(&chains, &[None, None]), Ok(vec![false, true]));
    }

    #[test]
    fn each_partition_has_an_order_of_its_own() {
        let set = |key: &str| Op::Set { key: key.into(), value: vec![], ttl: Ttl::None, spelled: Spelling::Set };
        let ops = [set("foo"), set("bar"), set("foo"), Op::Del(vec![b"foo".to_vec(), b"bar".to_vec()]), set("bar")];
        let ops: Vec<&Op> = ops.iter().collect();
        assert_ne!(partition(b"foo", 2), partition(b"bar", 2));
        assert_eq!(Order::Partitions(2).before(&ops), [None, None, Some(0), None, Some(1)]);
        assert_eq!(Order::Whole.before(&ops), [None, Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(Order::Partitions(1).before(&ops), Order::Whole.before(&ops));
    }
}
