use super::*;

/// Puts a file where it would lie if the process had died between the file and its row.
fn leave(bench: &Bench, sample: &Sample, content: &[u8]) {
    let folder = bench.folder.path().join("instances/1.2.1/1.2.1.1");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{}.dcm", sample.uid())), content).unwrap();
}

#[tokio::test]
async fn a_file_without_a_row_is_set_aside_after_a_crash_and_its_instance_taken_again() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let torn = Sample::ct(1, 1, 2);
    leave(&bench, &torn, b"half");
    std::fs::write(bench.folder.path().join("incoming/7.part"), b"less than half").unwrap();
    let bench = bench.after_crash().await;
    assert_eq!(bench.files(), ["aside/unacknowledged-1.2.1.1.2.dcm", "instances/1.2.1/1.2.1.1/1.2.1.1.1.dcm"]);
    assert!(matches!(bench.send(&torn).await.unwrap(), Recorded::Stored(_)));
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 2);
}

#[tokio::test]
async fn a_start_that_was_cut_off_is_no_hindrance_to_the_next() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        bench.send(&Sample::ct(1, 1, number)).await.unwrap();
    }
    for name in ["0.part", "1.part", "2.part"] {
        std::fs::write(bench.folder.path().join("incoming").join(name), b"half").unwrap();
    }
    let bench = bench.after_crash().await;
    assert_eq!(bench.files().len(), 3, "{:?}", bench.files());
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 3);
}

#[tokio::test]
async fn files_of_one_name_that_are_set_aside_are_all_kept() {
    let mut bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    for content in [b"half", b"part"] {
        leave(&bench, &Sample::ct(1, 1, 2), content);
        bench = bench.after_crash().await;
    }
    let aside = |name| std::fs::read(bench.folder.path().join("aside").join(name)).unwrap();
    assert_eq!(aside("unacknowledged-1.2.1.1.2.dcm"), b"half");
    assert_eq!(aside("unacknowledged-2-1.2.1.1.2.dcm"), b"part");
}

#[tokio::test]
async fn a_file_without_a_row_is_replaced_when_its_instance_is_sent_again() {
    let bench = Bench::new().await;
    let torn = Sample::ct(1, 1, 2);
    leave(&bench, &torn, b"half");
    let Recorded::Stored(stored) = bench.send(&torn).await.unwrap() else { panic!("not stored") };
    assert!(std::fs::read(stored.path()).unwrap().ends_with(&torn.bytes()));
}

#[tokio::test]
async fn a_lost_file_is_restored_when_its_instance_is_sent_again() {
    let bench = Bench::new().await;
    let sample = Sample::ct(1, 1, 1);
    let Recorded::Stored(stored) = bench.send(&sample).await.unwrap() else { panic!("not stored") };
    std::fs::remove_file(stored.path()).unwrap();
    assert!(matches!(bench.send(&sample).await.unwrap(), Recorded::Duplicate(_)));
    assert!(std::fs::read(stored.path()).unwrap().ends_with(&sample.bytes()));
    assert_eq!(bench.number("SELECT number_of_instances FROM series").await, 1);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_open_associations_are_over() {
    let bench = Bench::new().await;
    for number in 0..20 {
        bench.send(&Sample::ct(1, 1, number)).await.unwrap();
    }
    let bench = bench.after_crash().await;
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!((series.revision, series.open_associations), (20, 0));
    for stored in bench.store.series_instances(series.key, 20).await.unwrap() {
        assert_eq!(std::fs::metadata(stored.path()).unwrap().len(), stored.file_bytes());
    }
    assert_eq!(bench.files().len(), 20);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_file_without_a_row() {
    for polls in 0..12 {
        let bench = Bench::new().await;
        let sample = Sample::ct(1, 1, 1);
        {
            let send = bench.send(&sample);
            tokio::pin!(send);
            // Dropped somewhere on its way.
            for _ in 0..polls {
                if futures_util::poll!(&mut send).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        // Whoever has the right to record this UID has come to an end of it.
        drop(bench.store.inner.in_flight.reserve(&sample.uid()).await);
        let rows = bench.number("SELECT count(*) FROM instance").await;
        let files = bench.files();
        assert!(files.iter().all(|file| file.starts_with("instances/")), "{polls} polls: {files:?}");
        assert_eq!(i64::try_from(files.len()).unwrap(), rows, "{polls} polls: {files:?}");
    }
}

#[tokio::test]
async fn no_node_runs_on_files_that_no_index_knows_of() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let Bench { folder, clock, store } = bench;
    store.close().await.unwrap();
    drop(store);
    let (path, options) = (folder.path(), StoreOptions { reserve_bytes: 0, ..StoreOptions::default() });
    std::fs::remove_file(path.join("index.sqlite")).unwrap();
    for _ in 0..2 {
        let refused = Store::open(path, options.clone(), clock.clone()).await;
        assert!(matches!(refused, Err(StoreError::IndexLost(_))), "{refused:?}");
    }
    // Begun, and cut off before the first file.
    drop(Store::open_for_reindex(path, options.clone(), clock.clone()).await.unwrap());
    let refused = Store::open(path, options.clone(), clock.clone()).await;
    assert!(matches!(refused, Err(StoreError::IndexLost(_))), "{refused:?}");
    let store = Store::open_for_reindex(path, options.clone(), clock.clone()).await.unwrap();
    store.reindex(false, |_, _| {}).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(path, options, clock.clone()).await.unwrap();
    let bench = Bench { folder, clock, store };
    assert_eq!(bench.files(), ["instances/1.2.1/1.2.1.1/1.2.1.1.1.dcm"]);
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 1);
}

#[tokio::test]
async fn a_whole_file_without_a_row_gets_one_after_a_crash_and_is_never_moved() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let whole = Sample::ct(1, 1, 2);
    let Recorded::Stored(stored) = bench.send(&whole).await.unwrap() else { panic!("not stored") };
    // As when yesterday's copy of the index was put in the place of today's.
    sqlx::query("DELETE FROM instance WHERE instance_key = $1")
        .bind(stored.key())
        .execute(&mut *bench.store.inner.writer.lock().await.unwrap())
        .await
        .unwrap();
    leave(&bench, &Sample::ct(1, 1, 3), b"half");
    let bench = bench.after_crash().await;
    assert_eq!(
        bench.files(),
        [
            "aside/unacknowledged-1.2.1.1.3.dcm",
            "instances/1.2.1/1.2.1.1/1.2.1.1.1.dcm",
            "instances/1.2.1/1.2.1.1/1.2.1.1.2.dcm"
        ]
    );
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 2);
    let series = bench.store.series_receiving().await.unwrap().remove(0);
    assert_eq!(series.open_associations, 0, "nobody is waited for");
    assert!(matches!(bench.send(&whole).await.unwrap(), Recorded::Duplicate(_)));
}

type Answer = tokio::sync::oneshot::Receiver<Result<commit::Committed, StoreError>>;

/// What is committed of an instance whose file lies in this folder.
async fn commit_of(bench: &Bench, sample: &Sample, folder: &str) -> (commit::Commit, Answer) {
    let inner = &bench.store.inner;
    let new = commit::NewRow {
        row: row::IndexRow::from_header(&sample.data_set, &sample.announced()).unwrap(),
        folder: bench.folder.path().join(folder),
        origin: Origin::Received,
        source: None,
        file_bytes: 1,
        data_set_offset: 0,
        received_at: START,
    };
    let spool = incoming::Spool::with(&inner.layout, b"DICM").unwrap();
    let reservation = inner.in_flight.reserve(&sample.uid()).await;
    let (reply, answer) = tokio::sync::oneshot::channel();
    (commit::Commit { new, file: durable::OnDisk::Not(spool, None), reservation, reply }, answer)
}

#[tokio::test]
async fn a_folder_that_cannot_be_synced_refuses_its_own_instance_and_no_other() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let inner = bench.store.inner.clone();
    let mut batch = Vec::new();
    let mut answers = Vec::new();
    for (number, folder) in [(2, "instances/1.2.1/1.2.1.1"), (3, "instances/gone"), (4, "instances/1.2.1/1.2.1.1")] {
        let sample = Sample::ct(1, 1, number);
        leave(&bench, &sample, b"DICM");
        let (commit, answer) = commit_of(&bench, &sample, folder).await;
        batch.push(commit);
        answers.push(answer);
    }
    let runtime = tokio::runtime::Handle::current();
    let to = Destination { writer: inner.writer.clone(), journal: inner.journal.clone(), runtime };
    tokio::task::spawn_blocking(move || commit::commit_all(batch, &mut known::Known::default(), &to)).await.unwrap();
    let mut taken = Vec::new();
    for answer in answers {
        taken.push(matches!(answer.await.unwrap(), Ok(commit::Committed::Inserted(..))));
    }
    assert_eq!(taken, [true, false, true]);
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 3);
    assert!(bench.files().contains(&"instances/1.2.1/1.2.1.1/1.2.1.1.2.dcm".to_owned()));
}

#[tokio::test]
async fn a_row_that_comes_when_the_store_is_closed_leaves_no_file() {
    let bench = Bench::new().await;
    let inner = bench.store.inner.clone();
    inner.queue.close().await;
    let late = Sample::ct(1, 1, 1);
    leave(&bench, &late, b"DICM");
    let (queued, answer) = commit_of(&bench, &late, "instances/1.2.1/1.2.1.1").await;
    tokio::task::spawn_blocking(move || inner.queue.commit(queued, false)).await.unwrap();
    assert!(matches!(answer.await, Ok(Err(StoreError::Closed))));
    assert!(bench.files().iter().all(|file| !file.starts_with("instances")), "{:?}", bench.files());
}

#[tokio::test]
async fn what_cannot_be_made_durable_gets_no_row_though_the_row_was_prepared_meanwhile() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let inner = bench.store.inner.clone();
    // Of a known series, so that the row goes to the database before the sync; in a folder that is gone by then.
    let lost = Sample::ct(1, 1, 2);
    let (queued, answer) = commit_of(&bench, &lost, "instances/gone").await;
    tokio::task::spawn_blocking(move || inner.queue.commit(queued, false)).await.unwrap();
    let refused = answer.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("instances/gone"), "{refused}");
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 1);
    assert_eq!(bench.number("SELECT number_of_instances FROM study").await, 1);
    // And the next one is taken as ever.
    assert!(matches!(bench.send(&lost).await.unwrap(), Recorded::Stored(_)));
    assert_eq!(bench.number("SELECT sum(instances) FROM series_source").await, 2);
}

/// Makes a file or a folder older, and gives when it was last changed from then on.
fn age(path: &std::path::Path, hours: u64) -> std::time::SystemTime {
    let file = std::fs::File::open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(hours * 3600);
    file.set_modified(time).unwrap();
    time
}

#[tokio::test]
async fn a_recovery_that_was_cut_off_is_taken_up_again() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let Recorded::Stored(stored) = bench.send(&Sample::ct(1, 1, 2)).await.unwrap() else { panic!("not stored") };
    for change in [
        "DELETE FROM instance WHERE sop_instance_uid = '1.2.1.1.2'",
        "CREATE TRIGGER full BEFORE INSERT ON instance BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    ] {
        sqlx::raw_sql(change).execute(&mut *bench.store.inner.writer.lock().await.unwrap()).await.unwrap();
    }
    // The node began, then the file came, then the power went; all of it long ago.
    let began = age(&bench.folder.path().join("running"), 3);
    age(stored.path().parent().unwrap(), 2);
    let Bench { folder, clock, store } = bench;
    drop(store);
    let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
    let cut_off = loop {
        match Store::open(folder.path(), options.clone(), clock.clone()).await {
            Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(cut_off, Err(StoreError::Database(_))), "{cut_off:?}");
    let database = folder.path().join("index.sqlite");
    let mut connection = connect_options(&database).connect().await.unwrap();
    sqlx::raw_sql("DROP TRIGGER full").execute(&mut connection).await.unwrap();
    drop(connection);
    let store = loop {
        match Store::open(folder.path(), options.clone(), clock.clone()).await {
            Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
            other => break other.unwrap(),
        }
    };
    let bench = Bench { folder, clock, store };
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 2);
    let running = std::fs::metadata(bench.folder.path().join("running")).unwrap().modified().unwrap();
    assert!(running > began, "and the next start need not look so far back");
}
