//! `rename-command`: what clients call a command by, a line for each.

use emberkv_resp::schema::{CommandId, Names, all};

use super::{Codec, Put, Reason};

/// The `rename-command` lines, in their order: the second may give another command the name that the first has taken away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renames(Vec<(Vec<u8>, Vec<u8>)>);

impl Renames {
    /// The commands by their names now.
    fn named(&self) -> Vec<(Vec<u8>, CommandId)> {
        let containers = all().iter().filter(|command| !command.is_subcommand());
        let mut named: Vec<_> = containers.map(|command| (command.name.as_bytes().to_vec(), command.id)).collect();
        for (old, new) in &self.0 {
            if let Some((name, _)) = named.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(old)) {
                name.clone_from(new);
            }
        }
        named.retain(|(name, _)| !name.is_empty());
        named
    }

    /// The table that commands are looked up in. It is never given back: a server makes it once.
    pub(crate) fn names(&self) -> &'static Names {
        if self.0.is_empty() {
            return Names::stock();
        }
        let named: Vec<(&'static [u8], CommandId)> =
            self.named().into_iter().map(|(name, id)| (&*name.leak(), id)).collect();
        Box::leak(Names::of(&named))
    }
}

/// Reads `rename-command` lines.
#[derive(Debug)]
pub(in crate::config) struct RenameLines;

impl Codec<Renames> for RenameLines {
    fn parse(&self, words: &[&[u8]], current: &Renames, put: Put) -> Result<Renames, Reason> {
        let mut renames = if put == Put::Add { current.clone() } else { Renames::default() };
        let [old, new] = words else {
            return if words.is_empty() { Ok(renames) } else { Err(Reason::new("wrong number of arguments")) };
        };
        let mut named = renames.named();
        let at = named.iter().position(|(name, _)| name.eq_ignore_ascii_case(old));
        named.swap_remove(at.ok_or(Reason::new("No such command in rename-command"))?);
        if named.iter().any(|(name, _)| name.eq_ignore_ascii_case(new)) {
            return Err(Reason::new("Target command name already exists"));
        }
        renames.0.push((old.to_vec(), new.to_vec()));
        Ok(renames)
    }

    fn print(&self, value: &Renames) -> Vec<u8> {
        value.0.iter().map(|(old, new)| [&old[..], new].join(&b' ')).collect::<Vec<_>>().join(&b'\n')
    }

    fn kind(&self) -> String {
        "command name".to_owned()
    }

    fn takes_list(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emberkv_resp::schema::lookup;

    fn with(renames: &Renames, old: &str, new: &str) -> Result<Renames, String> {
        RenameLines.parse(&[old.as_bytes(), new.as_bytes()], renames, Put::Add).map_err(|reason| reason.to_string())
    }

    #[test]
    fn later_lines_see_what_earlier_ones_have_done() {
        let renames = with(&Renames::default(), "GET", "an.unusually.long.name.for.get").unwrap();
        assert_eq!(with(&renames, "get", "x").unwrap_err(), "No such command in rename-command");
        assert_eq!(with(&renames, "set", "MGET").unwrap_err(), "Target command name already exists");
        let renames = with(&renames, "set", "get").unwrap();
        let renames = with(&renames, "config", "").unwrap();
        assert!(with(&renames, "config|get", "x").is_err());
        let names = renames.names();
        let id = |name: &str| names.lookup(name.as_bytes()).map(|command| command.id);
        assert_eq!(id("AN.unusually.long.name.for.get"), Some(CommandId::Get));
        assert_eq!(id("an.unusually.lonG.nAme.for.gex"), None);
        assert_eq!(id("an.unusually.lung.name.for.get"), None);
        assert_eq!(id("GET"), Some(CommandId::Set));
        assert_eq!((id("set"), id("config"), id("")), (None, None, None));
        assert!(!names.have(CommandId::Config) && !names.have(CommandId::ConfigGet) && names.have(CommandId::Get));
        assert!(names.lookup_full(b"config|get").is_none() && names.lookup_full(b"client|id").is_some());
    }

    #[test]
    fn all_others_keep_their_names() {
        let names = with(&Renames::default(), "flushall", "").unwrap().names();
        for command in all().iter().filter(|command| !command.is_subcommand() && command.name != "flushall") {
            let (found, own) =
                (names.lookup(command.name.as_bytes()).unwrap(), lookup(command.name.as_bytes()).unwrap());
            assert_eq!(found.id, own.id);
        }
        assert!(std::ptr::eq(Renames::default().names(), Names::stock()));
    }
}
