//! One digest over the content of a catalog, the same on the hub and on every till.

use crate::edit::Scalar;

/// Hashes tables row by row. Callers feed tables by name and rows by id, both ascending; every
/// value is written with its type and length, so no two contents have one encoding.
pub struct CatalogHasher(blake3::Hasher);

impl Default for CatalogHasher {
    fn default() -> Self {
        Self(blake3::Hasher::new())
    }
}

impl CatalogHasher {
    /// A hasher that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a table.
    pub fn table(&mut self, name: &str) {
        self.0.update(b"T");
        self.text(name);
    }

    /// Adds a row of the table begun last.
    pub fn row(&mut self, values: &[Scalar]) {
        self.0.update(b"R");
        self.0.update(&(values.len() as u64).to_be_bytes());
        for value in values {
            match value {
                Scalar::Null => {
                    self.0.update(b"N");
                }
                Scalar::Integer(number) => {
                    self.0.update(b"I");
                    self.0.update(&number.to_be_bytes());
                }
                Scalar::Text(text) => {
                    self.0.update(b"S");
                    self.text(text);
                }
            }
        }
    }

    /// The digest, 64 hexadecimal digits.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_that_differ_in_shape_only_have_different_digests() {
        let digest = |rows: &[&[Scalar]]| {
            let mut hasher = CatalogHasher::new();
            hasher.table("products");
            for row in rows {
                hasher.row(row);
            }
            hasher.finish()
        };
        let text = |text: &str| Scalar::Text(text.to_owned());
        let all = [
            digest(&[&[text("ab"), text("c")]]),
            digest(&[&[text("a"), text("bc")]]),
            digest(&[&[text("ab")], &[text("c")]]),
            digest(&[&[text("1")]]),
            digest(&[&[Scalar::Integer(1)]]),
            digest(&[&[Scalar::Null]]),
            digest(&[]),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
