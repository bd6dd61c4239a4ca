//! Finding where two inventories differ without sending either (P5): range-based set reconciliation.
//!
//! Both sides have a list of keys in order, each with a digest of what stands there. Whoever asks names a range of keys with one
//! digest over it; whoever answers says that it is the same, or cuts its own part of that range into pieces with a digest each,
//! and at the end names the keys. What is equal is never sent. A difference is where to look, not who is right: each side then counts
//! again from its own journals.

use crate::ids::DocumentId;
use crate::stock::Effect;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// Pieces into which a range that differs is cut.
pub const PIECES: usize = 16;

/// Keys of a range that are named one by one instead.
pub const KEYS_NAMED_MAX: usize = 16;

/// How often an answer may lead to another question before the peer counts as one that makes things up: sixteen to this power is more
/// than there are products.
pub const ROUNDS_MAX: usize = 16;

/// Keys that differ, and questions that are open, above which the peer counts as one that makes things up, or has nothing in common with
/// this lane: nothing is gained by comparing.
const DIFFERING_MAX: usize = 100_000;
const OPEN_MAX: usize = 100_000;

const DIGEST_BYTES: usize = 16;

/// The first half of a SHA-256: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; DIGEST_BYTES]);

/// A text that is no [`Digest`].
#[derive(Debug, thiserror::Error)]
#[error("a digest has 32 hexadecimal digits")]
pub struct NoDigest;

impl Digest {
    fn of(hasher: Sha256) -> Self {
        let whole = hasher.finalize();
        Self(std::array::from_fn(|index| whole[index]))
    }

    fn of_fields(fields: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for field in fields {
            hasher.update(field.as_bytes());
            hasher.update(b"\n");
        }
        Self::of(hasher)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, NoDigest> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() != 2 * DIGEST_BYTES || !is_hex {
            return Err(NoDigest);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| NoDigest)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        text.parse()
    }
}

/// One key, and a digest of what stands there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Leaf {
    /// The key.
    #[serde(rename = "k")]
    pub key: String,
    /// 32 hexadecimal digits.
    #[serde(rename = "d")]
    #[schema(value_type = String)]
    pub digest: Digest,
}

impl Leaf {
    /// Of a product: its level, and the document and quantity of the count that holds.
    pub fn of_level(sku: &str, level_milli: i64, count: Option<(DocumentId, i64)>) -> Self {
        let (id, milli) = count.map_or_else(Default::default, |(id, milli)| {
            (id.to_string(), milli.to_string())
        });
        let digest = Digest::of_fields(&[sku, &level_milli.to_string(), &id, &milli]);
        let key = sku.to_owned();
        Self { key, digest }
    }

    /// Of what one line of a document, or a document without lines, says of a product. The key does not name the journal: one
    /// that two identities have in common stands under either.
    pub fn of_effect(id: DocumentId, effect: &Effect) -> Self {
        let key = format!("{id} {:05}", effect.item);
        let optional = |number: Option<i64>| number.map_or_else(String::new, |it| it.to_string());
        let (milli, place, at_ms) = effect.what.numbers();
        let (seq, hlc) = (effect.seq.to_string(), effect.hlc.raw().to_string());
        let (milli, place) = (milli.to_string(), optional(place));
        let fields = [&key, &seq, &hlc, &milli, &place, &optional(at_ms)];
        let digest = Digest::of_fields(&fields.map(String::as_str));
        Self { key, digest }
    }

    /// The document that a key of an effect names.
    pub fn document(key: &str) -> Option<DocumentId> {
        key.split_once(' ')?.0.parse().ok()
    }
}

/// Keys from the first on, before the other one.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, ToSchema,
)]
pub struct Range {
    /// The first key that belongs to it; empty: from the beginning.
    pub from: String,
    /// The first that does not; absent: to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Range {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// One key.
    pub fn of(key: &str) -> Self {
        let (from, to) = (key.to_owned(), Some(Self::behind(key)));
        Self { from, to }
    }

    /// Where what follows a key begins: no key has a NUL character in it, so that none stands between the two.
    pub fn behind(key: &str) -> String {
        format!("{key}\u{1}")
    }

    fn contains(&self, key: &str) -> bool {
        key >= self.from.as_str() && self.to.as_deref().is_none_or(|to| key < to)
    }
}

/// A range, and the digest over what whoever asks has in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Question {
    /// Which keys.
    #[serde(flatten)]
    pub range: Range,
    /// 32 hexadecimal digits.
    #[schema(value_type = String)]
    pub digest: Digest,
}

/// What is said of a range that somebody asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The same here.
    Same,
    /// It differs; the range in pieces, each from its key to the next one's.
    Pieces(Vec<Leaf>),
    /// It differs; all keys that are in it here.
    Keys(Vec<Leaf>),
}

/// An answer that is none to what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadAnswer(&'static str);

impl BadAnswer {
    /// Not as many answers as questions.
    pub const COUNT: Self = Self("not as many answers as questions");
}

/// Keys with their digests, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inventory {
    leaves: Vec<Leaf>,
}

impl FromIterator<Leaf> for Inventory {
    fn from_iter<I: IntoIterator<Item = Leaf>>(leaves: I) -> Self {
        let mut leaves: Vec<Leaf> = leaves.into_iter().collect();
        leaves.sort_by(|one, other| (&one.key, one.digest).cmp(&(&other.key, other.digest)));
        // What stands there twice is not what stands there once.
        let same = leaves.chunk_by(|one, other| one.key == other.key);
        let leaves = same.filter_map(|same| match same {
            [] => None,
            [leaf] => Some(leaf.clone()),
            [first, ..] => Some(Leaf {
                key: first.key.clone(),
                digest: over(same),
            }),
        });
        Self {
            leaves: leaves.collect(),
        }
    }
}

impl Inventory {
    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.leaves.len()
    }

    /// No key at all.
    pub const fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    fn within(&self, range: &Range) -> &[Leaf] {
        let place = |key: &str| self.leaves.partition_point(|leaf| leaf.key.as_str() < key);
        let begin = place(&range.from);
        let end = range.to.as_deref().map_or(self.leaves.len(), place);
        self.leaves.get(begin..end).unwrap_or_default()
    }

    /// Asks about a range.
    pub fn question(&self, range: Range) -> Question {
        let digest = over(self.within(&range));
        Question { range, digest }
    }

    /// Answers what somebody asked.
    pub fn answer(&self, asked: &Question) -> Answer {
        let own = self.within(&asked.range);
        if over(own) == asked.digest {
            return Answer::Same;
        }
        if own.len() <= KEYS_NAMED_MAX {
            return Answer::Keys(own.to_vec());
        }
        let pieces = own.chunks(own.len().div_ceil(PIECES)).enumerate();
        let piece = |(index, leaves): (usize, &[Leaf])| Leaf {
            // The first one begins where the range does: there may be keys before it on the other side.
            key: match (index, leaves.first()) {
                (0, _) | (_, None) => asked.range.from.clone(),
                (_, Some(first)) => first.key.clone(),
            },
            digest: over(leaves),
        };
        Answer::Pieces(pieces.map(piece).collect())
    }
}

fn over(leaves: &[Leaf]) -> Digest {
    let mut hasher = Sha256::new();
    for leaf in leaves {
        hasher.update(leaf.digest.0);
    }
    Digest::of(hasher)
}

/// One side's way to all keys that differ: what it asks, and what it found.
#[derive(Debug)]
pub struct Comparison<'i> {
    own: &'i Inventory,
    /// With the number of the round.
    open: VecDeque<(Question, usize)>,
    differing: BTreeSet<String>,
}

impl<'i> Comparison<'i> {
    /// Of what is in these ranges.
    pub fn new(own: &'i Inventory, ranges: impl IntoIterator<Item = Range>) -> Self {
        let open = ranges.into_iter().map(|range| (own.question(range), 1));
        Self {
            own,
            open: open.collect(),
            differing: BTreeSet::new(),
        }
    }

    /// The next questions, at most so many; none when everything is found.
    pub fn questions(&self, limit: usize) -> Vec<Question> {
        let next = self.open.iter().take(limit);
        next.map(|(question, _)| question.clone()).collect()
    }

    /// Takes in the answers to the questions that were given last, in their order.
    ///
    /// # Errors
    /// [`BadAnswer`]: nothing more can be found with this peer.
    pub fn answered(&mut self, answers: &[Answer]) -> Result<(), BadAnswer> {
        for answer in answers {
            let asked = self.open.pop_front();
            let (question, round) = asked.ok_or(BadAnswer::COUNT)?;
            self.take(&question, round, answer)?;
        }
        Ok(())
    }

    fn take(&mut self, asked: &Question, round: usize, answer: &Answer) -> Result<(), BadAnswer> {
        let (said, range) = match answer {
            Answer::Same => return Ok(()),
            Answer::Pieces(said) | Answer::Keys(said) => (said, &asked.range),
        };
        let is_ascending = said.is_sorted_by(|one, other| one.key < other.key);
        if !is_ascending || !said.iter().all(|leaf| range.contains(&leaf.key)) {
            return Err(BadAnswer("keys that are not in the range, or not in order"));
        }
        if matches!(answer, Answer::Keys(_)) {
            if said.len() > KEYS_NAMED_MAX || self.differing.len() > DIFFERING_MAX {
                return Err(BadAnswer("more keys than there can be"));
            }
            let digests = |leaves: &[Leaf]| -> BTreeMap<String, Digest> {
                let pairs = leaves.iter().map(|leaf| (leaf.key.clone(), leaf.digest));
                pairs.collect()
            };
            let (mine, theirs) = (digests(self.own.within(range)), digests(said));
            let keys = mine.keys().chain(theirs.keys());
            let differing = keys.filter(|key| mine.get(*key) != theirs.get(*key));
            self.differing.extend(differing.cloned());
            return Ok(());
        }
        let begins = said.first().is_some_and(|first| first.key == range.from);
        if !begins || !(2..=PIECES).contains(&said.len()) || round >= ROUNDS_MAX {
            return Err(BadAnswer("pieces that are not those of the range"));
        }
        let ends = said.iter().skip(1).map(|piece| Some(piece.key.clone()));
        for (piece, to) in said.iter().zip(ends.chain([range.to.clone()])) {
            let from = piece.key.clone();
            let question = self.own.question(Range { from, to });
            if question.digest != piece.digest {
                self.open.push_back((question, round + 1));
            }
        }
        if self.open.len() > OPEN_MAX {
            return Err(BadAnswer("more pieces than there can be"));
        }
        Ok(())
    }

    /// Keys that differ, as far as they are found.
    pub const fn differing(&self) -> &BTreeSet<String> {
        &self.differing
    }
}

#[cfg(test)]
mod tests;
