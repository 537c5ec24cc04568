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
        let folder = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), folder.path());
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
