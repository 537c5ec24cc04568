use std::path::PathBuf;

use super::*;
use crate::dicom::uid::{SeriesInstanceUid, StudyInstanceUid};

const PATH: &str = "embeddings/1.2.1/1.2.1.1/vit-1.0.0.safetensors";

fn file(revision: i64, model_version: &str, values: &[f32]) -> Vec<u8> {
    let of = EmbeddingOf {
        study_instance_uid: StudyInstanceUid::parse("1.2.1").unwrap(),
        series_instance_uid: SeriesInstanceUid::parse("1.2.1.1").unwrap(),
        revision: Some(revision),
        model_name: "vit".to_owned(),
        model_version: model_version.to_owned(),
        space_sha256: "ab".to_owned(),
    };
    embedding_file(&of, &[EmbeddingTensor { name: "cls", shape: &[1, values.len()], values }]).unwrap()
}

fn vectors(job: &ClaimedJob, values: &[f32]) -> Option<NewEmbeddings> {
    Some(NewEmbeddings {
        model_name: "vit".to_owned(),
        model_version: "1.0.0".to_owned(),
        space_sha256: "ab".to_owned(),
        file: file(job.revision, "1.0.0", values).into(),
    })
}

impl Bench {
    async fn claim_first(&self) -> ClaimedJob {
        self.store.claim_job(self.clock.now(), 60_000).await.unwrap().unwrap()
    }

    /// Sends one more slice and takes the series as complete again, with a job.
    async fn complete_again(&self, number: u32) {
        self.send(&Sample::ct(1, 1, number)).await.unwrap();
        let series = self.store.series_receiving().await.unwrap().remove(0);
        let jobs = [working::new_job("vit")];
        let completion = Completion {
            series: series.key,
            revision: series.revision,
            signal: "quiet for 20 s",
            decisions: &[],
            jobs: &jobs,
        };
        self.store.complete_series(&completion, self.clock.now()).await.unwrap();
    }

    async fn finish(&self, job: ClaimedJob, values: &[f32]) {
        let kept = vectors(&job, values);
        self.store.finish_job(job, "read", vec![], kept, self.clock.now()).await.unwrap();
    }

    fn kept(&self) -> Vec<f32> {
        EmbeddingFile::open(&self.folder.path().join(PATH)).unwrap().values("cls").unwrap().unwrap()
    }

    /// Files below `embeddings/`, and what is still in `incoming/`.
    fn embedding_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().join("embeddings"), self.folder.path().join("incoming")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }
}

#[tokio::test]
async fn embeddings_are_kept_with_the_job_and_found_by_study_series_and_accession() {
    let bench = Bench::new().await;
    bench.complete(&["vit"]).await;
    let job = bench.claim_first().await;
    bench.finish(job, &[1.0, -2.5]).await;
    assert_eq!(bench.kept(), [1.0, -2.5]);
    for name in ["1.2.1", "1.2.1.1", "A1"] {
        let found = bench.store.embeddings_of(name).await.unwrap();
        let [kept] = &found[..] else { panic!("{name}: {found:?}") };
        assert_eq!((kept.path_in_data.as_str(), kept.revision, kept.study_date.as_str()), (PATH, 3, "20260101"));
        assert_eq!(kept.path, bench.folder.path().join(PATH));
    }
    let page = bench.store.embeddings_after(None).await.unwrap();
    assert_eq!(page.len(), 1);
    assert!(bench.store.embeddings_after(page.last()).await.unwrap().is_empty());
    let story = bench.store.why("1.2.1.1").await.unwrap().remove(0).series.remove(0);
    assert_eq!((story.embeddings[0].path.as_str(), story.embeddings[0].model_name.as_str()), (PATH, "vit"));
    assert!(bench.store.embeddings_of("1.2.2").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_later_revision_replaces_embeddings() {
    let bench = Bench::new().await;
    bench.complete(&["vit"]).await;
    let first = bench.claim_first().await;
    bench.complete_again(4).await;
    bench.finish(first, &[3.0]).await;
    assert_eq!(bench.kept(), [3.0]);
    let second = bench.claim_first().await;
    assert_eq!(second.revision, 4);
    bench.finish(second, &[4.0]).await;
    assert_eq!(bench.kept(), [4.0]);
    bench.complete_again(5).await;
    let third = bench.claim_first().await;
    bench.finish(third, &[5.0]).await;
    assert_eq!(bench.kept(), [5.0]);
    assert_eq!(bench.number("SELECT revision FROM embedding").await, 5);
    assert_eq!(bench.embedding_files(), [bench.folder.path().join(PATH)]);
}

#[tokio::test]
async fn a_worker_that_lost_its_job_leaves_no_embeddings() {
    let bench = Bench::new().await;
    bench.complete(&["vit"]).await;
    let slow = bench.claim_first().await;
    bench.clock.advance_ms(60_000);
    let other = bench.claim_first().await;
    let kept = vectors(&slow, &[1.0]);
    let lost = bench.store.finish_job(slow, "read", vec![], kept, bench.clock.now()).await;
    assert!(matches!(lost, Err(StoreError::LeaseLost(_))));
    assert!(bench.embedding_files().is_empty());
    bench.finish(other, &[2.0]).await;
    assert_eq!(bench.kept(), [2.0]);
}

#[tokio::test]
async fn a_file_without_a_row_does_no_harm_and_the_job_that_runs_again_replaces_it() {
    let bench = Bench::new().await;
    bench.complete(&["vit"]).await;
    let _job = bench.claim_first().await;
    let target = bench.folder.path().join(PATH);
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::write(&target, file(3, "1.0.0", &[9.0])).unwrap();
    std::fs::write(bench.folder.path().join("incoming/7.part"), b"half a file of embeddings").unwrap();
    let bench = bench.after_crash().await;
    assert_eq!(bench.embedding_files(), [target]);
    assert!(bench.store.embeddings_after(None).await.unwrap().is_empty());
    let again = bench.claim_first().await;
    bench.finish(again, &[1.0]).await;
    assert_eq!(bench.kept(), [1.0]);
    assert_eq!(bench.store.embeddings_after(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn rebuilding_the_index_finds_embeddings_and_drops_rows_whose_file_is_gone_or_damaged() {
    let bench = Bench::new().await;
    bench.complete(&["vit"]).await;
    let job = bench.claim_first().await;
    bench.finish(job, &[1.0, 2.0]).await;
    let before = bench.store.embeddings_of("1.2.1").await.unwrap();
    let Bench { folder, clock, store } = bench;
    store.close().await.unwrap();
    drop(store);
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    let store = Store::open_for_reindex(folder.path(), StoreOptions::default(), clock.clone()).await.unwrap();
    let bench = Bench { folder, clock, store };
    // Embeddings of another study, in the wrong place, and no embeddings at all.
    let (other, wrong) = (bench.folder.path().join("embeddings/1.2.9/1.2.9.1"), bench.folder.path().join(PATH));
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(&wrong, other.join("vit-1.0.0.safetensors")).unwrap();
    std::fs::write(wrong.with_file_name("vit-2.safetensors"), b"nonsense").unwrap();
    let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!((report.embeddings, report.lost_embeddings), (1, 0));
    let after = bench.store.embeddings_of("1.2.1").await.unwrap();
    let known = |found: &[KeptEmbeddings]| {
        found.iter().map(|k| (k.path.clone(), k.revision, k.space_sha256.clone())).collect::<Vec<_>>()
    };
    assert_eq!(known(&after), known(&before));

    let whole = std::fs::read(&wrong).unwrap();
    std::fs::write(&wrong, &whole[..whole.len() - 1]).unwrap();
    let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!((report.embeddings, report.lost_embeddings), (0, 1));
    assert!(bench.store.embeddings_of("1.2.1").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_series_whose_slices_were_deleted_keeps_its_embeddings() {
    let bench = Bench::new().await;
    bench.complete(&["vit"]).await;
    let job = bench.claim_first().await;
    bench.finish(job, &[1.0]).await;
    sqlx::raw_sql("DELETE FROM job_attempt; DELETE FROM job; DELETE FROM route_decision")
        .execute(&mut *bench.store.inner.writer.lock().await.unwrap())
        .await
        .unwrap();
    std::fs::remove_dir_all(bench.folder.path().join("instances/1.2.1")).unwrap();
    let report = bench.store.reindex(false, |_, _| {}).await.unwrap();
    assert_eq!((report.removed, report.embeddings), (3, 1));
    assert_eq!(bench.store.embeddings_of("1.2.1").await.unwrap().len(), 1);
}

#[test]
fn a_file_says_of_what_it_is_and_tables_give_their_mean_vector() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let table: Vec<f32> = (0..3 * 50_000).map(|at| (at % 3) as f32 + (at / 3) as f32).collect();
    let of = EmbeddingFile::open(&{
        std::fs::write(&path, file(7, "2", &[0.5])).unwrap();
        path.clone()
    });
    let of = of.unwrap().of().clone();
    assert_eq!((of.revision, of.model_version.as_str(), of.study_instance_uid.as_str()), (Some(7), "2", "1.2.1"));
    let tensors = [
        EmbeddingTensor { name: "patches", shape: &[1, 50_000, 3], values: &table },
        EmbeddingTensor { name: "cls", shape: &[1, 2], values: &[1.0, 2.0] },
        EmbeddingTensor { name: "none", shape: &[0, 4], values: &[] },
    ];
    std::fs::write(&path, embedding_file(&of, &tensors).unwrap()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(embedding_file(&of, &tensors).unwrap(), bytes, "the same content is the same bytes");
    let read = EmbeddingFile::open(&path).unwrap();
    let names: Vec<&str> = read.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!((read.of(), names.first()), (&of, Some(&"patches")), "in the order of the package");
    assert_eq!(read.values("patches").unwrap().unwrap(), table);
    assert_eq!(read.mean_vector("patches").unwrap().unwrap(), [24_999.5, 25_000.5, 25_001.5]);
    assert_eq!(read.mean_vector("cls").unwrap().unwrap(), [1.0, 2.0]);
    assert_eq!(read.mean_vector("none").unwrap().unwrap(), [0.0; 4]);
    assert_eq!(read.values("registers").unwrap(), None);
    // What others read in it.
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("patches").unwrap().shape(), [1, 50_000, 3]);
    assert_eq!(theirs.tensor("cls").unwrap().data(), [1.0_f32, 2.0].map(f32::to_le_bytes).concat());
    assert!(embedding_file(&of, &[EmbeddingTensor { name: "cls", shape: &[2], values: &[1.0] }]).is_err());
}

#[test]
fn damaged_files_are_no_embeddings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let whole = file(1, "1", &[1.0, 2.0]);
    let changed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        [&whole[..at], to.as_bytes(), &whole[at + from.len()..]].concat()
    };
    let damaged = [
        Vec::new(),
        whole[..5].to_vec(),
        whole[..40].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat(),
        changed("F32", "F16"),
        changed("[1,2]", "[1,9]"),
        changed("[1,2]", "[-12]"),
        changed("[0,8]", "[4,8]"),
        changed("study_uid", "study_xyz"),
        changed("1.2.1.1", "../../x"),
    ];
    for bytes in damaged {
        std::fs::write(&path, &bytes).unwrap();
        let opened = EmbeddingFile::open(&path);
        assert!(matches!(opened, Err(StoreError::NoEmbeddings { .. })), "{opened:?}");
    }
}

#[test]
fn a_version_is_a_file_name_whatever_it_says() {
    let path = |model: &str, version: &str| {
        let study = StudyInstanceUid::parse("1.2").unwrap();
        layout::Layout::embedding(&study, &SeriesInstanceUid::parse("1.3").unwrap(), model, version)
    };
    assert_eq!(path("vit", "1.0.0"), "embeddings/1.2/1.3/vit-1.0.0.safetensors");
    for version in ["../../../etc/x", "1/2", "großartig", "1.0-rc1", ""] {
        let name = path("vit", version);
        let name = name.strip_prefix("embeddings/1.2/1.3/vit-").unwrap();
        assert!(!name.contains('/') && !name.contains('-') && name.is_ascii(), "{name}");
    }
    assert_ne!(path("vit", "1/2"), path("vit", "1_2"));
    assert_ne!(path("vit", "large-1.0"), path("vit-large", "1.0"));
}
