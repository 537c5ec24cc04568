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
    let store = Store::open(folder.path(), StoreOptions::default(), clock.clone()).await.unwrap();
    let bench = Bench { folder, clock, store };
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
    .execute(&mut *bench.store.inner.writer.lock().await)
    .await
    .unwrap();
    assert_ne!(index(&bench).await, before);
    bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!(index(&bench).await, before);
}
