//! Random bytes of the operating system, drawn in blocks: each request needs a few, and each draw is a system call.

use std::cell::RefCell;

/// Bytes drawn at a time.
const BLOCK: usize = 256;

struct Block {
    bytes: [u8; BLOCK],
    used: usize,
}

thread_local! {
    static THREAD_BLOCK: RefCell<Block> = const { RefCell::new(Block { bytes: [0; BLOCK], used: BLOCK }) };
}

/// Fills a buffer with random bytes of the operating system. Bytes that were handed out are erased from the block.
///
/// # Errors
/// If the system gives none.
pub fn fill(out: &mut [u8]) -> Result<(), getrandom::Error> {
    if out.len() > BLOCK {
        return getrandom::fill(out);
    }
    THREAD_BLOCK.with_borrow_mut(|block| {
        if block.used + out.len() > BLOCK {
            getrandom::fill(&mut block.bytes)?;
            block.used = 0;
        }
        let drawn = &mut block.bytes[block.used..block.used + out.len()];
        out.copy_from_slice(drawn);
        drawn.fill(0);
        block.used += out.len();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_handed_out_twice() {
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let mut id = [0; 16];
            fill(&mut id).unwrap();
            assert!(seen.insert(id));
        }
        let mut long = [0; 3 * BLOCK];
        fill(&mut long).unwrap();
        assert!(long.chunks(16).all(|part| seen.insert(part.try_into().unwrap())));
    }
}
