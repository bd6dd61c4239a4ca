//! zstd for bodies, with a limit on what comes out.

pub mod stream;

use std::io::{self, Read as _};

use crate::limits::ZSTD_LEVEL;

/// Value of `content-encoding` and `accept-encoding`.
pub const ENCODING: &str = "zstd";

/// Compresses a body.
///
/// # Errors
/// What zstd reports, such as no memory.
pub fn encode(bytes: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, ZSTD_LEVEL)
}

/// Decompresses a body that has at most `limit_bytes`; a longer one is an error of kind
/// `InvalidData`, found before it takes memory.
///
/// # Errors
/// What zstd reports.
pub fn decode(bytes: &[u8], limit_bytes: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
    let mut content = Vec::new();
    zstd::stream::Decoder::new(bytes)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() > limit_bytes {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the content is too long",
        ));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_longer_than_the_limit_is_refused() {
        let packed = encode(&[0; 100_000]).unwrap();
        assert_eq!(decode(&packed, 100_000).unwrap().len(), 100_000);
        assert_eq!(
            decode(&packed, 99_999).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
