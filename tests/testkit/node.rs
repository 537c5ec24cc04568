//! A node that receives, on a port and in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overread::association::requestor::{ContextProposal, PeerAddress, Requestor};
use overread::association::{AcceptorPolicy, AssociationError, KnownPeer, Timers};
use overread::clock::Clock;
use overread::config::NodeConfig;
use overread::dicom::ae::AeTitle;
use overread::dicom::uid::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use overread::scp::{Listener, ScpOptions};
use overread::store::{Store, StoreOptions, StoredInstance};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Parrot;

/// The title of every node under test.
pub(crate) const TITLE: &str = "OVERREAD";

/// A node that listens.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) shutdown: CancellationToken,
    folder: Option<tempfile::TempDir>,
    serving: Option<JoinHandle<()>>,
}

/// What is set before a node starts.
pub(crate) struct NodeBuilder {
    pub(crate) options: ScpOptions,
    pub(crate) store: StoreOptions,
}

impl NodeBuilder {
    /// Anybody may call, as many at a time as the shipped configuration says, and timers are long enough for a machine that has
    /// much to do.
    pub(crate) fn new() -> Self {
        let long = Duration::from_secs(30);
        let shipped = NodeConfig::from_text(Path::new("overread.toml"), "", std::iter::empty()).unwrap();
        let timers = Timers { artim: long, read: long, write: long, idle: long, connect: long, response: long };
        let options = ScpOptions {
            policy: AcceptorPolicy {
                ae_title: AeTitle::parse(TITLE).unwrap(),
                peers: Vec::new(),
                any_peer: true,
                max_pdu: 16_384,
            },
            timers,
            max_associations: shipped.association.max_associations,
            max_instance_bytes: 64 * 1024 * 1024,
            drain: Duration::from_secs(10),
        };
        Self { options, store: StoreOptions { reserve_bytes: 0, ..StoreOptions::default() } }
    }

    /// Only these may call.
    pub(crate) fn with_peers(mut self, peers: Vec<KnownPeer>) -> Self {
        self.options.policy.peers = peers;
        self.options.policy.any_peer = false;
        self
    }

    pub(crate) async fn start(self) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), self.store, Clock::System).await.unwrap();
        let listener = Listener::bind(&["127.0.0.1:0".to_owned()]).await.unwrap();
        let address = listener.local_addresses()[0];
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(listener.serve(store.clone(), Clock::System, self.options, shutdown.clone()));
        Node { address, store, shutdown, folder: Some(folder), serving: Some(serving) }
    }
}

impl Node {
    pub(crate) async fn start() -> Self {
        NodeBuilder::new().start().await
    }

    /// A node that somebody else started and ends.
    pub(crate) fn elsewhere(address: SocketAddr, store: Store) -> Self {
        Self { address, store, shutdown: CancellationToken::new(), folder: None, serving: None }
    }

    /// A connection for raw bytes.
    pub(crate) async fn parrot(&self) -> Parrot {
        Parrot::connect(self.address).await
    }

    pub(crate) fn as_peer(&self) -> PeerAddress {
        format!("{TITLE}@{}", self.address).parse().unwrap()
    }

    /// An association for one SOP class in these transfer syntaxes.
    pub(crate) async fn associate(
        &self,
        sop_class: &str,
        transfer_syntaxes: &[&str],
    ) -> Result<Requestor<TcpStream>, AssociationError> {
        let proposal = ContextProposal {
            abstract_syntax: SopClassUid::parse(sop_class).unwrap(),
            transfer_syntaxes: transfer_syntaxes.iter().map(|uid| TransferSyntaxUid::parse(uid).unwrap()).collect(),
        };
        let own = AeTitle::parse("SENDER").unwrap();
        Requestor::connect(&self.as_peer(), &own, &[proposal], &Timers::default()).await
    }

    /// A C-ECHO over an association of its own must be answered, and soon.
    pub(crate) async fn must_answer_echo(&self) {
        let echo = async {
            let mut association = self.associate("1.2.840.10008.1.1", &["1.2.840.10008.1.2"]).await.unwrap();
            assert_eq!(association.echo().await.unwrap().status.0, 0);
            association.release().await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(10), echo).await.expect("C-ECHO is answered at once");
    }

    pub(crate) async fn instance(&self, uid: &str) -> Option<StoredInstance> {
        self.store.instance(&SopInstanceUid::parse(uid).unwrap()).await.unwrap()
    }

    /// How many files are still arriving.
    pub(crate) fn arriving(&self) -> usize {
        std::fs::read_dir(self.folder.as_ref().unwrap().path().join("incoming")).unwrap().count()
    }

    /// Every stored file.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.as_ref().unwrap().path().join("instances")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }

    /// Shuts down and waits for the end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving {
            serving.await.unwrap();
        }
    }
}
