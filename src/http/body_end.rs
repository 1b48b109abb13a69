//! How a body ends so far, however it is cut into pieces.

/// As many bytes as end an event, at most.
const LENGTH: usize = 4;

/// The last bytes of a body that comes in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct BodyEnd {
    bytes: [u8; LENGTH],
    length: usize,
}

impl BodyEnd {
    /// Adds a piece.
    pub fn push(&mut self, piece: &[u8]) {
        let added = piece.len().min(LENGTH);
        let kept = self.length.min(LENGTH - added);
        self.bytes.copy_within(self.length - kept..self.length, 0);
        self.bytes[kept..kept + added].copy_from_slice(&piece[piece.len() - added..]);
        self.length = kept + added;
    }

    /// The last four bytes, or all there have been.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_same_however_the_body_is_cut() {
        let body = b"data: x\r\n\r\n";
        for (one, other) in (0..=body.len()).flat_map(|one| (one..=body.len()).map(move |other| (one, other))) {
            let mut end = BodyEnd::default();
            for piece in [&body[..one], &body[one..other], &body[other..]] {
                end.push(piece);
            }
            assert_eq!(end.bytes(), b"\r\n\r\n", "cut at {one} and {other}");
        }
        let mut short = BodyEnd::default();
        assert_eq!(short.bytes(), b"");
        short.push(b"\n");
        short.push(b"\n");
        assert_eq!(short.bytes(), b"\n\n");
    }
}
