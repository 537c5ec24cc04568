use super::*;

/// The index as C-FIND sees it, row by row, without numbers and times of our own.
async fn index(bench: &Bench) -> Vec<String> {
    let sql = "SELECT patient.patient_id || patient.patient_name || '|' || study.study_instance_uid \
        || study.accession_number || study.study_date || '|' || study.modalities || '|' || study.sop_classes || '|' \
        || study.number_of_series || '|' || study.number_of_instances || '|' || series.series_instance_uid || '|' \
        || series.series_number || series.modality || series.origin || '|' || series.number_of_instances || '|' \
        || series.revision || '|' || instance.sop_instance_uid || '|' || instance.instance_number || '|' \
        || instance.file_bytes || '|' || instance.data_set_offset || '|' || instance.transfer_syntax_uid \
        FROM instance JOIN series USING (series_key) JOIN study USING (study_key) JOIN patient USING (patient_key) \
        ORDER BY instance.sop_instance_uid";
    sqlx::query_scalar(sql).fetch_all(bench.store.readers()).await.unwrap()
}

async fn filled() -> Bench {
    let bench = Bench::new().await;
    for (study, series, number) in [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)] {
        bench.send(&Sample::ct(study, series, number)).await.unwrap();
    }
    bench
}

#[tokio::test]
async fn the_index_is_the_same_when_it_is_rebuilt_from_nothing_but_the_files() {
    let bench = filled().await;
    let before = index(&bench).await;
    let Bench { folder, clock, store } = bench;
    store.close().await.unwrap();
    drop(store);
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    let bench = reopened(folder, clock).await;
    let mut seen = Vec::new();
    let report = bench.store.reindex(false, |done, total| seen.push((done, total))).await.unwrap();
    assert_eq!(report, Reindexed { files: 4, added: 4, ..Reindexed::default() });
    assert_eq!(seen, [(0, 4), (4, 4)]);
    assert_eq!(index(&bench).await, before);
    assert!(bench.store.series_receiving().await.unwrap().is_empty());
    assert_eq!(bench.text("SELECT max(calling_ae_title) FROM association").await, "MODALITY");
}

#[tokio::test]
async fn rebuilding_an_index_that_is_right_changes_nothing() {
    let bench = filled().await;
    let before = index(&bench).await;
    let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!(report, Reindexed { files: 4, ..Reindexed::default() });
    assert_eq!(index(&bench).await, before);
    assert_eq!(bench.store.series_receiving().await.unwrap().len(), 3);
}

#[tokio::test]
async fn rows_without_files_go_files_cut_short_go_aside_and_counts_follow() {
    let bench = filled().await;
    let folder = bench.folder.path().join("instances");
    std::fs::remove_file(folder.join("1.2.2/1.2.2.1/1.2.2.1.1.dcm")).unwrap();
    let cut = folder.join("1.2.1/1.2.1.1/1.2.1.1.2.dcm");
    let whole = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() - 100]).unwrap();
    std::fs::write(folder.join("1.2.1/1.2.1.1/9.9.dcm"), &whole).unwrap();
    let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!(report, Reindexed { files: 4, set_aside: 2, removed: 2, ..Reindexed::default() });
    assert_eq!(bench.number("SELECT count(*) FROM study").await, 1);
    assert_eq!(bench.number("SELECT count(*) FROM patient").await, 1);
    assert_eq!(bench.number("SELECT number_of_instances FROM study").await, 2);
    let aside = bench.files().into_iter().filter(|f| f.starts_with("aside/")).count();
    assert_eq!(aside, 2);
}

#[tokio::test]
async fn attributes_that_were_wrong_in_the_index_are_read_again() {
    let bench = filled().await;
    let before = index(&bench).await;
    sqlx::raw_sql(
        "UPDATE study SET accession_number = 'X', modalities = 'MR', number_of_series = 9; \
         UPDATE series SET series_number = 77; UPDATE instance SET instance_number = 5",
    )
    .execute(&mut *bench.store.inner.writer.lock().await.unwrap())
    .await
    .unwrap();
    assert_ne!(index(&bench).await, before);
    bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!(index(&bench).await, before);
}

async fn reopened(folder: TempDir, clock: Clock) -> Bench {
    let store = Store::open_for_reindex(folder.path(), StoreOptions::default(), clock.clone()).await.unwrap();
    Bench { folder, clock, store }
}

#[tokio::test]
async fn a_rebuilding_that_is_cut_off_and_begun_again_loses_nothing() {
    let bench = Bench::new().await;
    for number in 0..150 {
        bench.send(&Sample::ct(1, 1, number)).await.unwrap();
    }
    // A crash, so that the mark of a running node stays; then the operator moves the index away.
    let Bench { folder, clock, store } = bench.after_crash().await;
    store.inner.queue.close().await;
    drop(store);
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    let mut bench = reopened(folder, clock).await;
    {
        let done = std::sync::atomic::AtomicU64::new(0);
        let progress = |files, _| done.store(files, std::sync::atomic::Ordering::SeqCst);
        let reindex = bench.store.reindex(false, progress);
        tokio::pin!(reindex);
        while done.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            assert!(futures_util::poll!(&mut reindex).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let Bench { folder, clock, store } = bench;
    drop(store);
    bench = reopened(folder, clock).await;
    assert_eq!(bench.files().iter().filter(|file| file.starts_with("instances/")).count(), 150);
    bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 150);
}

#[tokio::test]
async fn what_was_deleted_is_not_found_and_not_counted_though_its_story_stays() {
    let bench = filled().await;
    for series in bench.store.series_receiving().await.unwrap() {
        let jobs = [super::working::new_job("lung")];
        let completion =
            Completion { series: series.key, revision: series.revision, signal: "quiet", decisions: &[], jobs: &jobs };
        bench.store.complete_series(&completion, bench.clock.now()).await.unwrap();
    }
    let folder = bench.folder.path().join("instances");
    for gone in ["1.2.1/1.2.1.2", "1.2.2"] {
        std::fs::remove_dir_all(folder.join(gone)).unwrap();
    }
    bench.store.reindex(false, |_, _| {}).await.unwrap();
    for (level, found) in [(Level::Patient, 1), (Level::Study, 1), (Level::Series, 1), (Level::Image, 2)] {
        let query = FindQuery { level, conditions: Vec::new(), returned: Vec::new() };
        let mut matches = bench.store.find(&query);
        let page = matches.next_page().await.unwrap().unwrap();
        assert_eq!(page.matches().unwrap().len(), found, "{level:?}");
    }
    assert_eq!(bench.number("SELECT number_of_series FROM study WHERE study_instance_uid = '1.2.1'").await, 1);
    assert_eq!(bench.store.why("1.2.2.1").await.unwrap().len(), 1, "what was made of it can still be told");
    // The same series comes again.
    bench.send(&Sample::ct(1, 2, 1)).await.unwrap();
    bench.send(&Sample::ct(2, 1, 1)).await.unwrap();
    let counted = "SELECT group_concat(number_of_series || ' ' || number_of_instances || ' ' || modalities, ', ') \
        FROM (SELECT * FROM study ORDER BY study_instance_uid)";
    assert_eq!(bench.text(counted).await, "2 3 CT, 1 1 CT");
}

#[tokio::test]
async fn a_job_that_a_dead_process_held_is_taken_back_by_the_options_that_are_given() {
    for (job_attempts, state) in [(1, "failed"), (2, "queued")] {
        let bench = Bench::new().await;
        bench.complete(&["lung"]).await;
        bench.claim().await.unwrap();
        let Bench { folder, clock, store } = bench;
        drop(store);
        let options = StoreOptions { reserve_bytes: 0, job_attempts, ..StoreOptions::default() };
        let store = loop {
            match Store::open_for_reindex(folder.path(), options.clone(), clock.clone()).await {
                Err(StoreError::InUse(_)) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        let bench = Bench { folder, clock, store };
        assert_eq!(bench.text("SELECT state FROM job").await, state);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stays_where_it_is_with_its_row() {
    let bench = filled().await;
    let series = bench.folder.path().join("instances/1.2.1/1.2.1.1");
    let with_row = series.join("1.2.1.1.2.dcm");
    // Nobody can read a folder as a file.
    std::fs::remove_file(&with_row).unwrap();
    std::fs::create_dir(&with_row).unwrap();
    std::fs::create_dir(series.join("1.2.1.1.77.dcm")).unwrap();
    let rows = bench.number("SELECT count(*) FROM instance").await;
    let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!(report, Reindexed { files: 5, unreadable: 2, ..Reindexed::default() });
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, rows);
    assert!(with_row.is_dir() && series.join("1.2.1.1.77.dcm").is_dir());
    let bench = bench.after_crash().await;
    assert!(series.join("1.2.1.1.77.dcm").is_dir(), "nor does a start after a crash move it");
    let aside = bench.folder.path().join("aside/unplaced-1.2.1.1.2.dcm");
    assert!(std::fs::read(aside).unwrap().ends_with(&Sample::ct(1, 1, 2).bytes()), "the journal had it");
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, rows);
}

#[tokio::test]
async fn a_data_set_that_begins_with_group_0002_is_indexed_as_it_was_received() {
    for written in [Sample::ct, |study, series, number| Sample::ct(study, series, number).implicit()] {
        let bench = Bench::new().await;
        let mut sample = written(1, 1, 1);
        sample.data_set.put_uid(tags::TRANSFER_SYNTAX_UID, uids::RLE_LOSSLESS);
        let Recorded::Stored(stored) = bench.send(&sample).await.unwrap() else { panic!("not stored") };
        let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
        assert_eq!(report, Reindexed { files: 1, ..Reindexed::default() });
        assert_eq!(bench.store.instance(&sample.uid()).await.unwrap(), Some(stored));
        assert!(matches!(bench.send(&sample).await.unwrap(), Recorded::Duplicate(_)));
    }
}
