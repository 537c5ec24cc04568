//! A PACS that receives and does with it what a test says: answers any status, stalls, aborts, refuses contexts. Speaks
//! by hand-made PDUs (PS3.8 section 9.3), so that it judges what is under test and shares nothing with it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use overread::dicom::data_set::DataSet;
use overread::dicom::parse::parse;
use overread::dicom::transfer_syntax::Encoding;
use overread::dicom::uid::TransferSyntaxUid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use super::wire::{
    A_ABORT, A_RELEASE_RP, EXPLICIT_LE, Heard, IMPLICIT_LE, LAST_COMMAND, associate_ac, element, p_data, uid,
};

/// What the receiver does with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A C-STORE-RSP with this status; 0000H keeps the instance.
    Status(u16),
    /// A C-STORE-RSP with this status and this Error Comment (0000,0902).
    Comment(u16, &'static str),
    /// Nothing, for as long as the sender waits.
    Stall,
    /// A-ABORT.
    Abort,
}

/// An instance that was sent, whether it was taken or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) sop_class: String,
    pub(crate) sop_instance: String,
    pub(crate) transfer_syntax: String,
    pub(crate) calling: String,
    pub(crate) data_set: Vec<u8>,
    pub(crate) answer: Answer,
}

impl Sent {
    /// The data set as a reader sees it.
    pub(crate) fn header(&self) -> DataSet {
        let syntax = TransferSyntaxUid::parse(&self.transfer_syntax).unwrap();
        parse(&Bytes::copy_from_slice(&self.data_set), Encoding::of(&syntax)).unwrap()
    }
}

type Script = Box<dyn FnMut(&str) -> Answer + Send>;
type Takes = Box<dyn Fn(&str, &str) -> bool + Send>;

/// A receiving PACS. Ends when it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    socket: Option<TcpSocket>,
    over: CancellationToken,
}

struct Shared {
    sent: Mutex<Vec<Sent>>,
    associations: Mutex<usize>,
    answers_release: AtomicBool,
    script: Mutex<Script>,
    takes: Mutex<Takes>,
}

impl Receiver {
    /// Has a port, on which connections are refused until [`Self::open`].
    pub(crate) fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let shared = Shared {
            sent: Mutex::default(),
            associations: Mutex::default(),
            answers_release: AtomicBool::new(true),
            script: Mutex::new(Box::new(|_| Answer::Status(0))),
            takes: Mutex::new(Box::new(|_, syntax| syntax == EXPLICIT_LE || syntax == IMPLICIT_LE)),
        };
        Self {
            address: socket.local_addr().unwrap(),
            shared: Arc::new(shared),
            socket: Some(socket),
            over: CancellationToken::new(),
        }
    }

    /// Takes everything.
    pub(crate) fn start() -> Self {
        let mut receiver = Self::closed();
        receiver.open();
        receiver
    }

    /// Accepts connections from now on.
    pub(crate) fn open(&mut self) {
        let listener = self.socket.take().unwrap().listen(64).unwrap();
        let (shared, over) = (self.shared.clone(), self.over.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = accept(listener, shared, over.clone()) => {}
            }
        });
    }

    /// From now on answers by what this says of a SOP class.
    pub(crate) fn answer(&self, script: impl FnMut(&str) -> Answer + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// From now on leaves A-RELEASE-RQ without an answer.
    pub(crate) fn answer_no_release(&self) {
        self.shared.answers_release.store(false, Ordering::SeqCst);
    }

    /// From now on accepts the contexts (SOP class, transfer syntax) for which this is true.
    pub(crate) fn take(&self, takes: impl Fn(&str, &str) -> bool + Send + 'static) {
        *self.shared.takes.lock().unwrap() = Box::new(takes);
    }

    /// Every instance that was sent, in order.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap().clone()
    }

    /// Those that were answered with 0000H.
    pub(crate) fn taken(&self) -> Vec<Sent> {
        self.sent().into_iter().filter(|sent| sent.answer == Answer::Status(0)).collect()
    }

    /// How many associations have been accepted.
    pub(crate) fn associations(&self) -> usize {
        *self.shared.associations.lock().unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, over: CancellationToken) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (shared, over) = (shared.clone(), over.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                _ = serve(stream, &shared) => {}
            }
        });
    }
}

/// A presentation context that was accepted.
struct Context {
    id: u8,
    transfer_syntax: String,
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let request = read_pdu(&mut stream).await.filter(|pdu| pdu[0] == 0x01)?;
    *shared.associations.lock().unwrap() += 1;
    let calling = String::from_utf8_lossy(&request[26..42]).trim().to_owned();
    let mut contexts = Vec::new();
    let mut answers = Vec::new();
    for (id, abstract_syntax, transfer_syntaxes) in proposed(&request) {
        let takes = shared.takes.lock().unwrap();
        let chosen = transfer_syntaxes.iter().find(|syntax| takes(&abstract_syntax, syntax));
        // 0 acceptance, 3 abstract syntax not supported (PS3.8 table 9-18).
        answers.push((id, if chosen.is_some() { 0 } else { 3 }, chosen.unwrap_or(&transfer_syntaxes[0]).clone()));
        contexts.extend(chosen.map(|syntax| Context { id, transfer_syntax: syntax.clone() }));
    }
    stream.write_all(&associate_ac(&request, &answers)).await.ok()?;
    let mut message = Message::default();
    loop {
        let pdu = read_pdu(&mut stream).await?;
        match pdu[0] {
            0x04 => message.take(&pdu),
            0x05 if !shared.answers_release.load(Ordering::SeqCst) => return wait_for_the_end(&mut stream).await,
            0x05 => return stream.write_all(&A_RELEASE_RP).await.ok(),
            _ => return None,
        }
        let Some((context, command, data_set)) = message.whole() else { continue };
        let context = contexts.iter().find(|c| c.id == context)?;
        let (mut status, mut comment) = (0, "");
        if command.field() == 0x0001 {
            let sop_class = command.text(0x0002);
            let answer = (shared.script.lock().unwrap())(&sop_class);
            shared.sent.lock().unwrap().push(Sent {
                sop_class,
                sop_instance: command.text(0x1000),
                transfer_syntax: context.transfer_syntax.clone(),
                calling: calling.clone(),
                data_set,
                answer,
            });
            (status, comment) = match answer {
                Answer::Status(status) => (status, ""),
                Answer::Comment(status, comment) => (status, comment),
                Answer::Stall => return wait_for_the_end(&mut stream).await,
                Answer::Abort => return stream.write_all(&A_ABORT).await.ok(),
            };
        }
        stream.write_all(&response(context.id, &command, status, comment)).await.ok()?;
    }
}

async fn wait_for_the_end(stream: &mut TcpStream) -> Option<()> {
    while read_pdu(stream).await.is_some_and(|pdu| pdu[0] != 0x07) {}
    Some(())
}

/// C-STORE-RSP or C-ECHO-RSP.
fn response(context: u8, request: &Heard, status: u16, comment: &str) -> Vec<u8> {
    let comment = if comment.is_empty() { Vec::new() } else { element(0x0902, comment.as_bytes()) };
    let command = [
        element(0x0002, &uid(&request.text(0x0002))),
        element(0x0100, &(request.field() | 0x8000).to_le_bytes()),
        element(0x0120, &request.own_message_id().to_le_bytes()),
        element(0x0800, &[1, 1]),
        element(0x0900, &status.to_le_bytes()),
        comment,
    ]
    .concat();
    p_data(&[(context, LAST_COMMAND, &command)])
}

/// What has come of a message.
#[derive(Default)]
struct Message {
    context: u8,
    command: Vec<u8>,
    command_ended: bool,
    data_set: Vec<u8>,
    data_set_ended: bool,
}

impl Message {
    fn take(&mut self, pdu: &[u8]) {
        let mut rest = &pdu[6..];
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (is_command, is_last) = (rest[5] & 1 == 1, rest[5] & 2 == 2);
            self.context = rest[4];
            let bytes = &rest[6..4 + length];
            if is_command {
                self.command.extend(bytes);
                self.command_ended |= is_last;
            } else {
                self.data_set.extend(bytes);
                self.data_set_ended |= is_last;
            }
            rest = &rest[4 + length..];
        }
    }

    fn whole(&mut self) -> Option<(u8, Heard, Vec<u8>)> {
        if !self.command_ended {
            return None;
        }
        let command = Heard::of_command(self.context, &self.command);
        if command.announces_data_set() && !self.data_set_ended {
            return None;
        }
        let done = std::mem::take(self);
        Some((done.context, command, done.data_set))
    }
}

async fn read_pdu(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut pdu = vec![0; 6];
    stream.read_exact(&mut pdu).await.ok()?;
    let length = u32::from_be_bytes(pdu[2..6].try_into().unwrap()) as usize;
    pdu.resize(6 + length, 0);
    stream.read_exact(&mut pdu[6..]).await.ok()?;
    Some(pdu)
}

/// Presentation contexts of an A-ASSOCIATE-RQ: id, abstract syntax, transfer syntaxes (PS3.8 section 9.3.2.2).
fn proposed(request: &[u8]) -> Vec<(u8, String, Vec<String>)> {
    let mut contexts = Vec::new();
    for (kind, content) in items(&request[74..]) {
        if kind != 0x20 {
            continue;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let syntaxes = items(&content[4..]);
        let of = |wanted| syntaxes.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, uid)| text(uid));
        contexts.push((content[0], of(0x30).next().unwrap(), of(0x40).collect()));
    }
    contexts
}

fn items(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        found.push((bytes[0], &bytes[4..4 + length]));
        bytes = &bytes[4 + length..];
    }
    found
}

/// Waits until `check` gives something; fails with `what` when that takes longer than any busy machine needs.
pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.unwrap_or_else(|_| panic!("never came: {what}"))
}
