//! Encapsulated pixel data (PS3.5 section A.4): fragments, and which of them make a frame.

use bytes::Bytes;

/// The fragments of one element, the Basic Offset Table apart.
#[derive(Debug, Clone, Default)]
pub struct Fragments {
    /// Offsets of the frames; empty where the sender wrote none.
    pub offset_table: Vec<u64>,
    /// All fragments in order.
    pub fragments: Vec<Bytes>,
}

/// Why encapsulated pixel data cannot be cut into frames. Whoever made it must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncapsulationError {
    /// Something other than items, or an item that is longer than what is left.
    #[error("the encapsulated pixel data is broken at byte {0}")]
    Item(usize),
    /// Neither table nor count nor content tells the frames apart.
    #[error("{fragments} fragments cannot be told apart into {frames} frames")]
    Frames {
        /// Fragments there are.
        fragments: usize,
        /// Frames there should be.
        frames: usize,
    },
}

/// Reads the items from `bytes`, where the value of the element begins. Ends at the sequence delimiter; a sender that
/// forgot it is forgiven, one whose last fragment is cut is not.
///
/// # Errors
/// [`EncapsulationError::Item`] with the place.
pub fn read_fragments(bytes: &Bytes) -> Result<Fragments, EncapsulationError> {
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        match &head[..4] {
            [0xFE, 0xFF, 0x00, 0xE0] if length <= bytes.len() - at - 8 => {
                items.push(bytes.slice(at + 8..at + 8 + length))
            }
            [0xFE, 0xFF, 0xDD, 0xE0] => break,
            _ => return Err(EncapsulationError::Item(at)),
        }
        at += 8 + length;
    }
    if items.is_empty() {
        return Err(EncapsulationError::Item(0));
    }
    let fragments = items.split_off(1);
    let (words, _) = items[0].as_chunks::<4>();
    Ok(Fragments { offset_table: words.iter().map(|w| u64::from(u32::from_le_bytes(*w))).collect(), fragments })
}

/// Cuts fragments into `frames` frames: by their count, by the Extended Offset Table (`extended`, may be empty), by the
/// Basic Offset Table, or else where `begins_frame` says that a compressed frame begins.
///
/// # Errors
/// [`EncapsulationError::Frames`] where none of them gives that many frames.
pub fn cut_into_frames(
    found: &Fragments,
    extended: &[u64],
    frames: usize,
    begins_frame: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Vec<Bytes>>, EncapsulationError> {
    let fragments = &found.fragments;
    if frames == 1 && !fragments.is_empty() {
        return Ok(vec![fragments.clone()]);
    }
    if frames == fragments.len() && frames > 0 {
        return Ok(fragments.iter().map(|f| vec![f.clone()]).collect());
    }
    let offsets: Vec<u64> = fragments
        .iter()
        .scan(0, |next, fragment| {
            let this = *next;
            *next += fragment.len() as u64 + 8;
            Some(this)
        })
        .collect();
    let by_table = |table: &[u64]| -> Option<Vec<usize>> {
        let starts: Option<Vec<usize>> = table.iter().map(|at| offsets.binary_search(at).ok()).collect();
        starts.filter(|s| s.len() == frames && s.first() == Some(&0) && s.is_sorted_by(|a, b| a < b))
    };
    let by_content = || {
        let starts: Vec<usize> =
            fragments.iter().enumerate().filter(|(_, f)| begins_frame(f)).map(|(at, _)| at).collect();
        (starts.len() == frames && starts.first() == Some(&0)).then_some(starts)
    };
    let starts = by_table(extended)
        .or_else(|| by_table(&found.offset_table))
        .or_else(by_content)
        .ok_or(EncapsulationError::Frames { fragments: fragments.len(), frames })?;
    let ends = starts.iter().skip(1).copied().chain([fragments.len()]);
    Ok(starts.iter().zip(ends).map(|(&start, end)| fragments[start..end].to_vec()).collect())
}

/// The fragments of one frame as one run of bytes; copied only where there is more than one.
#[must_use]
pub fn joined(fragments: &[Bytes]) -> Bytes {
    match fragments {
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(parts: &[&[u8]]) -> Bytes {
        let mut out = Vec::new();
        for part in parts {
            out.extend([0xFE, 0xFF, 0x00, 0xE0]);
            out.extend(u32::try_from(part.len()).unwrap().to_le_bytes());
            out.extend(*part);
        }
        out.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        out.into()
    }

    fn frames(parts: &[&[u8]], extended: &[u64], count: usize) -> Result<Vec<Bytes>, EncapsulationError> {
        let found = read_fragments(&items(parts)).unwrap();
        let cut = cut_into_frames(&found, extended, count, |f| f.starts_with(&[0xFF, 0xD8]))?;
        Ok(cut.iter().map(|f| joined(f)).collect())
    }

    #[test]
    fn three_fragments_make_two_frames_by_each_table_and_by_content() {
        let (a, b, c): (&[u8], &[u8], &[u8]) = (&[0xFF, 0xD8], &[1, 2, 3, 4], &[0xFF, 0xD8, 9, 9]);
        let expected = [Bytes::from_static(&[0xFF, 0xD8, 1, 2, 3, 4]), Bytes::from_static(&[0xFF, 0xD8, 9, 9])];
        let table: Vec<u8> = [0u32, 22].iter().flat_map(|o| o.to_le_bytes()).collect();
        assert_eq!(frames(&[&table, a, b, c], &[], 2).unwrap(), expected);
        assert_eq!(frames(&[&[], a, b, c], &[0, 22], 2).unwrap(), expected);
        assert_eq!(frames(&[&[], a, b, c], &[], 2).unwrap(), expected);
    }

    #[test]
    fn a_table_that_points_between_fragments_is_not_believed() {
        let table: Vec<u8> = [0u32, 15].iter().flat_map(|o| o.to_le_bytes()).collect();
        let result = frames(&[&table, &[1, 1], &[2, 2], &[3, 3]], &[], 2);
        assert_eq!(result, Err(EncapsulationError::Frames { fragments: 3, frames: 2 }));
    }

    #[test]
    fn a_cut_fragment_is_an_error_and_a_missing_delimiter_is_not() {
        let whole = items(&[&[], &[1, 2, 3, 4]]);
        let no_delimiter = whole.slice(..whole.len() - 8);
        assert_eq!(read_fragments(&no_delimiter).unwrap().fragments.len(), 1);
        let cut = whole.slice(..whole.len() - 10);
        assert_eq!(read_fragments(&cut).unwrap_err(), EncapsulationError::Item(8));
        assert!(read_fragments(&Bytes::new()).is_err());
    }
}
