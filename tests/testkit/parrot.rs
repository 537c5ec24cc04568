//! A peer that says exactly the bytes that it is told to say.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire;

pub(crate) struct Parrot {
    stream: TcpStream,
}

/// No node may take longer to answer.
const PATIENCE: Duration = Duration::from_secs(20);

impl Parrot {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// At the end of a connection that somebody else has made.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream }
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// A message on the first context: its command set, and its data set in pieces.
    pub(crate) async fn say_message(&mut self, command: &[u8], data_set: &[u8]) {
        self.say(&wire::p_data(&[(1, wire::LAST_COMMAND, command)])).await;
        for piece in data_set.chunks(10_000) {
            self.say(&wire::p_data(&[(1, wire::DATA, piece)])).await;
        }
        self.say(&wire::p_data(&[(1, wire::LAST_DATA, b"")])).await;
    }

    /// Says as much as the node still takes.
    pub(crate) async fn try_say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Associates for these contexts, which must be accepted as a whole; gives the A-ASSOCIATE-AC.
    pub(crate) async fn associate(&mut self, contexts: &[(u8, &str, &[&str])]) -> Vec<u8> {
        self.say(&wire::associate_rq("PARROT", super::node::TITLE, contexts)).await;
        let answer = self.hear().await.expect("an answer");
        assert_eq!(answer[0], 0x02, "an A-ASSOCIATE-AC");
        answer
    }

    /// The next PDU; nothing when the node closes or resets.
    pub(crate) async fn hear(&mut self) -> Option<Vec<u8>> {
        let heard = async {
            let mut pdu = vec![0; 6];
            self.stream.read_exact(&mut pdu).await.ok()?;
            let length = u32::from_be_bytes(pdu[2..6].try_into().unwrap()) as usize;
            pdu.resize(6 + length, 0);
            self.stream.read_exact(&mut pdu[6..]).await.ok()?;
            Some(pdu)
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("the node says something or closes")
    }

    /// The command set of the next message, which must be in one PDU.
    pub(crate) async fn hear_command(&mut self) -> wire::Heard {
        let pdu = self.hear().await.expect("a response");
        assert_eq!(pdu[0], 0x04, "a P-DATA-TF, not {pdu:02X?}");
        wire::Heard::read(&pdu)
    }

    /// An A-ABORT of this source and reason, then the end.
    pub(crate) async fn must_hear_abort(&mut self, source: u8, reason: u8) {
        assert_eq!(self.hear().await, Some(vec![7, 0, 0, 0, 0, 4, 0, 0, source, reason]));
        assert_eq!(self.hear().await, None);
    }

    /// An A-ASSOCIATE-RJ, then the end.
    pub(crate) async fn must_hear_rejection(&mut self, result: u8, source: u8, reason: u8) {
        assert_eq!(self.hear().await, Some(vec![3, 0, 0, 0, 0, 4, 0, result, source, reason]));
        assert_eq!(self.hear().await, None);
    }

    /// Nothing but the end.
    pub(crate) async fn must_be_closed(&mut self) {
        assert_eq!(self.hear().await, None);
    }

    /// Closes without a word, by a reset.
    pub(crate) fn reset(self) {
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).unwrap();
    }
}
