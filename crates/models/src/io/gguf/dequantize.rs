//! The elements of a block as f32, with the same roundings as ggml's `dequantize_row_*`: the scale of a
//! part is rounded to f32 before an element is multiplied by it.

use half::{bf16, f16};

use super::block_type::BlockType;

/// Writes the elements of one block. Both slices have the lengths of the block's format.
pub(super) type Rule = fn(&[u8], &mut [f32]);

/// The formats that can be read, by ggml's name.
const RULES: [(&str, Rule); 15] = [
    ("F32", f32_element),
    ("F16", f16_element),
    ("BF16", bf16_element),
    ("F64", f64_element),
    ("Q4_0", q4_0),
    ("Q4_1", q4_1),
    ("Q5_0", q5_0),
    ("Q5_1", q5_1),
    ("Q8_0", q8_0),
    ("Q2_K", q2_k),
    ("Q3_K", q3_k),
    ("Q4_K", q4_k),
    ("Q5_K", q5_k),
    ("Q6_K", q6_k),
    ("IQ4_NL", iq4_nl),
];

/// How blocks of this format are read, or `None` where they cannot be.
pub(super) fn rule(block_type: BlockType) -> Option<Rule> {
    let mut rules = RULES.iter();
    rules
        .find(|(name, _)| *name == block_type.name())
        .map(|(_, rule)| *rule)
}

/// The names of the formats that can be read.
pub(super) fn readable() -> String {
    RULES.map(|(name, _)| name).join(", ")
}

/// The half-precision number at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn f32_element(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

fn f16_element(block: &[u8], out: &mut [f32]) {
    out[0] = half_at(block, 0);
}

fn bf16_element(block: &[u8], out: &mut [f32]) {
    out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32();
}

fn f64_element(block: &[u8], out: &mut [f32]) {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(block);
    out[0] = f64::from_le_bytes(bytes) as f32;
}

/// Element `i` of 32 that lie in 16 bytes: the low halves of the bytes, then the high halves.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    match i < 16 {
        true => bytes[i] & 15,
        false => bytes[i - 16] >> 4,
    }
}

/// Bit `i` of some bytes, as the value 0 or 1.
fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

/// scale f16, 32 x 4 bits
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(&block[2..], i) as i8 - 8);
    }
}

/// scale f16, minimum f16, 32 x 4 bits
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

/// scale f16, 32 fifth bits, 32 x 4 bits
fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, x) in out.iter_mut().enumerate() {
        let q = nibble(&block[6..], i) | bit(&block[2..], i) << 4;
        *x = d * f32::from(q as i8 - 16);
    }
}

/// scale f16, minimum f16, 32 fifth bits, 32 x 4 bits
fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, x) in out.iter_mut().enumerate() {
        let q = nibble(&block[8..], i) | bit(&block[4..], i) << 4;
        *x = d * f32::from(q) + m;
    }
}

/// scale f16, 32 x i8
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (x, q) in out.iter_mut().zip(&block[2..]) {
        *x = d * f32::from(*q as i8);
    }
}

/// The two low bits of element `i` of 256 in 64 bytes: each half of the elements lies in 32 bytes, its
/// first 32 elements in bits 0 and 1.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// 16 x (scale 4 bits, minimum 4 bits), 256 x 2 bits, scale f16, scale of the minima f16
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (i, x) in out.iter_mut().enumerate() {
        let scale = block[i / 16];
        let (d, m) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        *x = d * f32::from(two_bits(&block[16..], i)) - m;
    }
}

/// 256 third bits, 256 x 2 bits, 16 scales of 6 bits, scale f16
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, low, scales, d) = (
        &block[..32],
        &block[32..96],
        &block[96..108],
        half_at(block, 108),
    );
    for (i, x) in out.iter_mut().enumerate() {
        let part = i / 16;
        let scale = match part < 8 {
            true => scales[part] & 15,
            false => scales[part - 8] >> 4,
        };
        let scale = scale | (scales[8 + part % 4] >> (part / 4 * 2) & 3) << 4;
        // A third bit that is not set takes 4 off.
        let third = high[i % 32] >> (i / 32) & 1;
        let q = two_bits(low, i) as i8 - 4 * (1 - third as i8);
        *x = d * f32::from(scale as i8 - 32) * f32::from(q);
    }
}

/// Scale and minimum of part `j` of eight, 6 bits each, from 12 bytes: the first four parts hold theirs in
/// the low bits of bytes 0 to 7, whose high two bits belong to the last four parts.
fn scale_and_minimum(scales: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = match j < 4 {
        true => (scales[j] & 63, scales[j + 4] & 63),
        false => (
            scales[j + 4] & 15 | scales[j - 4] >> 6 << 4,
            scales[j + 4] >> 4 | scales[j] >> 6 << 4,
        ),
    };
    (scale.into(), minimum.into())
}

/// Element `i` of 256 in 128 bytes: each 64 elements lie in 32 bytes, the first 32 in the low halves.
fn four_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15
}

/// scale f16, scale of the minima f16, 8 x (scale, minimum) of 6 bits, 256 x 4 bits
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (i, x) in out.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], i / 32);
        *x = d * scale * f32::from(four_bits(&block[16..], i)) - dmin * minimum;
    }
}

/// The same with 256 fifth bits before the 4 bits
fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (i, x) in out.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], i / 32);
        let fifth = block[16 + i % 32] >> (i / 32) & 1;
        let q = four_bits(&block[48..], i) | fifth << 4;
        *x = d * scale * f32::from(q) - dmin * minimum;
    }
}

/// 256 x 4 low bits, 256 x 2 high bits, 16 scales i8, scale f16
fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 208);
    for (i, x) in out.iter_mut().enumerate() {
        // Each half of the elements lies in 64 bytes, its first 64 elements in the low halves.
        let low = block[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        let q = low | two_bits(&block[128..192], i) << 4;
        let scale = block[192 + i / 16] as i8;
        *x = d * f32::from(scale) * f32::from(q as i8 - 32);
    }
}

/// The values of IQ4_NL, closer together near 0.
const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// scale f16, 32 x 4 bits that are places in [`IQ4_VALUES`]
fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(IQ4_VALUES[usize::from(nibble(&block[2..], i))]);
    }
}
