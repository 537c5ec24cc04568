//! A word of the journal as it lies on the disk: a head, the place, the content, and zeros up to the end of a block, so that no block
//! is written twice in one fill.
//!
//! ```text
//!  0  MAGIC
//!  8  generation of the fill
//! 16  1: a file, 2: nothing
//! 20  length of the place
//! 24  length of the content
//! 32  when the file came, milliseconds since 1970
//! 40  CRC-32 of everything from 8 to 40, of place and of content
//! 44  zeros
//! 48  place, content, zeros
//! ```
//! Numbers are little endian.

use crc32fast::Hasher;

use crate::clock::Timestamp;
use crate::store::portion::BLOCK;

const MAGIC: [u8; 8] = *b"ovrdjnl1";
pub(super) const HEAD: usize = 48;
/// A place is two UIDs in a folder and a third with an extension.
const LONGEST_PLACE: usize = 512;

const FILE: u32 = 1;
const NOTHING: u32 = 2;

/// A file as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Entry<'a> {
    /// Below the data folder.
    pub(in crate::store) place: &'a str,
    pub(in crate::store) content: &'a [u8],
    pub(in crate::store) came: Timestamp,
}

/// What the journal says of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Word<'a> {
    /// This file lies there.
    File(Entry<'a>),
    /// What lies there, or does not, is no matter of the journal.
    Forget(&'a str),
}

impl Word<'_> {
    /// How long its record is.
    pub(super) fn record_bytes(&self) -> u64 {
        let (place, content) = self.parts();
        padded(HEAD + place.len() + content.len()) as u64
    }

    /// Appends its record.
    pub(super) fn encode(&self, generation: u64, into: &mut Vec<u8>) {
        let (place, content) = self.parts();
        let (kind, came) = match self {
            Self::File(entry) => (FILE, entry.came.0),
            Self::Forget(_) => (NOTHING, 0),
        };
        let begin = into.len();
        let head = Head { generation, kind, place: place.len(), content: content.len(), came, checksum: 0 };
        into.extend_from_slice(&head.bytes());
        into.extend_from_slice(place.as_bytes());
        into.extend_from_slice(content);
        let checksum = checksum(&into[begin..begin + HEAD], &into[begin + HEAD..]);
        into[begin + 40..begin + 44].copy_from_slice(&checksum.to_le_bytes());
        into.resize(begin + padded(into.len() - begin), 0);
    }

    fn parts(&self) -> (&str, &[u8]) {
        match self {
            Self::File(entry) => (entry.place, entry.content),
            Self::Forget(place) => (place, &[]),
        }
    }
}

/// The head of a record that was read; what follows it has not been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) generation: u64,
    kind: u32,
    place: usize,
    content: usize,
    came: i64,
    checksum: u32,
}

impl Head {
    /// Nothing where no record begins.
    pub(super) fn read(bytes: &[u8; HEAD]) -> Option<Self> {
        let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).unwrap_or_default();
        let long = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).unwrap_or_default();
        let head = Self {
            generation: long(8),
            kind: word(16),
            place: word(20) as usize,
            content: usize::try_from(long(24)).ok()?,
            came: long(32).cast_signed(),
            checksum: word(40),
        };
        let fits = head.place <= LONGEST_PLACE && head.content <= super::LONGEST && matches!(head.kind, FILE | NOTHING);
        (bytes[..8] == MAGIC && fits).then_some(head)
    }

    /// How much of the record follows the head, but for the zeros.
    pub(super) const fn body_bytes(&self) -> usize {
        self.place + self.content
    }

    pub(super) const fn record_bytes(&self) -> usize {
        padded(HEAD + self.body_bytes())
    }

    /// The word with this head; nothing where it did not come to the disk whole.
    pub(super) fn word<'a>(&self, body: &'a [u8]) -> Option<Word<'a>> {
        if checksum(&self.bytes(), body) != self.checksum {
            return None;
        }
        let (place, content) = body.split_at_checked(self.place)?;
        let place = std::str::from_utf8(place).ok()?;
        Some(match self.kind {
            FILE => Word::File(Entry { place, content, came: Timestamp(self.came) }),
            _ => Word::Forget(place),
        })
    }

    fn bytes(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.kind.to_le_bytes());
        bytes[20..24].copy_from_slice(&u32::try_from(self.place).unwrap_or(u32::MAX).to_le_bytes());
        bytes[24..32].copy_from_slice(&(self.content as u64).to_le_bytes());
        bytes[32..40].copy_from_slice(&self.came.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&head[8..40]);
    hasher.update(body);
    hasher.finalize()
}

const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK)
}
