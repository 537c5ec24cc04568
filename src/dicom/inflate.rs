//! Deflated data sets (PS3.5 section A.5), inflated within bounds.

use std::io::Read;

use bytes::Bytes;

use super::parse::ParseError;
use super::part10::End;

/// Inflates the data set of a deflated transfer syntax (PS3.5 section A.5), at most `limit` bytes of it.
///
/// # Errors
/// [`ParseError::Deflate`] when the stream is broken or holds more.
pub fn inflate(bytes: &[u8], limit: usize) -> Result<Bytes, ParseError> {
    let mut inflated = Vec::new();
    flate2::read::DeflateDecoder::new(bytes)
        .take(limit as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|e| ParseError::Deflate(e.to_string()))?;
    if inflated.len() > limit {
        return Err(ParseError::Deflate(format!("it holds more than {limit} bytes")));
    }
    Ok(inflated.into())
}

/// Inflates the beginning of a deflated data set, at most `most` bytes of it, and says what is behind.
///
/// # Errors
/// [`ParseError::Deflate`] when not one byte comes out.
pub(super) fn inflate_beginning(bytes: &[u8], most: usize) -> Result<(Bytes, End), ParseError> {
    let mut inflated = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(bytes).take(most as u64 + 1);
    let end = match reader.read_to_end(&mut inflated) {
        Err(error) if inflated.is_empty() => return Err(ParseError::Deflate(error.to_string())),
        Err(_) => End::Broken,
        Ok(_) if inflated.len() > most => End::More,
        Ok(_) => End::All,
    };
    inflated.truncate(most);
    Ok((inflated.into(), end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deflate_bomb_stops_at_the_limit() {
        use std::io::Write;
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 10_000_000]).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(matches!(inflate(&bomb, 1_000_000), Err(ParseError::Deflate(_))));
    }
}
