use std::time::Duration;

use super::*;
use crate::store::portion::PORTION;

#[tokio::test]
async fn what_is_recorded_lies_on_the_disk_to_the_byte_and_is_counted() {
    let bench = Bench::new().await;
    let sample = Sample::ct(1, 1, 1).with_pixels(vec![7; 600_000]);
    let Recorded::Stored(stored) = bench.send(&sample).await.unwrap() else { panic!("not stored") };
    assert_eq!(stored.path(), bench.folder.path().join("instances/1.2.1/1.2.1.1/1.2.1.1.1.dcm"));
    let file = std::fs::read(stored.path()).unwrap();
    assert_eq!(file.len() as u64, stored.file_bytes());
    assert_eq!(&file[128..132], b"DICM");
    assert_eq!(file[usize::try_from(stored.data_set_offset()).unwrap()..], sample.bytes());
    assert_eq!(bench.store.instance(&sample.uid()).await.unwrap(), Some(stored));

    for (series, number) in [(1, 2), (2, 1), (2, 2)] {
        assert!(matches!(bench.send(&Sample::ct(1, series, number)).await.unwrap(), Recorded::Stored(_)));
    }
    assert_eq!(bench.number("SELECT number_of_series FROM study").await, 2);
    assert_eq!(bench.number("SELECT number_of_instances FROM study").await, 4);
    assert_eq!(bench.number("SELECT sum(number_of_instances) FROM series WHERE revision = 2").await, 4);
    assert_eq!(bench.number("SELECT sum(instances) FROM series_source").await, 4);
    assert_eq!(bench.text("SELECT modalities FROM study").await, "CT");
    assert_eq!(bench.text("SELECT patient_name FROM patient").await, "Ивано́в^Пётр");
}

#[tokio::test]
async fn many_associations_at_once_share_transactions_and_lose_nothing() {
    let bench = Bench::new().await;
    let sends = (0..200).map(|n| {
        let (bench, association) = (&bench, format!("a{}", n % 8));
        async move { bench.send_by(&Sample::ct(1 + n % 8, 1, n), &association).await }
    });
    for recorded in futures_util::future::join_all(sends).await {
        assert!(matches!(recorded.unwrap(), Recorded::Stored(_)));
    }
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 200);
    assert_eq!(bench.number("SELECT sum(number_of_instances) FROM study").await, 200);
    assert_eq!(bench.number("SELECT count(*) FROM association").await, 8);
    assert_eq!(bench.files().len(), 200);
}

#[tokio::test]
async fn the_same_instance_again_is_one_row_in_whatever_native_syntax_it_comes() {
    let bench = Bench::new().await;
    let sample = Sample::ct(1, 1, 1);
    bench.send(&sample).await.unwrap();
    for again in [sample.clone(), sample.implicit()] {
        assert!(matches!(bench.send(&again).await.unwrap(), Recorded::Duplicate(_)));
    }
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 1);
    assert_eq!(bench.number("SELECT revision FROM series").await, 1);
    assert_eq!(bench.files(), ["instances/1.2.1/1.2.1.1/1.2.1.1.1.dcm"]);
}

#[tokio::test]
async fn the_same_instance_on_two_associations_at_once_is_one_row() {
    let bench = Bench::new().await;
    let sample = Sample::ct(1, 1, 1);
    let both = futures_util::future::join_all((0..8).map(|_| bench.send(&sample))).await;
    let stored = both.iter().filter(|r| matches!(r, Ok(Recorded::Stored(_)))).count();
    let duplicates = both.iter().filter(|r| matches!(r, Ok(Recorded::Duplicate(_)))).count();
    assert_eq!((stored, duplicates), (1, 7));
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 1);
}

#[tokio::test]
async fn other_content_under_a_taken_uid_is_kept_aside_once() {
    let bench = Bench::new().await;
    let first = Sample::ct(1, 1, 1);
    bench.send(&first).await.unwrap();
    let other = first.clone().with_pixels(vec![9; 64 * 64 * 2]);
    for _ in 0..2 {
        let Recorded::KeptAside(kept) = bench.send(&other).await.unwrap() else { panic!("not kept aside") };
        assert!(std::fs::read(&kept.path).unwrap().ends_with(&[9; 64 * 64 * 2]));
        assert_eq!(kept.taken_by.sop_instance_uid(), &first.uid());
    }
    let mut elsewhere = first.clone();
    elsewhere.data_set.put_uid(tags::SERIES_INSTANCE_UID, "1.2.1.2");
    assert!(matches!(bench.send(&elsewhere).await.unwrap(), Recorded::KeptAside(_)));

    assert_eq!(bench.number("SELECT times_received FROM kept_aside ORDER BY kept_key LIMIT 1").await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM kept_aside").await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 1);
    assert_eq!(bench.number("SELECT revision FROM series WHERE series_instance_uid = '1.2.1.1'").await, 1);
    assert!(matches!(bench.send(&first).await.unwrap(), Recorded::Duplicate(_)));
    assert_eq!(bench.files().len(), 3);
}

#[tokio::test]
async fn a_batch_with_a_taken_uid_in_it_still_records_the_others() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let mut thief = Sample::ct(2, 1, 1);
    thief.data_set.put_uid(tags::SOP_INSTANCE_UID, "1.2.1.1.1");
    let mut samples: Vec<Sample> = (2..20).map(|n| Sample::ct(2, 1, n)).collect();
    samples.insert(9, thief);
    let recorded = futures_util::future::join_all(samples.iter().map(|s| bench.send(s))).await;
    assert_eq!(recorded.iter().filter(|r| matches!(r, Ok(Recorded::Stored(_)))).count(), 18);
    assert!(matches!(recorded[9], Ok(Recorded::KeptAside(_))));
    assert_eq!(bench.number("SELECT number_of_instances FROM study WHERE study_instance_uid = '1.2.2'").await, 18);
}

#[tokio::test]
async fn below_the_reserve_nothing_is_written() {
    let bench = Bench::with(StoreOptions { reserve_bytes: u64::MAX, ..StoreOptions::default() }).await;
    assert!(matches!(bench.send(&Sample::ct(1, 1, 1)).await, Err(StoreError::DiskReserve { .. })));
    assert_eq!(bench.files(), Vec::<String>::new());
}

#[tokio::test]
async fn an_instance_that_ends_before_it_is_recorded_leaves_nothing() {
    let bench = Bench::new().await;
    let mut file = bench.store.begin_instance(Sample::ct(1, 1, 1).announced()).unwrap();
    file.write(&vec![0; PORTION + 1]).await.unwrap();
    file.settle().await.unwrap();
    assert_eq!(bench.files(), ["incoming/0.part"]);
    drop(file);
    assert_eq!(bench.files(), Vec::<String>::new());
}

#[tokio::test]
async fn files_of_every_size_hold_what_came_to_the_byte() {
    let bench = Bench::new().await;
    let edges = [0, 1, 4095, 4096, 4097, 65_536, 131_071, PORTION, 2 * PORTION, 2 * PORTION + 75_713];
    // The header before the data set is part of the first block: each edge is met from both sides.
    for length in edges.into_iter().flat_map(|edge: usize| [edge.saturating_sub(400), edge, edge + 1]) {
        let sent: Vec<u8> = (0..length).map(|index| (index * 31 % 251) as u8).collect();
        let mut file = bench.store.begin_instance(Sample::ct(1, 1, 1).announced()).unwrap();
        for fragment in sent.chunks(16_374) {
            file.write(fragment).await.unwrap();
        }
        file.settle().await.unwrap();
        let arrived = file.finish().unwrap();
        let stored = std::fs::read(arrived.spool.path()).unwrap();
        assert_eq!(stored.len() as u64, arrived.file_bytes);
        assert!(stored[arrived.data_set_offset as usize..] == sent, "{length} bytes");
    }
    assert_eq!(bench.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_data_set_that_names_no_series_or_another_instance_is_refused_and_gone() {
    let bench = Bench::new().await;
    let mut nowhere = Sample::ct(1, 1, 1);
    nowhere.data_set.remove(tags::SERIES_INSTANCE_UID);
    assert!(matches!(bench.send(&nowhere).await, Err(StoreError::Unusable(Unusable::Series(_)))));
    let mut file = bench.store.begin_instance(Sample::ct(1, 1, 2).announced()).unwrap();
    let sample = Sample::ct(1, 1, 1);
    file.write(&sample.bytes()).await.unwrap();
    let reception = Reception {
        header: &sample.data_set,
        association_id: "a1",
        peer_address: SocketAddr::from(([192, 0, 2, 7], 40_000)),
        received_at: START,
    };
    let refused = bench.store.record_instance(file, reception).await;
    assert!(matches!(refused, Err(StoreError::Unusable(Unusable::OtherInstance))));
    assert_eq!(bench.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_node_is_kept_out_of_the_folder() {
    let bench = Bench::new().await;
    let second = Store::open(bench.folder.path(), StoreOptions::default(), Clock::System).await;
    assert!(matches!(second, Err(StoreError::InUse(_))));
    for beside in [
        Store::open_beside(bench.folder.path(), Clock::System).await.unwrap(),
        Store::open_to_look(bench.folder.path(), Clock::System).await.unwrap(),
    ] {
        assert_eq!(beside.instance(&Sample::ct(1, 1, 1).uid()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_tool_makes_no_data_folder_and_leaves_the_schema_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mistyped = folder.path().join("dtaa");
    for opened in
        [Store::open_beside(&mistyped, Clock::System).await, Store::open_to_look(&mistyped, Clock::System).await]
    {
        assert!(matches!(opened, Err(StoreError::NoData(_))), "{opened:?}");
    }
    assert!(!mistyped.exists());

    let bench = Bench::new().await;
    for (change, newer) in [
        ("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)", false),
        ("UPDATE _sqlx_migrations SET version = 99 WHERE version = (SELECT max(version) FROM _sqlx_migrations)", true),
    ] {
        sqlx::raw_sql(change).execute(&mut *bench.store.inner.writer.lock().await.unwrap()).await.unwrap();
        let opened = Store::open_beside(bench.folder.path(), Clock::System).await;
        assert!(matches!(opened, Err(StoreError::OtherSchema { is_newer, .. }) if is_newer == newer), "{opened:?}");
    }
}

#[tokio::test]
async fn times_of_acr_nema_are_found_however_short_they_are() {
    let bench = Bench::new().await;
    for (study, time) in [(1, "10:30"), (2, "10:30:15"), (3, "10:30:15.25"), (4, "1030")] {
        let mut sample = Sample::ct(study, 1, 1);
        sample.data_set.put_text(tags::STUDY_TIME, VR::TM, time);
        bench.send(&sample).await.unwrap();
    }
    let times = "SELECT group_concat(study_time) FROM (SELECT * FROM study ORDER BY study_instance_uid)";
    assert_eq!(bench.text(times).await, "1030,103015,103015.25,1030");
}

#[tokio::test]
async fn questions_of_peers_take_no_connection_of_ours() {
    let bench = Bench::new().await;
    let finders = (0..bench.store.inner.options.finders).map(|_| bench.store.finders().acquire());
    let _taken = futures_util::future::try_join_all(finders).await.unwrap();
    assert!(bench.store.finders().try_acquire().is_none());
    assert!(matches!(bench.send(&Sample::ct(1, 1, 1)).await.unwrap(), Recorded::Stored(_)));
    assert!(matches!(bench.send(&Sample::ct(1, 1, 1)).await.unwrap(), Recorded::Duplicate(_)));
    assert!(bench.store.destinations_waiting().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_instance_whose_row_could_not_be_made_leaves_no_file() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let full = "CREATE TEMP TRIGGER full BEFORE INSERT ON instance BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    sqlx::raw_sql(full).execute(&mut *bench.store.inner.writer.lock().await.unwrap()).await.unwrap();
    let refused = bench.send(&Sample::ct(1, 1, 2)).await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
    assert_eq!(bench.files(), ["instances/1.2.1/1.2.1.1/1.2.1.1.1.dcm"]);
}

#[tokio::test]
async fn the_header_of_a_large_instance_makes_its_file_end_with_a_block() {
    let bench = Bench::new().await;
    for (number, pixels) in [(1, 70_000), (2, 524_288), (3, 600_002)] {
        let sample = Sample::ct(1, 1, number).with_pixels(vec![7; pixels]);
        let Recorded::Stored(stored) = bench.send(&sample).await.unwrap() else { panic!("not stored") };
        let file = std::fs::read(stored.path()).unwrap();
        assert_eq!(file.len() % 4096, 0, "{pixels}");
        assert_eq!(file[usize::try_from(stored.data_set_offset()).unwrap()..], sample.bytes());
        let read = dicom_object::open_file(stored.path()).unwrap();
        assert_eq!(read.meta().media_storage_sop_instance_uid(), sample.uid().as_str());
        assert!(read.meta().private_information.as_ref().is_some_and(|filler| filler.iter().all(|byte| *byte == 0)));
    }
    // A small one goes through the cache, and one beyond a portion has begun to be written when its length is known.
    for (number, pixels) in [(4, 8_192), (5, 700_000)] {
        let sample = Sample::ct(1, 1, number).with_pixels(vec![7; pixels]);
        let Recorded::Stored(stored) = bench.send(&sample).await.unwrap() else { panic!("not stored") };
        let read = dicom_object::open_file(stored.path()).unwrap();
        assert!(read.meta().private_information.is_none(), "{pixels}");
    }
}

#[tokio::test]
async fn the_log_has_its_length_before_anything_is_received() {
    let bench = Bench::new().await;
    let length = |bench: &Bench| std::fs::metadata(bench.folder.path().join("index.sqlite-wal")).unwrap().len();
    let begun = length(&bench);
    assert!(begun >= 4000 * 4096, "{begun}");
    for number in 0..20 {
        bench.send(&Sample::ct(1, 1, number)).await.unwrap();
    }
    assert_eq!(length(&bench), begun);
    let bench = bench.after_crash().await;
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 20);
    assert_eq!(length(&bench), begun);
}

#[tokio::test]
async fn the_log_takes_nothing_of_the_reserve() {
    let options = StoreOptions { reserve_bytes: u64::MAX, ..StoreOptions::default() };
    let bench = Bench::with(options).await;
    let log = std::fs::metadata(bench.folder.path().join("index.sqlite-wal")).unwrap();
    assert!(log.len() < 4000 * 4096);
}

#[test]
fn a_process_with_no_thread_to_spare_records_all_the_same() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        let bench = Arc::new(Bench::new().await);
        let sends = (0..40).map(|n| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.send(&Sample::ct(1, 1 + n % 4, n)).await.unwrap() })
        });
        tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(sends)).await.is_ok()
    });
    if !ended {
        runtime.shutdown_background();
        panic!("instances wait for each other");
    }
}

#[tokio::test]
async fn a_tool_that_writes_keeps_its_frames_while_the_log_is_lengthened() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let mut tool = connect_options(&bench.store.inner.layout.database()).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut tool).await.unwrap();
    let inner = bench.store.inner.clone();
    // Shorter, as a log is that was just begun.
    File::options().write(true).open(inner.layout.log()).unwrap().set_len(1 << 20).unwrap();
    let lengthening = tokio::spawn(log::lengthen(inner.clone()));
    sqlx::query("UPDATE study SET study_description = 'told'").execute(&mut tool).await.unwrap();
    let length = || std::fs::metadata(inner.layout.log()).unwrap().len();
    assert_eq!(length(), 1 << 20, "it waits for the tool");
    sqlx::query("COMMIT").execute(&mut tool).await.unwrap();
    lengthening.await.unwrap().unwrap();
    assert!(length() > 1 << 20);
    drop((inner, tool));
    assert_eq!(bench.text("SELECT study_description FROM study").await, "told");
    let bench = bench.after_crash().await;
    assert_eq!(bench.text("SELECT study_description FROM study").await, "told");
}
