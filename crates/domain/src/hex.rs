//! Bytes as hexadecimal digits: keys, digests and signatures where they are texts.

/// Two lower-case digits for each byte.
pub fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// The bytes that such digits stand for, of either case; `None` for any other text.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(digit).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    let pairs = digits.chunks_exact(2);
    Some(
        pairs
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}

/// As [`from_hex`], exactly so many bytes.
pub fn array_from_hex<const SIZE: usize>(text: &str) -> Option<[u8; SIZE]> {
    from_hex(text)?.try_into().ok()
}

fn digit(letter: char) -> Option<u8> {
    letter.to_digit(16).and_then(|it| u8::try_from(it).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_round_trips_and_garbage_is_refused() {
        let bytes: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8).unwrap());
        assert!(to_hex(&bytes).starts_with("000810"));
        assert_eq!(array_from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("fFa0"), Some(vec![255, 160]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for garbage in ["0", "0g", "+1", "é0", " 00", "00 "] {
            assert_eq!(from_hex(garbage), None, "{garbage}");
        }
        for short in ["", "00", &"ab".repeat(31), &"ab".repeat(33)] {
            assert_eq!(array_from_hex::<32>(short), None, "{short}");
        }
    }
}
