//! Passwords of people: argon2id with the costs that OWASP names (19 MiB, two passes), salted from the environment.

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use counterfoil_domain::env::Random;

/// A password that no hash can be made of.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub(crate) struct HashError(String);

/// Hashes a password; blocking work of some 50 ms.
pub(crate) fn hash(password: &str, random: &dyn Random) -> Result<String, HashError> {
    let mut salt = [0_u8; 16];
    random.fill(&mut salt);
    let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    let hashed = hashed.map_err(|error| HashError(error.to_string()))?;
    Ok(hashed.to_string())
}

/// Whether a password is the one that was hashed; blocking work. Without a hash it takes as long and says no,
/// so that nobody learns which names there are.
pub(crate) fn is_right(password: &str, hashed: Option<&str>) -> bool {
    let nobodys = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
                   $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let right = Argon2::default().verify_password(password.as_bytes(), hashed.unwrap_or(nobodys));
    right.is_ok() && hashed.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_testkit::SeededRandom;

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let random = SeededRandom::new(1);
        let hashed = hash("correct horse", &random).unwrap();
        assert!(
            hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hashed}"
        );
        assert!(is_right("correct horse", Some(&hashed)));
        assert!(!is_right("correct horsf", Some(&hashed)));
        assert!(!is_right("correct horse", None));
        assert_ne!(hash("correct horse", &random).unwrap(), hashed);
    }
}
