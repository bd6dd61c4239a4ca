//! Hashes of what people know: passwords of users of the hub, PINs of employees. Argon2id with the costs that OWASP
//! names (19 MiB, two passes), with a salt of its own each time.
//!
//! A hash is stored and travels in the catalog; it is never shown. Whatever is answered or printed goes through
//! [`without_hashes`] or [`hide`].

use crate::env::Random;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use std::borrow::Cow;

/// What every hash begins with: another cost would be another beginning.
const HEAD: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// What every argon2id hash begins with, also one of another program.
const ANY_HEAD: &str = "$argon2id$";

/// What is shown in place of a hash.
pub const HIDDEN: &str = "set";

/// A password that no hash can be made of.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(String);

/// Hashes a password; blocking work of some 50 ms and 19 MiB.
///
/// # Errors
/// [`HashError`], which no text up to 4 GiB brings about.
pub fn hash(password: &str, random: &dyn Random) -> Result<String, HashError> {
    let mut salt = [0_u8; 16];
    random.fill(&mut salt);
    let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    let hashed = hashed.map_err(|error| HashError(error.to_string()))?;
    Ok(hashed.to_string())
}

/// Whether a password is the one that was hashed; blocking work. Without a hash it takes as long and says no,
/// so that nobody learns which names there are.
pub fn is_right(password: &str, hashed: Option<&str>) -> bool {
    // A hash of another cost was not made here: to check it could take all there is of time and memory.
    let hashed = hashed.filter(|text| is_hash(text));
    let nobodys = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
                   $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let right = Argon2::default().verify_password(password.as_bytes(), hashed.unwrap_or(nobodys));
    right.is_ok() && hashed.is_some()
}

/// Whether a text is a hash as [`hash`] makes them.
pub fn is_hash(text: &str) -> bool {
    let base64 = |part: &str, length| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        part.len() == length && part.bytes().all(plain)
    };
    let parts = text
        .strip_prefix(HEAD)
        .and_then(|rest| rest.split_once('$'));
    parts.is_some_and(|(salt, hash)| base64(salt, 22) && base64(hash, 43))
}

/// The text with [`HIDDEN`] in place of each hash in it.
pub fn without_hashes(text: &str) -> Cow<'_, str> {
    if !text.contains(ANY_HEAD) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, hash)) = rest.split_once(ANY_HEAD) {
        shown.push_str(before);
        shown.push_str(HIDDEN);
        let is_of_hash =
            |letter: char| letter.is_ascii_alphanumeric() || "$=,+/.-".contains(letter);
        rest = hash.trim_start_matches(is_of_hash);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Puts [`HIDDEN`] in place of each hash in a JSON value.
pub fn hide(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = without_hashes(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => fields.values_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the same bytes for the same seed.
    struct Repeated(u8);

    impl Random for Repeated {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let hashed = hash("correct horse", &Repeated(1)).unwrap();
        assert!(is_hash(&hashed), "{hashed}");
        assert!(is_right("correct horse", Some(&hashed)));
        assert!(!is_right("correct horsf", Some(&hashed)));
        assert!(!is_right("correct horse", None));
        assert_ne!(hash("correct horse", &Repeated(2)).unwrap(), hashed);
    }

    #[test]
    fn what_costs_more_or_is_no_hash_is_not_looked_at() {
        let hashed = hash("4711", &Repeated(1)).unwrap();
        let dear = hashed.replacen("m=19456", "m=4194304", 1);
        let cut = &hashed[..hashed.len() - 1];
        for text in ["", "4711", dear.as_str(), cut, "$argon2id$"] {
            assert!(!is_hash(text), "{text}");
            assert!(!is_right("4711", Some(text)), "{text}");
        }
    }

    #[test]
    fn a_hash_is_hidden_wherever_it_stands() {
        let hashed = hash("4711", &Repeated(1)).unwrap();
        assert_eq!(without_hashes(&hashed), HIDDEN);
        assert_eq!(without_hashes("no secret"), "no secret");
        let edit = serde_json::json!({"columns": {"pin": hashed, "name": "Ann"}}).to_string();
        let mut record = serde_json::json!({"payload": edit, "all": [hashed, 1, null]});
        hide(&mut record);
        let shown = record.to_string();
        assert!(!shown.contains("argon2"), "{shown}");
        assert!(!shown.contains(&hashed[31..53]), "{shown}");
        let payload = record["payload"].as_str().unwrap();
        let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
        assert_eq!(
            payload,
            serde_json::json!({"columns": {"pin": "set", "name": "Ann"}})
        );
        assert_eq!(record["all"], serde_json::json!(["set", 1, null]));
    }
}
