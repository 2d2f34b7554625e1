//! All users.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rule::RuleError;
use super::user::User;

/// The user that a new connection is.
pub(crate) const DEFAULT: &[u8] = b"default";

/// See the module. What is in it is never changed: a change makes another one.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    default: Arc<User>,
    others: BTreeMap<Vec<u8>, Arc<User>>,
}

impl Users {
    /// The default user alone, who may do everything.
    pub fn new() -> Self {
        Self { default: Arc::new(User::everything(DEFAULT)), others: BTreeMap::new() }
    }

    /// The user that a new connection is.
    pub fn default(&self) -> &Arc<User> {
        &self.default
    }

    pub fn get(&self, name: &[u8]) -> Option<&Arc<User>> {
        if name == DEFAULT { Some(&self.default) } else { self.others.get(name) }
    }

    /// By their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<User>> {
        let before = self.others.range(..DEFAULT.to_vec());
        let after = self.others.range(DEFAULT.to_vec()..);
        before.map(|(_, user)| user).chain([&self.default]).chain(after.map(|(_, user)| user))
    }

    /// Adds a user, or replaces the one of its name.
    pub fn put(&mut self, user: User) {
        if user.name == DEFAULT {
            self.default = Arc::new(user);
        } else {
            self.others.insert(user.name.clone(), Arc::new(user));
        }
    }

    /// Takes a user out; the default one stays.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.others.remove(name).is_some()
    }

    /// A copy of a user, or a new one of that name, with these rules on top.
    ///
    /// # Errors
    /// The first rule that is wrong, by its number, and why.
    pub fn changed(&self, name: &[u8], rules: &[Vec<u8>], all_channels: bool) -> Result<User, (usize, RuleError)> {
        let mut user = self.get(name).map_or_else(|| User::new(name, all_channels), |user| User::clone(user));
        user.apply_all(rules, all_channels)?;
        Ok(user)
    }

    /// What `requirepass` does to the default user.
    pub fn set_default_password(&mut self, password: &[u8]) {
        Arc::make_mut(&mut self.default).set_password(password);
    }
}
