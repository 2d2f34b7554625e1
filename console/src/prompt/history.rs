//! What was typed before: a file of lines, `$REDISCLI_HISTFILE` or `~/.emberkvcli_history`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::quote::{quote, split};

/// What is kept.
pub(super) const MOST_LINES: usize = 1000;

/// The file. Each line goes there at once, so that sessions side by side and killed ones lose nothing.
pub(super) struct History {
    lines: Vec<String>,
    file: Option<File>,
}

impl History {
    /// Reads the file; without a home there is none, and one that can't be written is only read.
    pub(super) fn open() -> Self {
        let path = std::env::var_os("REDISCLI_HISTFILE").map(PathBuf::from);
        let path = path.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".emberkvcli_history")));
        path.map_or(Self { lines: Vec::new(), file: None }, Self::read)
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let surplus = lines.len().saturating_sub(MOST_LINES);
        lines.drain(..surplus);
        // passwords are kept out, but keys and values are not for everybody either.
        let mut options = OpenOptions::new();
        options.create(true).mode(0o600);
        // not at every start: two sessions may begin at once, and a rewrite is the only moment that can lose lines.
        let file = if surplus > MOST_LINES {
            let file = options.write(true).truncate(true).open(&path);
            file.and_then(|mut file| {
                file.write_all((lines.join("\n") + "\n").as_bytes())?;
                Ok(file)
            })
        } else {
            options.append(true).open(&path)
        };
        Self { lines, file: file.ok() }
    }

    /// The oldest first.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Adds a line.
    pub(super) fn append(&mut self, line: &str) {
        if let Some(file) = &mut self.file
            && file.write_all(format!("{line}\n").as_bytes()).is_err()
        {
            self.file = None;
        }
    }
}

/// How a line is remembered: in one line; `None` if a password may be in it.
pub(super) fn entry(line: &str) -> Option<String> {
    let words = split(line.as_bytes()).unwrap_or_default();
    let word = |index: usize| words.get(index).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let has = |name: &[u8]| words.iter().any(|word| word.eq_ignore_ascii_case(name));
    let is_secret = match (word(0).as_slice(), word(1).as_slice()) {
        (b"auth", _) | (b"acl", b"setuser") => true,
        (b"hello" | b"migrate", _) => has(b"auth") || has(b"auth2"),
        (b"config", b"set") => {
            let secrets = [&b"requirepass"[..], b"masterauth", b"masteruser", b"tls-key-file-pass"];
            secrets.iter().any(|name| has(name))
        }
        _ => false,
    };
    if is_secret {
        return None;
    }
    if !line.contains('\n') {
        return Some(line.trim().to_owned());
    }
    let is_plain = |word: &[u8]| {
        !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\''))
    };
    let show = |word: &Vec<u8>| match std::str::from_utf8(word) {
        Ok(text) if is_plain(word) => text.to_owned(),
        _ => quote(word),
    };
    Some(words.iter().map(show).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_forgotten() {
        for line in ["AUTH x", "hello 3 AUTH me x", "config set requirepass x", "acl setuser me >x"] {
            assert_eq!(entry(line), None, "{line}");
        }
        assert_eq!(entry("  get auth "), Some("get auth".into()));
    }

    #[test]
    fn several_lines_become_one_that_means_the_same() {
        let typed = "set key \"a\nb\" 'c\nd'";
        let kept = entry(typed).unwrap();
        assert_eq!(kept, r#"set key "a\nb" "c\nd""#);
        assert_eq!(split(kept.as_bytes()), split(typed.as_bytes()));
    }

    #[test]
    fn the_file_is_read_appended_to_and_kept_short() {
        let path = std::env::temp_dir().join(format!("emberkv-history-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut history = History::read(path.clone());
        assert!(history.lines().is_empty());
        for i in 0..2 * MOST_LINES + 2 {
            history.append(&format!("get {i}"));
        }
        let again = History::read(path.clone());
        assert_eq!(again.lines().len(), MOST_LINES);
        assert_eq!(again.lines().last().map(String::as_str), Some("get 2001"));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), MOST_LINES);
        fs::remove_file(&path).unwrap();
    }
}
