//! The power goes: of the database's log what no sync has taken to the disk is lost, and of the files nothing that was
//! acknowledged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;

/// What is on the disk of the database.
struct OnDisk {
    index: Vec<u8>,
    log: Vec<u8>,
}

impl OnDisk {
    fn of(bench: &Bench) -> Self {
        let read = |name| fs::read(bench.folder.path().join(name)).unwrap();
        Self { index: read("index.sqlite"), log: read("index.sqlite-wal") }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

impl Bench {
    /// The data folder as another machine finds it where the power went: all files, and of the database what was on the
    /// disk. The clock of that machine may have gone back by hours since the node began.
    async fn after_the_power_went(&self, database: OnDisk, went_back: Duration) -> Self {
        self.after_the_power_took(database, went_back, |_| {}).await
    }

    /// The same, where the disk has not all of the files either.
    async fn after_the_power_took(&self, database: OnDisk, went_back: Duration, took: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), folder.path());
        took(folder.path());
        fs::write(folder.path().join("index.sqlite"), database.index).unwrap();
        fs::write(folder.path().join("index.sqlite-wal"), database.log).unwrap();
        fs::remove_file(folder.path().join("index.sqlite-shm")).unwrap();
        let running = fs::File::options().write(true).open(folder.path().join("running")).unwrap();
        running.set_modified(running.metadata().unwrap().modified().unwrap() + went_back).unwrap();
        let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options, self.clock.clone()).await.unwrap();
        Self { folder, clock: self.clock.clone(), store }
    }

    /// What the last commit of instances waited for: 2 is the disk, 1 the log (SQLite's `synchronous`).
    async fn last_commit(&self) -> i64 {
        let mut writing = self.store.inner.writer.lock_for_instances().await;
        sqlx::query_scalar("PRAGMA synchronous").persistent(false).fetch_one(&mut writing.connection).await.unwrap()
    }
}

#[tokio::test]
async fn rows_that_the_log_lost_are_made_again_from_their_files() {
    for went_back in [Duration::ZERO, Duration::from_secs(3 * 3600)] {
        let bench = Bench::new().await;
        bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
        bench.send_by(&Sample::ct(1, 1, 9), "a2").await.unwrap();
        bench.store.association_released("a2", bench.clock.now()).await.unwrap();
        bench.send(&Sample::ct(1, 1, 2)).await.unwrap();
        let database = OnDisk::of(&bench);
        for number in 3..=6 {
            bench.send(&Sample::ct(1, 1, number)).await.unwrap();
        }
        let bench = bench.after_the_power_went(database, went_back).await;
        assert_eq!(bench.number("SELECT count(*) FROM instance").await, 7);
        assert_eq!(bench.number("SELECT number_of_instances FROM study").await, 7);
        let series = bench.store.series_receiving().await.unwrap().remove(0);
        assert_eq!((series.revision, series.open_associations), (7, 0));
        for stored in bench.store.series_instances(series.key, 7).await.unwrap() {
            assert_eq!(fs::metadata(stored.path()).unwrap().len(), stored.file_bytes());
        }
        // From whom they came is known all the same.
        let from = "SELECT group_concat(association_id || ' ' || calling_ae_title || ' ' || peer_address || ' ' || instances) \
                    FROM series_source JOIN association USING (association_key)";
        assert_eq!(bench.text(from).await, "a1 MODALITY 192.0.2.7:40000 6,a2 MODALITY 192.0.2.7:40000 1");
        assert!(matches!(bench.send(&Sample::ct(1, 1, 5)).await.unwrap(), Recorded::Duplicate(_)));
    }
}

#[tokio::test]
async fn only_rows_of_series_that_the_disk_knows_to_be_receiving_wait_for_the_log_alone() {
    const DISK: i64 = 2;
    const LOG: i64 = 1;
    let bench = Bench::new().await;
    let mut seen = Vec::new();
    let mut next = 0;
    let mut send = async |series, association| {
        next += 1;
        bench.send_by(&Sample::ct(1, series, next), association).await.unwrap();
        bench.last_commit().await
    };
    let order = [(1, "a1"), (1, "a1"), (2, "a1"), (2, "a1"), (1, "a1"), (1, "a2"), (1, "a2"), (2, "a2")];
    for (series, association) in order {
        seen.push(send(series, association).await);
    }
    assert_eq!(seen, [DISK, LOG, DISK, LOG, LOG, DISK, LOG, DISK]);
    // Whatever else is committed may have made it complete.
    bench.store.association_released("a1", bench.clock.now()).await.unwrap();
    assert_eq!(bench.last_commit().await, DISK);
    assert_eq!([send(1, "a2").await, send(1, "a2").await], [DISK, LOG]);
    // And a commit that failed may have left nothing of what was taken for known.
    bench
        .store
        .spoil("CREATE TRIGGER full BEFORE INSERT ON instance BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        .await;
    bench.send_by(&Sample::ct(1, 1, 99), "a2").await.unwrap_err();
    bench.store.spoil("DROP TRIGGER full").await;
    assert_eq!([send(1, "a2").await, send(1, "a2").await], [DISK, LOG]);
}

/// Pixels of which the journal takes no copy.
fn large(sample: Sample) -> Sample {
    sample.with_pixels(vec![3; 100_000])
}

#[tokio::test]
async fn small_files_that_the_disk_never_had_are_there_with_their_rows() {
    let bench = Bench::new().await;
    let samples = |numbers: std::ops::RangeInclusive<u32>| numbers.map(|number| Sample::ct(1, number % 2, number));
    for sample in samples(1..=4) {
        bench.send(&sample).await.unwrap();
    }
    let database = OnDisk::of(&bench);
    for sample in samples(5..=6) {
        bench.send(&sample).await.unwrap();
    }
    bench.send(&large(Sample::ct(1, 1, 7))).await.unwrap();
    let took = |data: &Path| {
        let instances = data.join("instances");
        // All names of one series, and what was in the files of the other.
        fs::remove_dir_all(instances.join("1.2.1/1.2.1.0")).unwrap();
        for number in [1, 3, 5] {
            fs::write(instances.join(format!("1.2.1/1.2.1.1/1.2.1.1.{number}.dcm")), b"").unwrap();
        }
        assert!(instances.join("1.2.1/1.2.1.1/1.2.1.1.7.dcm").metadata().unwrap().len() > 100_000);
    };
    let bench = bench.after_the_power_took(database, Duration::ZERO, took).await;
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 7);
    assert_eq!(bench.files().len(), 7, "nothing is aside: {:?}", bench.files());
    for sample in samples(1..=6).chain([large(Sample::ct(1, 1, 7))]) {
        let stored = bench.store.instance(&sample.uid()).await.unwrap().unwrap();
        assert!(fs::read(stored.path()).unwrap().ends_with(&sample.bytes()), "{}", sample.uid());
        assert!(matches!(bench.send(&sample).await.unwrap(), Recorded::Duplicate(_)));
    }
}

#[tokio::test]
async fn what_was_refused_or_replaced_does_not_come_back_from_the_journal() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    bench
        .store
        .spoil("CREATE TRIGGER full BEFORE INSERT ON instance BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
        .await;
    bench.send(&Sample::ct(1, 1, 2)).await.unwrap_err();
    bench.store.spoil("DROP TRIGGER full").await;
    // The file of this one gets lost, and what is sent again is long.
    let Recorded::Stored(lost) = bench.send(&Sample::ct(1, 1, 3)).await.unwrap() else { panic!("not stored") };
    fs::remove_file(lost.path()).unwrap();
    assert!(matches!(bench.send(&large(Sample::ct(1, 1, 3))).await.unwrap(), Recorded::Duplicate(_)));
    // And this one names a series in which its UID is not.
    bench.send(&Sample::ct(1, 1, 4)).await.unwrap();
    let mut elsewhere = Sample::ct(1, 2, 4);
    elsewhere.data_set.put_uid(tags::SOP_INSTANCE_UID, "1.2.1.1.4");
    assert!(matches!(bench.send(&elsewhere).await.unwrap(), Recorded::KeptAside(_)));
    // Of this one the row is gone and the file is there.
    bench.send(&Sample::ct(1, 1, 5)).await.unwrap();
    bench.store.spoil("DELETE FROM instance WHERE sop_instance_uid = '1.2.1.1.5'").await;
    assert!(matches!(bench.send(&large(Sample::ct(1, 1, 5))).await.unwrap(), Recorded::Stored(_)));
    let before = bench.files();
    let bench = bench.after_crash().await;
    assert_eq!(bench.files(), before);
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 4);
    for sample in [Sample::ct(1, 1, 3), Sample::ct(1, 1, 5)].map(large) {
        let stored = bench.store.instance(&sample.uid()).await.unwrap().unwrap();
        assert_eq!(fs::metadata(stored.path()).unwrap().len(), stored.file_bytes());
        assert!(fs::read(stored.path()).unwrap().ends_with(&sample.bytes()));
    }
}

#[tokio::test]
async fn without_a_journal_small_files_are_durable_by_themselves() {
    let bench = Bench::new().await;
    fs::create_dir(bench.folder.path().join("journal.0")).unwrap();
    for number in 1..=3 {
        assert!(matches!(bench.send(&Sample::ct(1, 1, number)).await.unwrap(), Recorded::Stored(_)));
    }
    fs::remove_dir(bench.folder.path().join("journal.0")).unwrap();
    let bench = bench.after_crash().await;
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 3);
}

#[tokio::test]
async fn a_clean_end_leaves_no_journal() {
    let bench = Bench::new().await;
    bench.send(&Sample::ct(1, 1, 1)).await.unwrap();
    let journal = bench.folder.path().join("journal.0");
    assert!(journal.exists());
    bench.store.close().await.unwrap();
    assert!(!journal.exists());
}

#[tokio::test]
async fn an_index_that_is_lost_is_rebuilt_with_what_only_the_journal_has() {
    let bench = Bench::new().await;
    for number in 1..=3 {
        bench.send(&Sample::ct(1, 1, number)).await.unwrap();
    }
    let (folder, clock) = (tempfile::tempdir().unwrap(), bench.clock.clone());
    fs::copy(bench.folder.path().join("journal.0"), folder.path().join("journal.0")).unwrap();
    let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
    let opened = Store::open(folder.path(), options.clone(), clock.clone()).await;
    assert!(matches!(opened, Err(StoreError::IndexLost(_))), "{opened:?}");
    let store = Store::open_for_reindex(folder.path(), options, clock.clone()).await.unwrap();
    store.reindex(false, |_, _| {}).await.unwrap();
    let bench = Bench { folder, clock, store };
    assert_eq!(bench.number("SELECT count(*) FROM instance").await, 3);
}
