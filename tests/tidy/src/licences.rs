//! Everything compiled in has a licence that `deny.toml` allows.
//!
//! `cargo deny check` says the same and more; this needs no tool but cargo.

use std::collections::BTreeSet;

/// The licences that `deny.toml` lists below `allow = [`.
pub fn allowed(deny_toml: &str) -> BTreeSet<&str> {
    let section = deny_toml.split("[licenses]").nth(1).unwrap_or_default();
    let list = section
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    list.unwrap_or_default()
        .split('"')
        .skip(1)
        .step_by(2)
        .collect()
}

/// Packages whose licence is not allowed, in the output of `cargo metadata --format-version 1`.
pub fn refused(metadata: &str, allowed: &BTreeSet<&str>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut packages = 0;
    for package in metadata.split("{\"name\":\"").skip(1) {
        let Some((name, rest)) = package.split_once("\",\"version\":\"") else {
            continue;
        };
        // A dependency is an object with a name as well, but it has no licence.
        let Some((_, rest)) = rest.split_once("\",\"license\":") else {
            continue;
        };
        if name.contains('"') {
            continue;
        }
        packages += 1;
        let licence = rest
            .strip_prefix('"')
            .and_then(|rest| rest.split('"').next());
        if !licence.is_some_and(|licence| holds(licence, allowed)) {
            findings.push(format!(
                "Cargo.lock: `{name}` is under {}: find another package, or allow the licence in \
                 deny.toml if it suits a program that is sold",
                licence.unwrap_or("no licence that cargo knows")
            ));
        }
    }
    if packages == 0 {
        findings
            .push("cargo metadata names no package with a licence: its form has changed".into());
    }
    findings
}

/// Whether an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0` can be kept with the
/// licences allowed. An exception (`WITH`) only adds permissions.
fn holds(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at, allowed) && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut held = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        held |= all(words, at, allowed);
    }
    held
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let mut held = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        held &= one(words, at, allowed);
    }
    held
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<&str>) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let held = any(words, at, allowed);
        *at += 1;
        return held;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    allowed.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_judged_as_it_reads() {
        let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Unicode-3.0"]);
        let check = |text, expected| assert_eq!(holds(text, &allowed), expected, "{text}");
        check("MIT", true);
        check("GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT", true);
        check("MIT/Apache-2.0", true);
        check("MIT AND BSD-3-Clause", false);
        check("(MIT OR GPL-2.0-only) AND Unicode-3.0", true);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("", false);
    }

    #[test]
    fn a_package_with_another_licence_or_none_is_found() {
        let deny_toml = "[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\n";
        assert_eq!(allowed(deny_toml), BTreeSet::from(["MIT", "ISC"]));
        let metadata = |licence: &str| {
            format!(
                "{{\"packages\":[{{\"name\":\"x\",\"version\":\"1.0.0\",\"id\":\"x\",\"license\":{licence},\
                 \"dependencies\":[{{\"name\":\"y\",\"req\":\"1\"}}]}}]}}"
            )
        };
        let findings = |licence| refused(&metadata(licence), &allowed(deny_toml)).join("\n");
        assert_eq!(findings("\"MIT\""), "");
        assert!(findings("\"GPL-3.0-only\"").contains("`x` is under GPL"));
        assert!(findings("null").contains("no licence"));
        assert!(!refused("{}", &allowed(deny_toml)).is_empty());
    }
}
