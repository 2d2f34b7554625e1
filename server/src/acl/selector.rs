//! One set of permissions: commands, and the keys and channels that they may name. A user has one, and may have more besides:
//! a command is permitted if one of them permits all of it.

use emberkv_resp::schema::{self, Categories, Command, CommandId, Flags, KeyFlags};
use emberkv_resp::{Args, glob};

use super::has_space;
use super::rule::RuleError;

/// Why a command is not permitted. In the order in which redis prefers one reason to another, where several permissions have
/// failed: the argument that was farthest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Denied {
    Command,
    /// The argument that is a key.
    Key(usize),
    /// The argument that is a channel.
    Channel(usize),
}

/// All names, or those that are matched.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Patterns<T> {
    All,
    These(Vec<T>),
}

impl<T> Patterns<T> {
    const NONE: Self = Self::These(Vec::new());
}

/// Keys that may be read, written, or both.
#[derive(Clone, PartialEq, Debug)]
struct KeyPattern {
    reads: bool,
    writes: bool,
    pattern: Vec<u8>,
}

/// A command or category that was added or taken away, as it is shown.
#[derive(Clone, PartialEq, Debug)]
struct Shown {
    allows: bool,
    name: Vec<u8>,
}

/// A set of commands.
#[derive(Clone, PartialEq, Debug)]
struct Commands(Vec<u64>);

impl Commands {
    fn new(has_all: bool) -> Self {
        let word = if has_all { u64::MAX } else { 0 };
        Self(vec![word; schema::all().len().div_ceil(64)])
    }

    fn set(&mut self, id: CommandId, is_in: bool) {
        let (word, bit) = (id as usize / 64, 1 << (id as usize % 64));
        if is_in {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    fn has(&self, id: CommandId) -> bool {
        self.0[id as usize / 64] & 1 << (id as usize % 64) != 0
    }

    fn has_all(&self) -> bool {
        schema::all().iter().all(|command| self.has(command.id))
    }
}

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Selector {
    commands: Commands,
    /// Whether it began with all commands, so that those of later versions would be in it.
    begins_with_all: bool,
    /// Commands that are allowed with this first argument only.
    first_args: Vec<(CommandId, Vec<u8>)>,
    shown: Vec<Shown>,
    keys: Patterns<KeyPattern>,
    channels: Patterns<Vec<u8>>,
}

impl Selector {
    /// Nothing is permitted, but for channels if `all_channels`.
    pub fn new(all_channels: bool) -> Self {
        Self {
            commands: Commands::new(false),
            begins_with_all: false,
            first_args: Vec::new(),
            shown: Vec::new(),
            keys: Patterns::NONE,
            channels: if all_channels { Patterns::All } else { Patterns::NONE },
        }
    }

    /// Everything is permitted.
    pub fn everything() -> Self {
        let mut all = Self { keys: Patterns::All, ..Self::new(true) };
        all.set_all(true);
        all
    }

    /// A selector out of its rules in brackets.
    pub fn parse(text: &[u8], all_channels: bool) -> Result<Self, RuleError> {
        let mut selector = Self::new(all_channels);
        let rules = crate::config::split_words(text).map_err(|_| RuleError::Syntax)?;
        rules.iter().try_for_each(|rule| selector.apply(rule))?;
        Ok(selector)
    }

    /// Whether nothing is forbidden.
    pub fn is_unrestricted(&self) -> bool {
        self.keys == Patterns::All && self.channels == Patterns::All && self.commands.has_all()
    }

    /// Does what a rule says.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.keys = Patterns::All,
            b"resetkeys" => self.keys = Patterns::NONE,
            b"allchannels" | b"&*" => self.channels = Patterns::All,
            b"resetchannels" => self.channels = Patterns::NONE,
            b"allcommands" | b"+@all" => self.set_all(true),
            b"nocommands" | b"-@all" => self.set_all(false),
            _ => match rule {
                [b'~', pattern @ ..] => self.add_keys(true, true, pattern)?,
                [b'%', rest @ ..] => self.add_some_keys(rest)?,
                [b'&', pattern @ ..] => self.add_channels(pattern)?,
                [sign @ (b'+' | b'-'), b'@', category @ ..] => self.set_category(category, *sign == b'+')?,
                [b'+', name @ ..] => self.allow(name)?,
                [b'-', name @ ..] => self.forbid(name)?,
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn set_all(&mut self, is_in: bool) {
        self.commands = Commands::new(is_in);
        self.begins_with_all = is_in;
        self.first_args.clear();
        self.shown.clear();
    }

    /// `%R~pattern`, `%W~pattern`, `%RW~pattern`, without the first byte.
    fn add_some_keys(&mut self, text: &[u8]) -> Result<(), RuleError> {
        let (mut reads, mut writes) = (false, false);
        let end = text.iter().position(|byte| *byte == b'~').unwrap_or(text.len());
        for letter in &text[..end] {
            let flag = match letter.to_ascii_uppercase() {
                b'R' => &mut reads,
                b'W' => &mut writes,
                _ => return Err(RuleError::Syntax),
            };
            if std::mem::replace(flag, true) {
                return Err(RuleError::Syntax);
            }
        }
        if !reads && !writes {
            return Err(RuleError::Syntax);
        }
        self.add_keys(reads, writes, text.get(end + 1..).unwrap_or_default())
    }

    fn add_keys(&mut self, reads: bool, writes: bool, pattern: &[u8]) -> Result<(), RuleError> {
        let Patterns::These(patterns) = &mut self.keys else { return Err(RuleError::KeysAfterAll) };
        if has_space(pattern) {
            return Err(RuleError::Syntax);
        }
        match patterns.iter_mut().find(|other| other.pattern == pattern) {
            Some(same) => (same.reads, same.writes) = (same.reads | reads, same.writes | writes),
            None => patterns.push(KeyPattern { reads, writes, pattern: pattern.to_vec() }),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        let Patterns::These(patterns) = &mut self.channels else { return Err(RuleError::ChannelsAfterAll) };
        if has_space(pattern) {
            return Err(RuleError::Syntax);
        }
        if !patterns.iter().any(|other| other == pattern) {
            patterns.push(pattern.to_vec());
        }
        Ok(())
    }

    /// A container goes with its subcommands.
    fn set(&mut self, command: &Command, is_in: bool) {
        for id in command.subcommands.iter().copied().chain([command.id]) {
            self.commands.set(id, is_in);
            self.first_args.retain(|(other, _)| *other != id);
        }
    }

    fn set_category(&mut self, name: &[u8], is_in: bool) -> Result<(), RuleError> {
        let category = Categories::named(name).ok_or(RuleError::Unknown)?;
        // a container's subcommands come behind it, and count for themselves
        let containers = schema::all().iter().filter(|command| !command.is_subcommand());
        let subcommands = schema::all().iter().filter(|command| command.is_subcommand());
        for command in containers.chain(subcommands).filter(|command| command.categories.contains(category)) {
            self.set(command, is_in);
        }
        self.show(is_in, [b"@", name].concat());
        Ok(())
    }

    fn allow(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            let command = schema::lookup(name).ok_or(RuleError::Unknown)?;
            self.set(command, true);
            self.show(true, name.to_vec());
            return Ok(());
        };
        let (container, argument) = (&name[..bar], &name[bar + 1..]);
        let command = schema::lookup_full(container).ok_or(RuleError::Unknown)?;
        if command.is_subcommand() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if argument.is_empty() {
            return Err(RuleError::Syntax);
        }
        if command.subcommands.is_empty() {
            let first_arg = (command.id, argument.to_vec());
            if !self.first_args.contains(&first_arg) {
                self.first_args.push(first_arg);
            }
        } else {
            let subcommand = command.subcommand(argument).ok_or(RuleError::Unknown)?;
            self.set(subcommand, true);
        }
        self.show(true, name.to_vec());
        Ok(())
    }

    fn forbid(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let command = schema::lookup_full(name).ok_or(RuleError::Unknown)?;
        self.set(command, false);
        self.show(false, name.to_vec());
        Ok(())
    }

    /// A rule takes the place of the same one before it, and of those on its subcommands.
    fn show(&mut self, allows: bool, mut name: Vec<u8>) {
        name.make_ascii_lowercase();
        self.shown.retain(|other| {
            let rest = other.name.strip_prefix(name.as_slice());
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"|"))
        });
        self.shown.push(Shown { allows, name });
    }

    /// Whether a request is permitted, and if not, why.
    pub fn check(&self, command: &'static Command, args: Args<'_>) -> Result<(), Denied> {
        let is_allowed = self.commands.has(command.id) || command.flags.contains(Flags::NO_AUTH);
        if !is_allowed && !self.allows_first_arg(command, args) {
            return Err(Denied::Command);
        }
        if let Patterns::These(patterns) = &self.keys {
            for (i, flags) in command.keys_with_flags(args) {
                let needs_read = flags.contains(KeyFlags::ACCESS);
                let changes = [KeyFlags::INSERT, KeyFlags::DELETE, KeyFlags::UPDATE];
                let needs_write = changes.iter().any(|change| flags.contains(*change));
                let permits = |key: &KeyPattern| {
                    (key.reads || !needs_read)
                        && (key.writes || !needs_write)
                        && glob::matches(&key.pattern, args.at(i))
                };
                if !patterns.iter().any(permits) {
                    return Err(Denied::Key(i));
                }
            }
        }
        for (i, is_pattern) in channels_of(command, args) {
            if !self.permits_channel(args.at(i), is_pattern) {
                return Err(Denied::Channel(i));
            }
        }
        Ok(())
    }

    /// Whether it permits to read any key.
    pub fn permits_all_reads(&self) -> bool {
        match &self.keys {
            Patterns::All => true,
            Patterns::These(patterns) => patterns.iter().any(|key| key.reads && key.pattern == b"*"),
        }
    }

    fn allows_first_arg(&self, command: &Command, args: Args<'_>) -> bool {
        let is_it = |(id, first): &(CommandId, Vec<u8>)| {
            *id == command.id && args.get(1).is_some_and(|arg| arg.eq_ignore_ascii_case(first))
        };
        self.first_args.iter().any(is_it)
    }

    /// Whether a channel is permitted. One that is a pattern has to be permitted as it is written.
    pub fn permits_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        match &self.channels {
            Patterns::All => true,
            Patterns::These(own) if is_pattern => own.iter().any(|own| own == name),
            Patterns::These(own) => own.iter().any(|own| glob::matches(own, name)),
        }
    }

    /// The commands, as ACL GETUSER shows them.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = if self.begins_with_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for Shown { allows, name } in &self.shown {
            text.extend_from_slice(if *allows { b" +" } else { b" -" });
            text.extend_from_slice(name);
        }
        text
    }

    /// The keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        let Patterns::These(patterns) = &self.keys else { return b"~*".to_vec() };
        let one = |key: &KeyPattern| {
            let kind: &[u8] = match (key.reads, key.writes) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                _ => b"~",
            };
            [kind, &key.pattern].concat()
        };
        patterns.iter().map(one).collect::<Vec<_>>().join(&b' ')
    }

    /// The channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        match &self.channels {
            Patterns::All => b"&*".to_vec(),
            Patterns::These(own) => {
                own.iter().map(|own| [b"&", own.as_slice()].concat()).collect::<Vec<_>>().join(&b' ')
            }
        }
    }

    /// All of it, as rules that make the same out of one that permits nothing.
    pub fn describe(&self) -> Vec<u8> {
        let mut words = vec![self.describe_keys()];
        if self.channels != Patterns::All {
            words.push(b"resetchannels".to_vec());
        }
        words.extend([self.describe_channels(), self.describe_commands()]);
        words.retain(|word| !word.is_empty());
        words.join(&b' ')
    }
}

/// The arguments of a request that are channels to listen or to publish to, and whether they are patterns.
fn channels_of(command: &Command, args: Args<'_>) -> impl Iterator<Item = (usize, bool)> + use<> {
    let (last, is_pattern) = match command.id {
        CommandId::Subscribe | CommandId::Ssubscribe => (args.len(), false),
        CommandId::Psubscribe => (args.len(), true),
        CommandId::Publish | CommandId::Spublish => (2, false),
        _ => (0, false),
    };
    (1..last).map(move |i| (i, is_pattern))
}
