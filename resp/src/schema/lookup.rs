//! Commands by name: an open-addressed table over the names, packed into words, in capitals.

use crate::args::Args;

use super::resolve::Unresolved;
use super::{COMMANDS, Command, CommandId};

/// Places in the table: a power of two, at most a quarter full, so that nearly every name is at its own place.
const SLOTS: usize = (COMMANDS.len() * 4).next_power_of_two();

/// A name as words that compare at once: its first and its last eight bytes, in capitals.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    first: u64,
    /// 0 for names of less than eight bytes.
    last: u64,
    len: usize,
}

/// One place of the table; `len` is 0 where it is empty.
#[derive(Clone, Copy)]
struct Slot {
    name: Packed,
    id: u16,
}

/// The names that clients call commands by: their own, unless a server was told to rename some, or to have none for them.
pub struct Names {
    slots: [Slot; SLOTS],
    /// The names in whole, by place: the middle of a long one is not in its words.
    texts: [&'static [u8]; SLOTS],
    /// Which commands have one, by number; a subcommand has one if its container has.
    has: [bool; COMMANDS.len()],
}

static OWN: Names = Names::own();

/// `word` with every letter in it a capital.
const fn capitals(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // per byte, on its low seven bits: bit 7 of the sum is set from 'a', and from '{', on.
    let low = word & (ONES * 0x7f);
    let from_a = low + ONES * (0x80 - b'a' as u64);
    let beyond_z = low + ONES * (0x80 - (b'z' as u64 + 1));
    let letters = from_a & !beyond_z & !word & (ONES * 0x80);
    word ^ (letters >> 2)
}

#[inline]
const fn pack(name: &[u8]) -> Packed {
    let len = name.len();
    // two loads that overlap, instead of a loop over the bytes.
    let (first, last) = if let (Some(a), Some(b)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*a), u64::from_le_bytes(*b))
    } else if let (Some(a), Some(b)) = (name.first_chunk(), name.last_chunk()) {
        let (a, b) = (u32::from_le_bytes(*a) as u64, u32::from_le_bytes(*b) as u64);
        (a | b << (8 * (len - 4)), 0)
    } else if let (Some(a), Some(b)) = (name.first_chunk(), name.last_chunk()) {
        let (a, b) = (u16::from_le_bytes(*a) as u64, u16::from_le_bytes(*b) as u64);
        (a | b << (8 * (len - 2)), 0)
    } else if let [byte] = name {
        (*byte as u64, 0)
    } else {
        (0, 0)
    };
    Packed { first: capitals(first), last: capitals(last), len }
}

impl Packed {
    /// Its place, if that is free.
    const fn home(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

const EMPTY: Slot = Slot { name: Packed { first: 0, last: 0, len: 0 }, id: 0 };

impl Names {
    const fn none() -> Self {
        Self { slots: [EMPTY; SLOTS], texts: [b""; SLOTS], has: [false; COMMANDS.len()] }
    }

    const fn own() -> Self {
        let mut names = Self::none();
        let mut i = 0;
        while i < COMMANDS.len() {
            if COMMANDS[i].id as usize != i {
                panic!("a command's number is its place in the table");
            }
            names.has[i] = true;
            if !COMMANDS[i].is_subcommand() {
                names = names.with(COMMANDS[i].name.as_bytes(), i as u16);
            }
            i += 1;
        }
        names
    }

    const fn with(mut self, text: &'static [u8], id: u16) -> Self {
        let name = pack(text);
        let mut at = name.home();
        while self.slots[at].name.len != 0 {
            at = (at + 1) % SLOTS;
        }
        self.slots[at] = Slot { name, id };
        self.texts[at] = text;
        self
    }

    /// The commands' own names.
    #[must_use]
    pub fn stock() -> &'static Self {
        &OWN
    }

    /// Each command by the name that is beside it; those that are not among them have none.
    #[must_use]
    pub fn of(named: &[(&'static [u8], CommandId)]) -> Box<Self> {
        let mut names = Self::none();
        for (name, id) in named.iter().filter(|(name, _)| !name.is_empty()) {
            names = names.with(name, *id as u16);
            let command = by_id(*id);
            command.subcommands.iter().chain([id]).for_each(|id| names.has[*id as usize] = true);
        }
        Box::new(names)
    }

    /// Whether a command can be called at all.
    #[must_use]
    pub fn have(&self, id: CommandId) -> bool {
        self.has[id as usize]
    }

    /// The command of this name, in any case; subcommands have none of their own.
    #[inline]
    #[must_use]
    pub fn lookup(&self, name: &[u8]) -> Option<&'static Command> {
        let packed = pack(name);
        let mut at = packed.home();
        loop {
            let slot = &self.slots[at];
            if slot.name == packed {
                // the middle of a long name is not in the words.
                if name.len() <= 16 || self.texts[at].eq_ignore_ascii_case(name) {
                    // the empty name is equal to an empty place.
                    return (packed.len > 0).then_some(&COMMANDS[usize::from(slot.id)]);
                }
            }
            if slot.name.len == 0 {
                return None;
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// The command of this full name (`config|get` for a subcommand), in any case.
    #[must_use]
    pub fn lookup_full(&self, name: &[u8]) -> Option<&'static Command> {
        match name.iter().position(|b| *b == b'|') {
            Some(bar) => self.lookup(&name[..bar])?.subcommand(&name[bar + 1..]),
            None => self.lookup(name),
        }
    }

    /// The command that `args` calls, subcommand and number of arguments checked.
    ///
    /// # Errors
    /// When there is none; [`Unresolved::reply`] has the text.
    #[inline]
    pub fn resolve(&self, args: Args<'_>) -> Result<&'static Command, Unresolved> {
        let command = self.resolve_name(args)?;
        if command.arity.accepts(args.len()) { Ok(command) } else { Err(Unresolved::Arity(command)) }
    }

    /// The command that `args` calls, whatever the number of arguments.
    #[inline]
    pub(super) fn resolve_name(&self, args: Args<'_>) -> Result<&'static Command, Unresolved> {
        let command = args.get(0).and_then(|name| self.lookup(name)).ok_or(Unresolved::Command)?;
        match args.get(1) {
            Some(name) if !command.subcommands.is_empty() => {
                command.subcommand(name).ok_or(Unresolved::Subcommand(command))
            }
            _ => Ok(command),
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.texts.iter().filter(|text| !text.is_empty())).finish()
    }
}

/// All commands, each at the place of its number.
#[must_use]
pub fn all() -> &'static [Command] {
    &COMMANDS
}

/// A command's row.
#[inline]
pub(super) fn by_id(id: CommandId) -> &'static Command {
    &COMMANDS[id as usize]
}

/// The command of this name of its own, in any case; subcommands have none.
#[inline]
#[must_use]
pub fn lookup(name: &[u8]) -> Option<&'static Command> {
    OWN.lookup(name)
}

/// The command of this full name of its own (`config|get` for a subcommand), in any case.
#[must_use]
pub fn lookup_full(name: &[u8]) -> Option<&'static Command> {
    OWN.lookup_full(name)
}

/// The command that `args` calls by its own name, subcommand and number of arguments checked.
///
/// # Errors
/// When there is none; [`Unresolved::reply`] has the text.
#[inline]
pub fn resolve(args: Args<'_>) -> Result<&'static Command, Unresolved> {
    OWN.resolve(args)
}
