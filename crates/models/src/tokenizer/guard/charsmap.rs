//! SentencePiece's `precompiled_charsmap`: the length of a trie in bytes (u32), the trie (darts-clone's double array
//! of u32), and the replacements, each ended by a zero byte. All numbers are little-endian.

use anyhow::{Context, Result, ensure};

/// Checks that no walk through the trie leaves it, and that each of its values is the start of a replacement.
/// Returns the length of the longest replacement in bytes.
pub(super) fn check(base64: &str) -> Result<usize> {
    let bytes = decode(base64)?;
    let (size, rest) = bytes
        .split_first_chunk::<4>()
        .context("it has no room for the length of its trie")?;
    let size = u32::from_le_bytes(*size) as usize;
    ensure!(
        size <= rest.len() && size.is_multiple_of(4) && size > 0,
        "its trie is said to have {size} bytes, and {} bytes follow",
        rest.len()
    );
    let (trie, replacements) = rest.split_at(size);
    let replacements =
        std::str::from_utf8(replacements).context("its replacements are no UTF-8")?;
    let trie: Vec<usize> = trie
        .chunks_exact(4)
        .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]) as usize)
        .collect();
    // The base of a node's children is the node's place xor its offset; the child of a byte is at base xor byte.
    let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
    let outside = "a node of its trie lies outside of the trie";
    let mut seen = vec![false; trie.len()];
    let mut bases = vec![offset(trie[0])];
    while let Some(base) = bases.pop() {
        match seen.get_mut(base) {
            Some(true) => continue,
            Some(seen) => *seen = true,
            None => anyhow::bail!(outside),
        }
        for byte in 1..=255 {
            let at = base ^ byte;
            let unit = *trie.get(at).context(outside)?;
            if unit & ((1 << 31) | 0xff) != byte {
                continue;
            }
            let base = at ^ offset(unit);
            let leaf = *trie.get(base).context(outside)?;
            if (unit >> 8) & 1 == 1 {
                let value = leaf & ((1 << 31) - 1);
                ensure!(
                    replacements.is_char_boundary(value),
                    "a value of its trie, {value}, is no start of a replacement ({} bytes)",
                    replacements.len()
                );
            }
            bases.push(base);
        }
    }
    Ok(replacements.split('\0').map(str::len).max().unwrap_or(0))
}

/// The standard alphabet, with padding.
fn decode(text: &str) -> Result<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    ensure!(
        text.len().is_multiple_of(4) && text.len() - digits.len() <= 2,
        "it is not base64"
    );
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => anyhow::bail!("it is not base64"),
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}
