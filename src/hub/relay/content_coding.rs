//! Undoes a provider's compression (RFC 9110, section 8.4) where an answer must be read. The hub requests none, but some
//! providers compress all the same.

use std::io::{self, Write};

use flate2::write::{MultiGzDecoder, ZlibDecoder};

use crate::hub::relay::headers::{Headers, content_codings};
use crate::hub::relay::upstream::UpstreamError;

/// Text that decompresses to more than so many times its compressed size is refused, beyond the first bytes.
const MAX_RATIO: u64 = 256;
/// How much may come out whatever the ratio, in bytes.
const FREE: u64 = 4 << 20;

/// Decodes the body of one answer, piece by piece.
pub enum ContentCoding {
    /// Nothing to undo.
    Identity,
    Compressed(Box<Decompression>),
}

/// A compressed body as far as it has been read.
pub struct Decompression {
    inflater: Inflater,
    /// Bytes in and out.
    taken: u64,
    given: u64,
}

enum Inflater {
    Gzip(MultiGzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl ContentCoding {
    /// The coding of an answer with these headers.
    ///
    /// # Errors
    /// When it cannot be undone.
    pub fn of(headers: &Headers) -> Result<Self, UpstreamError> {
        let mut coding = ContentCoding::Identity;
        for name in content_codings(headers) {
            let inflater = match (&coding, name.to_ascii_lowercase().as_str()) {
                (ContentCoding::Identity, "gzip" | "x-gzip") => Inflater::Gzip(MultiGzDecoder::new(Vec::new())),
                (ContentCoding::Identity, "deflate") => Inflater::Deflate(ZlibDecoder::new(Vec::new())),
                _ => {
                    return Err(UpstreamError::provider(
                        "the provider compressed its answer in a way that the hub cannot undo: let it send plain text",
                    ));
                }
            };
            coding = ContentCoding::Compressed(Box::new(Decompression { inflater, taken: 0, given: 0 }));
        }
        Ok(coding)
    }

    /// Decodes a piece. `take` gets the text in blocks whose size is bounded, whatever the piece holds, and stops the
    /// decoding with an error.
    ///
    /// # Errors
    /// The error of `take`, or a failure if the piece does not match the headers.
    pub fn decode(
        &mut self,
        piece: Vec<u8>,
        take: &mut dyn FnMut(Vec<u8>) -> Result<(), UpstreamError>,
    ) -> Result<(), UpstreamError> {
        match self {
            ContentCoding::Identity => take(piece),
            ContentCoding::Compressed(compressed) => compressed.decode(&piece, take),
        }
    }
}

impl Decompression {
    fn decode(
        &mut self,
        mut piece: &[u8],
        take: &mut dyn FnMut(Vec<u8>) -> Result<(), UpstreamError>,
    ) -> Result<(), UpstreamError> {
        let broken = |_| UpstreamError::provider("the provider's answer is not compressed as its headers say");
        loop {
            // One write decodes no more than fills the inflater's buffer of 32 KiB.
            let used = if piece.is_empty() { 0 } else { self.inflater.write(piece).map_err(broken)? };
            self.taken += used as u64;
            piece = &piece[used..];
            let ended = used == 0;
            if ended {
                self.inflater.flush().map_err(broken)?;
            }
            let block = std::mem::take(self.inflater.decoded());
            self.given += block.len() as u64;
            if self.given > FREE.saturating_add(self.taken.saturating_mul(MAX_RATIO)) {
                return Err(UpstreamError::provider("the provider's answer is compressed more than any text can be"));
            }
            if !block.is_empty() {
                take(block)?;
            }
            if ended {
                return Ok(());
            }
        }
    }
}

impl Inflater {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        match self {
            Inflater::Gzip(gzip) => gzip.write(piece),
            Inflater::Deflate(deflate) => deflate.write(piece),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Inflater::Gzip(gzip) => gzip.flush(),
            Inflater::Deflate(deflate) => deflate.flush(),
        }
    }

    fn decoded(&mut self) -> &mut Vec<u8> {
        match self {
            Inflater::Gzip(gzip) => gzip.get_mut(),
            Inflater::Deflate(deflate) => deflate.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn damaged_bytes_are_read_the_same_however_they_are_cut(
            text in "[a-c]{0,200}", damage in any::<(prop::sample::Index, u8)>(), length in 1usize..40,
        ) {
            let mut bytes = gzip(text.as_bytes());
            let at = damage.0.index(bytes.len());
            bytes[at] = damage.1;
            let whole = decoded(&mut coding("gzip").unwrap(), &[&bytes]);
            let pieces: Vec<_> = bytes.chunks(length).collect();
            prop_assert_eq!(decoded(&mut coding("gzip").unwrap(), &pieces).ok(), whole.ok());
        }
    }

    fn coding(value: &str) -> Result<ContentCoding, UpstreamError> {
        ContentCoding::of(&vec![("Content-Encoding".to_owned(), value.to_owned())])
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(coding: &mut ContentCoding, pieces: &[&[u8]]) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        for piece in pieces {
            let read = coding.decode(piece.to_vec(), &mut |block| {
                text.extend_from_slice(&block);
                Ok(())
            });
            read.map_err(|error| error.into_failure().unwrap().message)?;
        }
        Ok(text)
    }

    #[test]
    fn text_is_the_same_wherever_its_compressed_form_is_cut() {
        let text = "data: {\"choices\":[]}\n\n".repeat(30);
        let two = [gzip(text.as_bytes()), gzip(b"data: [DONE]\n\n")].concat();
        let whole = format!("{text}data: [DONE]\n\n");
        for cut in 0..=two.len() {
            let (start, end) = two.split_at(cut);
            assert_eq!(decoded(&mut coding("gzip").unwrap(), &[start, end]).unwrap(), whole.as_bytes(), "cut at {cut}");
        }
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text.as_bytes()).unwrap();
        assert_eq!(decoded(&mut coding("Deflate").unwrap(), &[&zlib.finish().unwrap()]).unwrap(), text.as_bytes());
        assert_eq!(decoded(&mut coding("identity").unwrap(), &[b"plain"]).unwrap(), b"plain");
    }

    #[test]
    fn flushed_text_is_decoded_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut coding = coding("x-gzip").unwrap();
        for text in ["data: 1\n\n", "data: 2\n\n"] {
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let piece = std::mem::take(encoder.get_mut());
            assert_eq!(decoded(&mut coding, &[&piece]).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_decompression_bomb_is_decoded_in_blocks_and_then_rejected() {
        let bomb = gzip(&vec![b'x'; 64 << 20]);
        let (mut largest, mut all) = (0, 0);
        let error = coding("gzip").unwrap().decode(bomb, &mut |block| {
            largest = largest.max(block.len());
            all += block.len() as u64;
            Ok(())
        });
        assert!(error.unwrap_err().into_failure().unwrap().message.contains("compressed more than"));
        assert!(largest <= 128 << 10 && all < 32 << 20, "{largest} {all}");
    }

    #[test]
    fn an_unsupported_or_broken_coding_is_an_error() {
        for value in ["br", "zstd", "gzip, gzip"] {
            let error = coding(value).err().and_then(UpstreamError::into_failure).unwrap();
            assert!(error.message.contains("cannot undo"), "{value}");
        }
        let error = decoded(&mut coding("gzip").unwrap(), &[b"{\"choices\":[]}"]).unwrap_err();
        assert!(error.contains("not compressed as its headers say"), "{error}");
    }
}
