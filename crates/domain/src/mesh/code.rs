//! How a lane is taken into the shop of another one by a code that a person reads at the one and types at the other
//! (ADR 0026).
//!
//! The code is long enough that nobody finds it who hears all that is said: 95 random bits. It proves who speaks, and what
//! was said; nothing is kept secret by it. Nothing here knows a socket or a clock.

use super::pairing::Party;
use crate::env::Random;
use std::fmt;
use std::str::FromStr;

/// Letters that nobody takes for another one. One stands for five bits.
const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Letters that are drawn; one more checks them.
const DRAWN: usize = 19;

/// Letters between two dashes.
const GROUP: usize = 4;

/// How long a code is good, in milliseconds: ten minutes.
pub const CODE_GOOD_MS: i64 = 10 * 60 * 1000;

/// Wrong codes before the right one is gone too.
pub const WRONG_CODES_MAX: u32 = 5;

/// A text that is no code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this is no code of a lane: 20 letters and digits in groups of four, without 0, 1, I and O; look again for a letter \
     that is mistyped"
)]
pub struct ParseCodeError;

/// A code, as a person reads and types it. The last letter checks the others, so that a slip costs no attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode(String);

impl PairingCode {
    /// Draws one.
    pub fn draw(random: &dyn Random) -> Self {
        let mut bytes = [0; DRAWN];
        random.fill(&mut bytes);
        let drawn = bytes.map(|byte| byte & 31);
        let letters = drawn.into_iter().chain([check(&drawn)]);
        Self(letters.map(letter).collect())
    }

    /// What both sides prove with it.
    pub fn key(&self) -> CodeKey {
        CodeKey(blake3::derive_key(CodeKey::PURPOSE, self.0.as_bytes()))
    }
}

fn letter(value: u8) -> char {
    char::from(LETTERS[usize::from(value & 31)])
}

fn value(letter: u8) -> Option<u8> {
    let place = LETTERS.iter().position(|known| *known == letter)?;
    u8::try_from(place).ok()
}

/// The letter with which the sum fits (Luhn, over 32 letters): no single letter can be another one.
fn check(drawn: &[u8]) -> u8 {
    let weigh = |(place, value): (usize, &u8)| match place & 1 {
        0 => ((value * 2) >> 5) + ((value * 2) & 31),
        _ => *value,
    };
    let sum: u8 = drawn
        .iter()
        .rev()
        .enumerate()
        .map(weigh)
        .fold(0, |sum, it| (sum + it) & 31);
    (32 - sum) & 31
}

impl FromStr for PairingCode {
    type Err = ParseCodeError;

    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let typed = text.bytes().filter(|it| !b"- \t\r\n".contains(it));
        let values: Option<Vec<u8>> = typed.map(|it| value(it.to_ascii_uppercase())).collect();
        match values.as_deref().and_then(<[u8]>::split_last) {
            Some((last, drawn)) if drawn.len() == DRAWN && check(drawn) == *last => {
                let letters = drawn.iter().chain([last]).copied();
                Ok(Self(letters.map(letter).collect()))
            }
            _ => Err(ParseCodeError),
        }
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, letter) in self.0.chars().enumerate() {
            if place > 0 && place.is_multiple_of(GROUP) {
                f.write_str("-")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

/// It is a secret as long as it is good.
impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode")
    }
}

/// The two lanes, as each introduced itself for this one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parties {
    /// The lane at which the code was typed.
    pub asks: Party,
    /// The lane that shows the code.
    pub gives: Party,
}

/// Which of the two says something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The lane at which the code was typed.
    Asks,
    /// The lane that shows the code.
    Gives,
}

/// What follows from a code.
#[derive(Clone)]
pub struct CodeKey([u8; 32]);

impl CodeKey {
    /// Names what the key is for. It must not change: lanes of different releases meet.
    const PURPOSE: &'static str = "counterfoil 2026-11 code for lanes in trial";

    /// What goes with something that is said, 64 hexadecimal digits. It names the speaker and what both drew for this
    /// attempt: said again, sent back, changed, or said by somebody in between, it does not fit.
    pub fn proof(&self, role: Role, parties: &Parties, said: &str) -> String {
        self.hash(role, parties, said).to_hex().to_string()
    }

    /// Whether that goes with what was said; takes the same time whatever is wrong.
    pub fn verifies(&self, proof: &str, role: Role, parties: &Parties, said: &str) -> bool {
        let expected = self.hash(role, parties, said);
        blake3::Hash::from_hex(proof).is_ok_and(|found| found == expected)
    }

    fn hash(&self, role: Role, parties: &Parties, said: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[match role {
            Role::Asks => 1,
            Role::Gives => 2,
        }]);
        for party in [parties.asks, parties.gives] {
            hasher.update(party.node.uuid().as_bytes());
            hasher.update(&party.nonce);
        }
        hasher.update(said.as_bytes());
        hasher.finalize()
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeKey")
    }
}

/// Why nobody is let in by a code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodeRefused {
    /// There is none.
    #[error("no code is good here: it was used, or none was asked for")]
    None,
    /// Its time is over.
    #[error("the code has expired")]
    Ended,
    /// It is another one.
    #[error("the code is wrong; {left} more wrong ones and it is gone")]
    Wrong {
        /// Attempts that are left.
        left: u32,
    },
    /// It was wrong too often.
    #[error("the code is wrong, for the {WRONG_CODES_MAX}th time: it is gone")]
    Gone,
}

/// The code that a lane shows, if it shows one. One at a time.
#[derive(Clone, Default, Debug)]
pub struct Shown(Option<ShownCode>);

#[derive(Clone, Debug)]
struct ShownCode {
    key: CodeKey,
    since_ms: i64,
    wrong: u32,
}

impl ShownCode {
    /// A clock that goes back ends it too.
    fn is_good(&self, now_ms: i64) -> bool {
        let end_ms = self.since_ms.saturating_add(CODE_GOOD_MS);
        (self.since_ms..end_ms).contains(&now_ms)
    }
}

impl Shown {
    /// Shows a code; the one of before is good no longer.
    pub fn show(&mut self, code: &PairingCode, now_ms: i64) {
        self.0 = Some(ShownCode {
            key: code.key(),
            since_ms: now_ms,
            wrong: 0,
        });
    }

    /// Shows none any more.
    pub fn hide(&mut self) {
        self.0 = None;
    }

    /// Until when a code is good that is shown now, and how many wrong ones came instead of it.
    pub fn good_until_ms(&self, now_ms: i64) -> Option<(i64, u32)> {
        let shown = self.0.as_ref().filter(|it| it.is_good(now_ms))?;
        Some((shown.since_ms.saturating_add(CODE_GOOD_MS), shown.wrong))
    }

    /// Whether what was said goes with the code; then nobody uses it again.
    ///
    /// # Errors
    /// [`CodeRefused`]; a wrong one is counted.
    pub fn take(
        &mut self,
        now_ms: i64,
        (proof, said): (&str, &str),
        parties: &Parties,
    ) -> Result<CodeKey, CodeRefused> {
        let Some(shown) = &mut self.0 else {
            return Err(CodeRefused::None);
        };
        if !shown.is_good(now_ms) {
            self.0 = None;
            return Err(CodeRefused::Ended);
        }
        if shown.key.verifies(proof, Role::Asks, parties, said) {
            let key = shown.key.clone();
            self.0 = None;
            return Ok(key);
        }
        shown.wrong += 1;
        match WRONG_CODES_MAX.saturating_sub(shown.wrong) {
            0 => {
                self.0 = None;
                Err(CodeRefused::Gone)
            }
            left => Err(CodeRefused::Wrong { left }),
        }
    }
}

#[cfg(test)]
mod tests;
