//! Just enough Rust to tell code from comments and strings.

/// The text with comments and the insides of strings and characters blanked; lines stay lines.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (keep, skip) = token(rest, first, code.chars().next_back());
        code.push_str(&rest[..keep]);
        code.extend(
            rest[keep..keep + skip]
                .chars()
                .filter(|found| *found == '\n'),
        );
        rest = &rest[keep + skip..];
    }
    code
}

/// How many bytes from here on are code, and how many after those are blanked.
fn token(rest: &str, first: char, before: Option<char>) -> (usize, usize) {
    let in_word = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    match first {
        '/' if rest.starts_with("//") => (0, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (0, block_comment(rest)),
        '"' => (0, string(rest)),
        'r' if !in_word && raw_string(rest).is_some() => (0, raw_string(rest).unwrap_or(1)),
        'b' if !in_word && raw_string(&rest[1..]).is_some() => {
            (0, 1 + raw_string(&rest[1..]).unwrap_or(1))
        }
        '\'' => (0, character(rest).unwrap_or(1)),
        other => (other.len_utf8(), 0),
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, found) in rest.char_indices().skip(1) {
        match found {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let body = hashes.trim_start_matches('#');
    let count = hashes.len() - body.len();
    let body = body.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + length)
}

/// A character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        // An escaped quote comes right behind the backslash.
        let end = inside.get(2..)?.find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    inside[first.len_utf8()..]
        .starts_with('\'')
        .then_some(1 + first.len_utf8() + 1)
}

/// Whether a word stands in the code, alone.
pub fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |found: char| found.is_alphanumeric() || found == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// The names of all functions defined in the code.
pub fn functions(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("fn ").filter_map(|(at, found)| {
        let begins = !code[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let name = &code[at + found.len()..];
        let end = name
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(name.len());
        (begins && end > 0).then_some(&name[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked_and_code_stays() {
        let check = |text: &str, code: &str| assert_eq!(code_of(text), code, "{text}");
        check("let a = 1; // unsafe\nb", "let a = 1; \nb");
        check("a /* x /* y */ z\n */ b", "a \n b");
        check(r#"f("un\"safe", g)"#, "f(, g)");
        check(r##"f(r#"a "quoted" b"#, g)"##, "f(, g)");
        check(r#"f(b"x", br"y")"#, "f(b, )");
        check(r"f('\'', '\u{1F600}', 'x', '/')", "f(, , , )");
        check("fn f<'a>(x: &'a str) {}", "fn f<a>(x: &a str) {}");
        check("\"two\nlines\" x", "\n x");
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert!(has_word("unsafe { }", "unsafe"));
        assert!(!has_word("deny(unsafe_code)", "unsafe"));
    }

    #[test]
    fn functions_are_found_by_name() {
        let code = "pub(crate) async fn one() {} fn two<T>(f: impl Fn(T)) {} let often = 1;";
        assert_eq!(functions(code).collect::<Vec<_>>(), ["one", "two"]);
    }
}
