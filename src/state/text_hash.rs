//! Hashing of long texts: each block of a text becomes a digest of 16 bytes, and those are hashed in its place. It takes a quarter
//! of the instructions of a hash of all bytes.
//!
//! The digest is NH, the block hash of UMAC (Black et al., 1999; RFC 4418): two texts of the same length have the same digest
//! with a probability of one in 2^64, whatever they are, for whom does not know the keys.

use std::hash::Hasher;

/// 64-bit words of a block.
const WORDS: usize = 128;
/// Bytes of a block.
const BLOCK: usize = 8 * WORDS;

/// The secret keys for one block; the same for all.
#[derive(Debug)]
pub struct BlockKeys([u64; WORDS]);

impl BlockKeys {
    /// Keys of which `draw` gives one for each number, at random.
    pub fn new(draw: impl FnMut(usize) -> u64) -> Self {
        BlockKeys(std::array::from_fn(draw))
    }

    /// Adds a text to a hash, which must have secret keys of its own.
    pub fn hash(&self, text: &[u8], hasher: &mut impl Hasher) {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        blocks.iter().for_each(|block| hasher.write(&self.digest(block).to_le_bytes()));
        hasher.write(rest);
    }

    fn digest(&self, block: &[u8; BLOCK]) -> u128 {
        let words = block.as_chunks::<8>().0.as_chunks::<2>().0;
        let keys = self.0.as_chunks::<2>().0;
        words.iter().zip(keys).fold(0, |sum: u128, (words, keys)| {
            let [a, b] = [0, 1].map(|n| u64::from_le_bytes(words[n]).wrapping_add(keys[n]));
            sum.wrapping_add(u128::from(a) * u128::from(b))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, DefaultHasher, RandomState};

    use super::*;

    #[test]
    fn each_byte_of_a_text_counts_and_so_does_its_place() {
        let keys = BlockKeys::new(|number| RandomState::new().hash_one(number));
        let hash = |text: &[u8]| {
            let mut hasher = DefaultHasher::new();
            keys.hash(text, &mut hasher);
            hasher.finish()
        };
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7] {
            let text: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let whole = hash(&text);
            assert_eq!(whole, hash(&text.clone()));
            assert_ne!(whole, hash(&[&text[..], b"\0"].concat()), "{length}");
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 1;
                assert_ne!(whole, hash(&other), "{at} of {length}");
                other[at] ^= 1;
                other.swap(at, (at + 1) % length);
                assert!(other == text || whole != hash(&other), "{at} of {length}");
            }
        }
    }

    #[test]
    fn a_digest_is_the_sum_of_products() {
        let keys = BlockKeys::new(|number| number as u64);
        let mut block = [0; BLOCK];
        block[0] = 2;
        // Of the words of zeros only the keys count: 2 * 3 + 4 * 5 and so on; the first pair is (2 + 0) * (0 + 1).
        let rest: u128 = (1..WORDS as u128 / 2).map(|n| 2 * n * (2 * n + 1)).sum();
        assert_eq!(keys.digest(&block), 2 + rest);
    }
}
