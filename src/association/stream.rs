//! PDUs from and to a connection, with every wait bounded.
//!
//! A P-DATA-TF is not collected: its fragments are handed on out of the read buffer, or read where the caller wants them
//! without passing through it. All other PDUs are short and read whole.

use std::ops::Range;
use std::time::Duration;

use dicom_ul::pdu::{self, AssociationRJ, Pdu};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::control::{self, MAX_ASSOCIATE};
use super::error::{Abort, AssociationError, Violation};
use super::pdata::{self, P_DATA, PDU_HEADER, PDV_HEADER, PdvHeader};
use super::timers::{Expired, Timers};

/// The longest of the other control PDUs, which all have four bytes.
const MAX_CONTROL: u32 = 64;
/// What is read at once while data sets come.
const READ_BUFFER: usize = 64 * 1024;
/// What is read at once before that: an association without data sets stays small.
const SMALL_BUFFER: usize = 4 * 1024;
/// How much is collected before it is written.
const WRITE_BUFFER: usize = 64 * 1024;

/// Which PDUs may come (PS3.8 table 9-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// An association request.
    Request,
    /// The answer to one.
    Answer,
    /// Anything of an association that stands.
    Established,
}

impl Expect {
    fn check(self, kind: u8, length: u32, max_pdu: u32) -> Result<(), Violation> {
        if !(0x01..=0x07).contains(&kind) {
            return Err(Violation::UnrecognizedPdu(kind));
        }
        let expected = match self {
            Self::Request => matches!(kind, 0x01 | 0x07),
            Self::Answer => matches!(kind, 0x02 | 0x03 | 0x07),
            Self::Established => matches!(kind, P_DATA..=0x07),
        };
        if !expected {
            return Err(Violation::UnexpectedPdu(kind));
        }
        let limit = match kind {
            0x01 | 0x02 => MAX_ASSOCIATE,
            P_DATA => max_pdu,
            _ => MAX_CONTROL,
        };
        if length > limit {
            return Err(Violation::PduTooLong { kind, length, limit });
        }
        if kind == P_DATA && length == 0 {
            return Err(Violation::PresentationDataValue);
        }
        Ok(())
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A fragment or a piece of one; its bytes are [`PduStream::bytes`] of the range until the next call.
    Fragment { context_id: u8, is_command: bool, is_last: bool, range: Range<usize> },
    /// Any other PDU.
    Pdu(Pdu),
}

/// What [`PduStream::open_next`] came to.
enum Opened {
    /// A presentation data value, of which nothing or a part was taken.
    Value(PdvHeader),
    Pdu(Pdu),
}

pub(super) struct PduStream<S> {
    stream: S,
    buffer: Vec<u8>,
    /// The bytes in `buffer` that were read and not taken yet.
    filled: Range<usize>,
    /// What is left of the P-DATA-TF that is being read, its open value not counted.
    pdu_left: u32,
    /// What is left of the presentation data value that is being read.
    value: Option<PdvHeader>,
    /// Whether the last P-DATA-TF was longer than what is read at once.
    long_pdus: bool,
    deadline: Instant,
    expires: Expired,
    read: Duration,
    write: Duration,
    out: Vec<u8>,
    /// Set while bytes go out: when it stays set, part of a PDU may be with the peer.
    writing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PduStream<S> {
    pub(super) fn new(stream: S, timers: &Timers) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            filled: 0..0,
            pdu_left: 0,
            value: None,
            long_pdus: false,
            deadline: Instant::now() + timers.artim,
            expires: Expired::Artim,
            read: timers.read,
            write: timers.write,
            out: Vec::new(),
            writing: false,
        }
    }

    /// From now on the next PDU must have come within `within`.
    pub(super) fn await_within(&mut self, within: Duration, expires: Expired) {
        self.deadline = Instant::now() + within;
        self.expires = expires;
    }

    /// Whether a PDU has begun to come.
    pub(super) fn is_within_pdu(&self) -> bool {
        self.value.is_some() || self.pdu_left > 0 || !self.filled.is_empty()
    }

    /// The bytes of the fragment that came last.
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    /// Waits for the next PDU or fragment. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self, expect: Expect, max_pdu: u32) -> Result<Arrival, AssociationError> {
        let value = match self.open_next(expect, max_pdu).await? {
            Opened::Value(value) => value,
            Opened::Pdu(pdu) => return Ok(Arrival::Pdu(pdu)),
        };
        if self.filled.is_empty() && value.length > 0 {
            self.fill(0).await?;
        }
        let there = self.filled.len().min(value.length as usize);
        let range = self.filled.start..self.filled.start + there;
        self.filled.start = range.end;
        Ok(self.take_fragment(value, range))
    }

    /// As [`Self::next`], but bytes of a data set are put at the beginning of `room`, and the range is one of it. What has
    /// not been read yet goes there straight from the connection.
    pub(super) async fn next_into(&mut self, room: &mut [u8], max_pdu: u32) -> Result<Arrival, AssociationError> {
        let value = match self.open_next(Expect::Established, max_pdu).await? {
            Opened::Value(value) => value,
            Opened::Pdu(pdu) => return Ok(Arrival::Pdu(pdu)),
        };
        let wanted = if value.is_command { 0 } else { room.len().min(value.length as usize) };
        let room = room.get_mut(..wanted).unwrap_or_default();
        if room.is_empty() {
            return Ok(self.take_fragment(value, 0..0));
        }
        if self.filled.is_empty() && room.len() < READ_BUFFER / 2 {
            self.fill(0).await?;
        }
        let count = if self.filled.is_empty() {
            read_into(&mut self.stream, room, self.deadline, self.expires).await?
        } else {
            let there = self.buffer.get(self.filled.clone()).unwrap_or_default();
            let count = there.len().min(room.len());
            room[..count].copy_from_slice(&there[..count]);
            self.filled.start += count;
            count
        };
        Ok(self.take_fragment(value, 0..count))
    }

    /// Reads until a presentation data value is open, or a whole PDU of another kind is there.
    async fn open_next(&mut self, expect: Expect, max_pdu: u32) -> Result<Opened, AssociationError> {
        loop {
            if let Some(value) = self.value {
                return Ok(Opened::Value(value));
            }
            if self.pdu_left > 0 {
                self.need(PDV_HEADER.min(self.pdu_left as usize)).await?;
                self.open_value()?;
                continue;
            }
            let (kind, length) = self.header().await?;
            expect.check(kind, length, max_pdu)?;
            if self.expires != Expired::Artim {
                self.await_within(self.read, Expired::Read);
            }
            if kind == P_DATA {
                self.filled.start += PDU_HEADER;
                self.pdu_left = length;
                self.long_pdus = length as usize >= READ_BUFFER;
                continue;
            }
            return self.control(kind, length).await.map(Opened::Pdu);
        }
    }

    /// Puts a PDU into the write buffer.
    pub(super) fn push(&mut self, pdu: &Pdu) -> Result<(), AssociationError> {
        pdu::write_pdu(&mut self.out, pdu).map_err(|error| AssociationError::Io(std::io::Error::other(error)))
    }

    /// Puts a command set or a data set into the write buffer, in fragments, and writes when there is enough of it.
    pub(super) async fn push_message(
        &mut self,
        context_id: u8,
        is_command: bool,
        fragment_length: usize,
        bytes: &[u8],
    ) -> Result<(), AssociationError> {
        let mut rest = bytes;
        loop {
            let (fragment, after) = rest.split_at(rest.len().min(fragment_length));
            pdata::write_fragment(&mut self.out, context_id, is_command, after.is_empty(), fragment);
            if self.out.len() >= WRITE_BUFFER {
                self.flush().await?;
            }
            rest = after;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Writes what was pushed.
    pub(super) async fn flush(&mut self) -> Result<(), AssociationError> {
        let Self { stream, out, .. } = self;
        let sent = timeout(self.write, async {
            stream.write_all(out).await?;
            stream.flush().await
        });
        self.writing = true;
        match sent.await {
            Ok(done) => done?,
            Err(_) => return Err(Expired::Write.into()),
        }
        self.writing = false;
        self.out.clear();
        Ok(())
    }

    /// Sends an A-ABORT, as far as the peer takes it, and closes.
    pub(super) async fn abort(mut self, abort: Abort, artim: Duration) {
        if self.writing {
            // Behind half a PDU an A-ABORT would be read as its rest.
            return;
        }
        self.out.clear();
        self.write = self.write.min(artim);
        if self.push(&Pdu::AbortRQ { source: abort.to_pdu() }).is_ok() && self.flush().await.is_ok() {
            self.close(artim).await;
        }
    }

    /// Sends an A-ASSOCIATE-RJ and closes.
    pub(super) async fn reject(mut self, rejection: AssociationRJ, artim: Duration) {
        if self.push(&Pdu::AssociationRJ(rejection)).is_ok() && self.flush().await.is_ok() {
            self.close(artim).await;
        }
    }

    /// Closes our direction, then waits for the peer to close its own, reading and forgetting what still comes: closing
    /// at once would reset the connection and take our last PDU away from the peer (PS3.8 section 9.2.3, Sta13).
    pub(super) async fn close(mut self, artim: Duration) {
        let gone = async {
            if self.stream.shutdown().await.is_err() {
                return;
            }
            self.buffer.resize(READ_BUFFER, 0);
            while matches!(self.stream.read(&mut self.buffer).await, Ok(count) if count > 0) {}
        };
        // Sta13 ends with the timer as well as with the peer.
        let _ = timeout(artim, gone).await;
    }

    /// Says that the piece of the open value that lies in `range` was taken.
    fn take_fragment(&mut self, value: PdvHeader, range: Range<usize>) -> Arrival {
        #[expect(clippy::cast_possible_truncation, reason = "not more than a length that is a u32")]
        let left = value.length - range.len() as u32;
        self.value = (left > 0).then_some(PdvHeader { length: left, ..value });
        Arrival::Fragment {
            context_id: value.context_id,
            is_command: value.is_command,
            is_last: value.is_last && left == 0,
            range,
        }
    }

    fn open_value(&mut self) -> Result<(), AssociationError> {
        let header = self.buffer.get(self.filled.clone()).and_then(|bytes| bytes.first_chunk::<PDV_HEADER>());
        let header = header.filter(|_| self.pdu_left as usize >= PDV_HEADER).ok_or(Violation::PresentationDataValue)?;
        let value = PdvHeader::read(*header, self.pdu_left)?;
        self.filled.start += PDV_HEADER;
        self.pdu_left -= value.length + 6;
        self.value = Some(value);
        Ok(())
    }

    /// Type and length of the next PDU, which stay in the buffer.
    async fn header(&mut self) -> Result<(u8, u32), AssociationError> {
        if self.filled.is_empty() {
            self.fill(0).await?;
            if self.filled.len() < PDU_HEADER && self.expires == Expired::Idle {
                self.await_within(self.read, Expired::Read);
            }
        }
        let kind = self.buffer.get(self.filled.start).copied().unwrap_or_default();
        if !(0x01..=0x07).contains(&kind) {
            // One byte is enough to know that this is no DICOM.
            return Err(Violation::UnrecognizedPdu(kind).into());
        }
        self.need(PDU_HEADER).await?;
        let length = self.buffer.get(self.filled.start + 2..).and_then(|rest| rest.first_chunk::<4>());
        Ok((kind, length.map_or(0, |length| u32::from_be_bytes(*length))))
    }

    /// Reads a PDU that is no P-DATA-TF; its length was checked.
    async fn control(&mut self, kind: u8, length: u32) -> Result<Pdu, AssociationError> {
        let whole = PDU_HEADER + length as usize;
        self.need(whole).await?;
        let bytes = self.bytes(self.filled.start..self.filled.start + whole);
        let read = control::read(kind, bytes);
        self.filled.start += whole;
        Ok(read?)
    }

    /// Waits until so many bytes are in the buffer.
    async fn need(&mut self, count: usize) -> Result<(), AssociationError> {
        while self.filled.len() < count {
            self.fill(count).await?;
        }
        Ok(())
    }

    /// Reads what comes behind what is there, into a buffer that has room for `least` bytes. Cancelling it loses nothing.
    async fn fill(&mut self, least: usize) -> Result<(), AssociationError> {
        let within_data_set = self.value.is_some_and(|value| !value.is_command);
        let wanted = if within_data_set { READ_BUFFER } else { SMALL_BUFFER }.max(least);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.filled.start > 0 {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        // What follows a long PDU will be read to where it belongs: here only its beginning.
        let end = if self.long_pdus { wanted.min(self.buffer.len()) } else { self.buffer.len() };
        let Self { stream, buffer, filled, deadline, expires, .. } = self;
        let free = buffer.get_mut(filled.end..end).unwrap_or_default();
        filled.end += read_into(stream, free, *deadline, *expires).await?;
        Ok(())
    }
}

/// Reads what comes until the deadline, at least one byte. Cancelling it loses nothing.
async fn read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    room: &mut [u8],
    deadline: Instant,
    expires: Expired,
) -> Result<usize, AssociationError> {
    match timeout_at(deadline, stream.read(room)).await {
        Ok(Ok(0)) => Err(AssociationError::Closed),
        Ok(read) => Ok(read?),
        Err(_) => Err(expires.into()),
    }
}
