use std::path::PathBuf;

use super::*;
use crate::store::commit::{Committed, NewRow};
use crate::store::durable::OnDisk;
use crate::store::layout::Origin;
use crate::store::row::IndexRow;
use crate::store::tests::{Bench, Sample};

type Reply = oneshot::Receiver<Result<Committed, StoreError>>;

/// A row with its file, its reply and where the file lies.
async fn row(bench: &Bench, number: u32) -> (Commit, Reply, PathBuf) {
    let (sample, inner) = (Sample::ct(1, 1, number), &bench.store.inner);
    let row = IndexRow::from_header(&sample.data_set, &sample.announced()).unwrap();
    let folder = inner.layout.series(Origin::Received, &row.study.uid, &row.series.uid);
    let new = NewRow {
        row,
        origin: Origin::Received,
        source: None,
        folder,
        file_bytes: 3,
        data_set_offset: 0,
        received_at: bench.clock.now(),
    };
    let file = new.file();
    std::fs::create_dir_all(&new.folder).unwrap();
    std::fs::write(&file, b"CT.").unwrap();
    let reservation = inner.in_flight.reserve(&sample.uid()).await;
    let (reply, answer) = oneshot::channel();
    (Commit { new, file: OnDisk::ByItself, reservation, reply }, answer, file)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(20), future).await.expect("it ends soon")
}

#[tokio::test]
async fn a_panic_while_committing_refuses_the_rows_that_wait_and_the_next_is_committed() {
    let bench = Bench::new().await;
    let queue = bench.store.inner.queue.clone();
    queue.waiting().committing = true;
    let turn = Turn { queue: queue.clone(), ended: false };
    let (waits, refused, file) = row(&bench, 1).await;
    queue.commit(waits, true);
    assert_eq!(queue.waiting().rows.len(), 1, "somebody commits already");
    let panicked = tokio::task::spawn_blocking(move || {
        let turn = turn;
        let _known = turn.queue.known.lock().unwrap();
        panic!("while committing");
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(matches!(soon(refused).await, Ok(Err(StoreError::Closed))));
    assert!(!file.exists(), "a whole file would be taken for an instance");

    let (next, committed, file) = row(&bench, 2).await;
    let again = queue.clone();
    tokio::task::spawn_blocking(move || again.commit(next, true)).await.unwrap();
    assert!(matches!(soon(committed).await, Ok(Ok(Committed::Inserted(..)))));
    assert!(file.exists());
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 1);
    // Nobody commits, so closing waits for nobody.
    soon(queue.close()).await;
}
