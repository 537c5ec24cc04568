//! A connection as an acceptor meets it: the input is everything that the peer ever sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overread::association::Timers;
use overread::association::acceptor::accept;
use overread::association::negotiation::AcceptorPolicy;
use overread::association::{Collected, KnownHosts, Received};
use overread::dicom::ae::AeTitle;
use tokio::runtime::Builder;

/// Largest data set that is collected.
const LIMIT: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(converse(input));
});

/// Accepts the association and takes every message, as long as the peer keeps to the protocol.
async fn converse(input: &[u8]) {
    let ae_title = AeTitle::parse("OVERREAD").expect("a title");
    let policy = AcceptorPolicy { ae_title, peers: Vec::new(), any_peer: true, max_pdu: 16384 };
    let peer = ([127, 0, 0, 1], 4242).into();
    let connection = tokio::io::join(input, tokio::io::sink());
    let (known, timers) = (KnownHosts::default(), Timers::default());
    let Ok(accepted) = accept(connection, peer, &policy, &known, &timers, |_| Ok(())).await else { return };
    let mut association = accepted.association;
    assert!(association.contexts().len() <= accepted.request.contexts.len(), "more contexts than proposed");
    loop {
        match association.receive().await {
            Ok(Received::Command { .. }) => match association.collect_data(LIMIT).await {
                Ok(Collected::Whole(data)) => assert!(data.len() <= LIMIT, "more than the limit"),
                Ok(Collected::TooLong) => {}
                Err(error) => return association.end(&error).await,
            },
            Ok(Received::ReleaseRequest) => {
                let _ = association.answer_release().await;
                return;
            }
            Err(error) => return association.end(&error).await,
        }
    }
}
