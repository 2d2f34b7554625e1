use emberkv_resp::schema::{CommandId, resolve};
use emberkv_resp::{Limits, OwnedArgs, Parsed, Parser};
use proptest::prelude::*;

use super::*;

fn request(line: &str) -> OwnedArgs {
    // quoted, so that the request owns its words
    let words: String = line.split(' ').map(|word| format!("\"{word}\" ")).collect();
    match Parser::new().parse(format!("{words}\n").as_bytes(), 0, &mut Vec::new(), &Limits::default()) {
        Ok(Parsed::Inline { args, .. }) => args,
        other => panic!("{other:?}"),
    }
}

fn words(rules: &str) -> Vec<Vec<u8>> {
    merge_selectors(rules.split(' ').map(str::as_bytes)).unwrap()
}

fn user(rules: &str) -> User {
    let mut user = User::new(b"alice", false);
    user.apply_all(&words(rules), false).unwrap();
    user
}

fn check(user: &User, line: &str) -> Result<(), Denied> {
    let request = request(line);
    user.check(resolve(request.args()).unwrap(), request.args())
}

#[test]
fn a_command_is_permitted_if_one_selector_permits_all_of_it() {
    let alice = user("+get ~a (+set ~b %R~c)");
    assert_eq!(check(&alice, "GET a"), Ok(()));
    assert_eq!(check(&alice, "SET b x"), Ok(()));
    assert_eq!(check(&alice, "SET c x"), Err(Denied::Key(1)));
    assert_eq!(check(&alice, "GET b"), Err(Denied::Key(1)));
    assert_eq!(check(&alice, "DEL a"), Err(Denied::Command));
    assert_eq!(check(&alice, "AUTH x"), Ok(()), "who may not even come in has no user");
}

#[test]
fn a_key_is_read_and_written_by_what_the_request_does() {
    let alice = user("+@all %R~r %W~w");
    assert_eq!(check(&alice, "SET w x"), Ok(()));
    assert_eq!(check(&alice, "SET w x GET"), Err(Denied::Key(1)));
    assert_eq!(check(&alice, "BITFIELD r GET u8 0"), Ok(()));
    assert_eq!(check(&alice, "BITFIELD r SET u8 0 1"), Err(Denied::Key(1)));
    assert_eq!(check(&alice, "MGET r w"), Err(Denied::Key(2)));
    assert_eq!(check(&alice, "MSET w x r x"), Err(Denied::Key(3)));
}

#[test]
fn who_may_do_everything_is_known_without_looking() {
    assert!(User::everything(DEFAULT).is_unrestricted());
    assert!(user("allcommands allkeys allchannels").is_unrestricted());
    assert!(user("+get (+@all ~* &*)").is_unrestricted());
    for less in ["+@all ~*", "+@all &*", "~* &*", "+@all ~* &* -get", "+@all ~* &* -config|set"] {
        assert!(!user(less).is_unrestricted(), "{less}");
    }
    assert!(user("+@all ~* &* -get +get").is_unrestricted());
}

#[test]
fn a_change_is_made_whole_or_not_at_all() {
    let mut alice = user("+get ~a");
    let before = alice.clone();
    assert_eq!(alice.apply_all(&words("+set ~b +nosuch"), false), Err((2, RuleError::Unknown)));
    assert_eq!(alice, before);
}

#[test]
fn all_that_is_wrong_with_a_file_is_said() {
    let text = b"user a on +get\n\nnobody\nuser a off\nuser b +nosuch +neither\nuser c (+get\nuser d >x #y !z\n";
    let error = load_file("f", text, false).unwrap_err().to_string();
    for part in [
        "f:3: line should start",
        "user 'a' found on line 4",
        "f:5: Error in applying operation '+nosuch'",
        "'+neither'",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(error.contains("f:6: Unmatched") && error.contains("f:7: The password hash"), "{error}");
    assert!(error.ends_with("no change to the previously active ACL rules was performed"));
    let users = load_file("f", b"user a on +get\r\n", false).unwrap();
    assert!(users.get(b"a").is_some() && users.default().is_unrestricted());
}

#[test]
fn users_are_listed_by_name_and_the_default_one_stays() {
    let mut users = Users::new();
    for name in ["zoe", "alice", "default"] {
        users.put(User::new(name.as_bytes(), false));
    }
    let names: Vec<_> = users.iter().map(|user| String::from_utf8_lossy(&user.name).into_owned()).collect();
    assert_eq!(names, ["alice", "default", "zoe"]);
    assert!(!users.remove(DEFAULT) && users.remove(b"zoe") && !users.remove(b"zoe"));
    assert!(!users.default().is_open());
}

#[test]
fn passwords_let_in_and_hashes_are_shown() {
    let alice = user("on >one >two");
    assert!(alice.is_let_in_with(b"one") && alice.is_let_in_with(b"two") && !alice.is_let_in_with(b"three"));
    assert!(!user("off >one").is_let_in_with(b"one"));
    assert!(user("on nopass").is_let_in_with(b"anything"));
    assert!(!format!("{:?}", user("on >hunter2")).contains("hunter2"));
}

/// Rules that can be put together in any order.
fn rule() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &["get", "set", "config", "config|get", "mget", "select", "ping", "acl|list"];
    let command = (any::<bool>(), prop::sample::select(NAMES));
    prop_oneof![
        4 => command.prop_map(|(allows, name)| format!("{}{name}", if allows { '+' } else { '-' })),
        2 => (any::<bool>(), prop::sample::select(&["@read", "@write", "@string", "@admin", "@all", "@slow"]))
            .prop_map(|(allows, name)| format!("{}{name}", if allows { '+' } else { '-' })),
        2 => prop::sample::select(&["~a*", "%R~b", "%W~b", "%RW~c?", "resetkeys", "~*"]).prop_map(String::from),
        1 => prop::sample::select(&["&a", "&*", "resetchannels"]).prop_map(String::from),
        1 => prop::sample::select(&["on", "off", "nopass", ">x", "resetpass", "reset", "(+get ~x)", "clearselectors"])
            .prop_map(String::from),
        1 => Just("+select|0".to_owned()),
    ]
}

proptest! {
    /// A user's line, read again, is the same user, and permits the same.
    #[test]
    fn a_line_makes_the_same_user(rules in prop::collection::vec(rule(), 0..12)) {
        let mut user = User::new(b"alice", false);
        for rule in &rules {
            // a pattern behind all patterns is refused
            let _ = user.apply(rule.as_bytes(), false);
        }
        let line = user.describe();
        let again = load_file("f", &line, false).unwrap();
        let again = again.get(b"alice").unwrap();
        prop_assert_eq!(again.describe(), line);
        for line in ["GET a1", "GET b", "SET b x", "SET c1 x GET", "CONFIG GET x", "ACL LIST", "MGET a1 x", "SELECT 0", "SELECT 1", "PUBLISH a x"] {
            prop_assert_eq!(check(again, line), check(&user, line), "{}", line);
        }
        prop_assert_eq!(user.is_unrestricted(), again.is_unrestricted());
    }

    /// The bits of commands against a plain list of rules, read from the last.
    #[test]
    fn the_last_rule_on_a_command_counts(rules in prop::collection::vec((any::<bool>(), 0usize..4), 0..12)) {
        const NAMES: [&str; 4] = ["get", "config", "config|get", "@all"];
        let mut user = User::new(b"alice", false);
        for (allows, name) in &rules {
            let rule = format!("{}{}", if *allows { '+' } else { '-' }, NAMES[*name]);
            user.apply(rule.as_bytes(), false).unwrap();
        }
        let last = |of: &[usize]| rules.iter().rev().find(|(_, name)| of.contains(name)).is_some_and(|(allows, _)| *allows);
        prop_assert_eq!(check(&user, "GET x") != Err(Denied::Command), last(&[0, 3]));
        prop_assert_eq!(check(&user, "CONFIG GET x").is_ok(), last(&[1, 2, 3]));
        prop_assert_eq!(check(&user, "CONFIG SET x y").is_ok(), last(&[1, 3]));
        prop_assert_eq!(CommandId::ConfigGet.command().name, "config|get");
    }
}
