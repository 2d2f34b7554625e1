//! The directives as `emberkv server --help` explains them.

use std::fmt::Write;

use super::table::{Config, DIRECTIVES, Directive, When};

/// No line is longer.
const WIDTH: usize = 100;
/// Where the explanations start.
const INDENT: usize = 38;

/// Every directive that means something here: name, type, meaning, default; by groups, aligned,
/// in lines of at most 100 columns.
#[must_use]
pub fn help() -> String {
    let defaults = Config::default();
    let mut text = String::new();
    let mut group = "";
    for directive in DIRECTIVES {
        if directive.group != group {
            group = directive.group;
            let _ = writeln!(text, "{}{group}:", if text.is_empty() { "" } else { "\n" });
        }
        let left = format!("  --{} {}", directive.name, short_kind(directive));
        let lines = wrap(&explanation(directive, &defaults), WIDTH - INDENT);
        let mut lines = lines.iter();
        if left.len() < INDENT
            && let Some(first) = lines.next()
        {
            let _ = writeln!(text, "{left:INDENT$}{first}");
        } else {
            let _ = writeln!(text, "{left}");
        }
        for line in lines {
            let _ = writeln!(text, "{:INDENT$}{line}", "");
        }
    }
    text.push_str(
        "\nevery other directive of redis.conf is accepted too; one that has no meaning here is\n\
         reported once at start, with what emberkv does instead.\n",
    );
    text
}

/// The type, cut short where a long list is better told apart in the text.
fn short_kind(directive: &Directive) -> String {
    let kind = (directive.kind)();
    if kind.len() > 40 { "<policy>".to_owned() } else { format!("<{kind}>") }
}

fn explanation(directive: &Directive, defaults: &Config) -> String {
    let kind = (directive.kind)();
    let choices = if kind.len() > 40 { format!(": {}", kind.replace('|', ", ")) } else { String::new() };
    let default = (directive.show)(defaults);
    let default = if default.is_empty() { "none" } else { &default };
    let when = if directive.when == When::Runtime { "" } else { "; at start only" };
    format!("{}{choices} (default: {default}{when})", directive.help)
}

/// `text` in lines of at most `width` columns; a word that is longer stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.len() - 1;
        if lines[line].is_empty() {
            lines[line].push_str(word);
        } else if lines[line].len() + 1 + word.len() <= width {
            lines[line].push(' ');
            lines[line].push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_is_explained_in_narrow_lines() {
        let text = help();
        for directive in DIRECTIVES {
            assert!(text.contains(&format!("\n  --{} ", directive.name)), "{}", directive.name);
        }
        for line in text.lines() {
            assert!(line.len() <= WIDTH, "{line}");
        }
        assert!(text.contains("(default: 16; at start only)"));
    }
}
