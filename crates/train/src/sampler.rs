//! The order of an epoch's examples, as a pure function of the seed and the epoch.
//!
//! Nothing here keeps state, so a run resumed in mid-epoch finds the order it left by asking again. The random
//! numbers are ChaCha8's key stream (a published cipher, the same on every platform) keyed by seed and epoch, and
//! shuffling and index draws are written out below, so that no release of a random number crate can change them.

use std::cmp::Reverse;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Batches in a megabatch of [`Order::LengthGrouped`].
const MEGABATCH: usize = 50;

/// How an epoch's examples are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they stand; seed and epoch play no part.
    Sequential,
    /// A fresh permutation every epoch.
    Shuffled,
    /// Random, but examples of like length share a batch, so that little padding is computed: the procedure of
    /// transformers' `LengthGroupedSampler`. Shuffle, cut into megabatches of 50 batches (fewer where the data holds
    /// less than 200 batches), sort each by length, longest first, put the longest example of all at the very front,
    /// and cut into batches. Here the batches are then shuffled too, all but the first: that one holds the longest
    /// example, so the peak of memory is reached at step 1.
    LengthGrouped,
}

/// How an epoch is cut into batches, and which of them this process trains on.
///
/// ```
/// use wgrad_train::sampler::{Order, Sampler};
///
/// let lengths = [7, 5, 9, 4, 6];
/// let sampler = Sampler::new(2, Order::Shuffled, 42);
/// assert_eq!(sampler.batches(&lengths, 0).len(), 3);
/// // The same epoch on two processes.
/// let first = Sampler { rank: 0, world: 2, ..sampler };
/// assert_eq!(first.batches(&lengths, 0).len(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Examples in a batch; 0 counts as 1.
    pub batch_size: usize,
    /// How the examples are ordered.
    pub order: Order,
    /// Fixes the order, together with the epoch.
    pub seed: u64,
    /// The number of this process, from 0.
    pub rank: usize,
    /// How many processes share the epoch; 0 counts as 1.
    pub world: usize,
}

impl Sampler {
    /// For a single process.
    pub fn new(batch_size: usize, order: Order, seed: u64) -> Self {
        Self {
            batch_size,
            order,
            seed,
            rank: 0,
            world: 1,
        }
    }

    /// The batches of one epoch for this rank. Over all ranks they hold every index into `lengths` once, in
    /// batches of `batch_size`, one of which may be smaller: rank r gets the batches r, r + world, r + 2 world
    /// and so on of those that a single process would get. Where the last round has too few batches, the ranks
    /// left over get an empty one, so that all ranks make the same number of steps.
    ///
    /// `lengths` holds each example's length in tokens; only [`Order::LengthGrouped`] looks at them. The same
    /// arguments give the same batches on every platform.
    pub fn batches(&self, lengths: &[usize], epoch: u64) -> Vec<Vec<usize>> {
        let mut all = self.batches_of_all(lengths, epoch);
        let world = self.world.max(1);
        if world == 1 {
            return all;
        }
        let rounds = all.len().div_ceil(world);
        all.resize(rounds * world, Vec::new());
        all.into_iter().skip(self.rank).step_by(world).collect()
    }

    fn batches_of_all(&self, lengths: &[usize], epoch: u64) -> Vec<Vec<usize>> {
        let batch_size = self.batch_size.max(1);
        let mut indices: Vec<usize> = (0..lengths.len()).collect();
        let mut rng = epoch_rng(self.seed, epoch);
        if self.order != Order::Sequential {
            shuffle(&mut indices, &mut rng);
        }
        if self.order == Order::LengthGrouped {
            group_by_length(&mut indices, lengths, batch_size);
        }
        let mut batches: Vec<Vec<usize>> =
            indices.chunks(batch_size).map(<[usize]>::to_vec).collect();
        if self.order == Order::LengthGrouped && batches.len() > 1 {
            shuffle(&mut batches[1..], &mut rng);
        }
        batches
    }
}

/// Sorts each megabatch by length, longest first, and swaps the longest example of all to the front.
fn group_by_length(indices: &mut [usize], lengths: &[usize], batch_size: usize) {
    // A quarter of the batches at most, so that a small data set keeps some randomness; transformers' rule.
    let megabatch = (indices.len() / batch_size.saturating_mul(4)).clamp(1, MEGABATCH);
    let megabatch = megabatch.saturating_mul(batch_size);
    for chunk in indices.chunks_mut(megabatch) {
        chunk.sort_by_key(|&i| Reverse(lengths[i]));
    }
    // The first of a sorted megabatch is its longest; of equals take the earliest.
    let longest = (0..indices.len())
        .step_by(megabatch)
        .min_by_key(|&at| Reverse(lengths[indices[at]]));
    if let Some(longest) = longest {
        indices.swap(0, longest);
    }
}

/// ChaCha8 keyed by seed and epoch (little-endian, the rest of the 32 byte key zero).
fn epoch_rng(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Fisher–Yates from the back (Durstenfeld 1964): every permutation is equally likely.
fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// A uniform integer in `0..bound`, `bound` at least 1: a 64 bit draw modulo `bound`, drawn again where it falls into
/// the incomplete last stretch of `0..2^64`, so that no remainder is favoured.
fn below(rng: &mut ChaCha8Rng, bound: u64) -> u64 {
    // 2^64 mod bound numbers at the top are refused.
    let surplus = (u64::MAX % bound + 1) % bound;
    loop {
        let draw = rng.next_u64();
        if draw <= u64::MAX - surplus {
            return draw % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(n: usize) -> Vec<usize> {
        let mut rng = epoch_rng(99, 0);
        (0..n).map(|_| 3 + below(&mut rng, 61) as usize).collect()
    }

    fn epoch_batches(
        lengths: &[usize],
        batch_size: usize,
        seed: u64,
        epoch: u64,
        order: Order,
    ) -> Vec<Vec<usize>> {
        Sampler::new(batch_size, order, seed).batches(lengths, epoch)
    }

    const ORDERS: [Order; 3] = [Order::Sequential, Order::Shuffled, Order::LengthGrouped];

    #[test]
    fn every_index_once_and_one_short_batch() {
        for n in [0, 1, 2, 7, 8, 9, 33, 1000, 4099] {
            let lengths = lengths(n);
            for batch_size in [0, 1, 8, 5000, usize::MAX] {
                for order in ORDERS {
                    let batches = epoch_batches(&lengths, batch_size, 7, 3, order);
                    let size = batch_size.max(1);
                    assert_eq!(batches.len(), n.div_ceil(size));
                    let short = batches.iter().filter(|b| b.len() != size).count();
                    assert!(short <= 1 && batches.iter().all(|b| !b.is_empty()));
                    let mut all: Vec<usize> = batches.concat();
                    all.sort_unstable();
                    assert_eq!(
                        all,
                        (0..n).collect::<Vec<_>>(),
                        "{n} {batch_size} {order:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn ranks_share_an_epoch() {
        for n in [1, 7, 33, 160] {
            let lengths = lengths(n);
            for (order, world) in ORDERS.into_iter().flat_map(|o| [(o, 2), (o, 3), (o, 8)]) {
                let whole = Sampler::new(4, order, 7);
                let single = whole.batches(&lengths, 2);
                let of = |rank| {
                    Sampler {
                        rank,
                        world,
                        ..whole
                    }
                    .batches(&lengths, 2)
                };
                let ranks: Vec<_> = (0..world).map(of).collect();
                let rounds = single.len().div_ceil(world);
                assert!(ranks.iter().all(|batches| batches.len() == rounds));
                // Round by round over the ranks they are the batches of a single process, in order.
                let mut joined: Vec<Vec<usize>> = (0..rounds)
                    .flat_map(|round| ranks.iter().map(move |batches| batches[round].clone()))
                    .collect();
                let spare = joined.split_off(single.len());
                assert!(spare.iter().all(Vec::is_empty) && spare.len() < world);
                assert_eq!(joined, single);
            }
        }
    }

    #[test]
    fn sequential_keeps_the_order() {
        let batches = epoch_batches(&[5; 5], 2, 1, 9, Order::Sequential);
        assert_eq!(batches, [vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn the_same_seed_and_epoch_repeat_and_others_differ() {
        let lengths = lengths(500);
        for order in [Order::Shuffled, Order::LengthGrouped] {
            let batches = |seed, epoch| epoch_batches(&lengths, 16, seed, epoch, order);
            assert_eq!(batches(1, 0), batches(1, 0));
            assert_ne!(batches(1, 0), batches(1, 1));
            assert_ne!(batches(1, 0), batches(2, 0));
            // Seed and epoch must not be folded into one number.
            assert_ne!(batches(1, 2), batches(2, 1));
        }
    }

    #[test]
    fn the_order_never_changes_between_releases() {
        // From the ChaCha8 key stream by the rules above, worked out apart in Python.
        let batches = epoch_batches(&[1; 10], 10, 42, 1, Order::Shuffled);
        assert_eq!(batches[0], [2, 6, 1, 5, 4, 3, 0, 9, 8, 7]);
    }

    #[test]
    fn the_longest_comes_first_in_a_full_batch() {
        for seed in 0..20 {
            let mut lengths = lengths(1003);
            lengths[(seed as usize * 137) % 1003] = 200;
            let batches = epoch_batches(&lengths, 16, seed, 0, Order::LengthGrouped);
            assert_eq!(batches[0].len(), 16);
            assert_eq!(lengths[batches[0][0]], 200);
        }
    }

    #[test]
    fn grouping_cuts_the_padding() {
        let lengths = lengths(8000);
        let padded = |order| -> usize {
            epoch_batches(&lengths, 16, 5, 0, order)
                .iter()
                .map(|b| b.len() * b.iter().map(|&i| lengths[i]).max().unwrap_or(0))
                .sum()
        };
        let tokens: usize = lengths.iter().sum();
        let waste = |order| padded(order) as f64 / tokens as f64 - 1.0;
        assert!(waste(Order::Shuffled) > 0.5);
        assert!(
            waste(Order::LengthGrouped) < 0.05,
            "{}",
            waste(Order::LengthGrouped)
        );
        // The batches' order must not give the lengths away, or training would run from long to short.
        let batches = epoch_batches(&lengths, 16, 5, 0, Order::LengthGrouped);
        let longest: Vec<usize> = batches.iter().map(|b| lengths[b[0]]).collect();
        let descents = longest.windows(2).filter(|w| w[0] > w[1]).count();
        assert!(
            (200..300).contains(&descents),
            "{descents} of {}",
            longest.len()
        );
    }

    #[test]
    fn draws_are_uniform() {
        let mut rng = epoch_rng(3, 4);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[below(&mut rng, 6) as usize] += 1;
        }
        // Five standard deviations of a binomial (60000, 1/6) are 456.
        assert!(
            counts.iter().all(|&c| c.abs_diff(10_000) < 456),
            "{counts:?}"
        );
        // 2^64 is 1 modulo 3, so exactly one number is refused, and 2^63 + 1 refuses almost half.
        let bound = (1 << 63) + 1;
        assert!((0..1000).all(|_| below(&mut rng, bound) < bound));
    }
}
