//! How SQLite goes about the statements: what must be quick must not read whole tables.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::store::StoreOptions;

async fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
    let store = Store::open(folder.path(), options, Clock::manual(Timestamp(0))).await.unwrap();
    (folder, store)
}

fn asking(level: Level, conditions: &[(Tag, Matching)]) -> FindQuery {
    let condition = |(tag, matching): &(Tag, Matching)| Condition {
        attribute: Attribute::of(*tag).unwrap(),
        any_of: vec![matching.clone()],
    };
    let returned = [tags::PATIENT_NAME, tags::PATIENT_ID].map(|tag| Attribute::of(tag).unwrap()).to_vec();
    FindQuery { level, conditions: conditions.iter().map(condition).collect(), returned }
}

/// The steps that SQLite takes, one text each.
async fn steps(store: &Store, query: &FindQuery) -> Vec<String> {
    let plan = Plan::new(query);
    let mut steps = Vec::new();
    for sql in [plan.first(PAGE), plan.keys()] {
        let mut statement = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        for bind in &plan.binds {
            statement = match bind {
                Bind::Text(text) => statement.bind(text.clone()),
                Bind::Number(number) => statement.bind(*number),
            };
        }
        let rows = statement.fetch_all(store.readers()).await.unwrap();
        steps.extend(rows.iter().map(|row| row.get::<String, _>("detail")));
    }
    steps
}

fn equal(text: &str) -> Matching {
    Matching::Equal(text.to_owned())
}

fn name(pattern: &str) -> Matching {
    Matching::Name(vec![pattern.to_owned()])
}

#[tokio::test]
async fn what_names_one_thing_or_a_beginning_is_looked_up_in_an_index() {
    let (_folder, store) = store().await;
    let month = Matching::Range { from: Some("20240101".to_owned()), to: Some("20240131".to_owned()) };
    let cases = [
        asking(Level::Patient, &[(tags::PATIENT_ID, equal("P1"))]),
        asking(Level::Patient, &[(tags::PATIENT_NAME, name("smi*"))]),
        asking(Level::Patient, &[(tags::PATIENT_NAME, name("иван*"))]),
        asking(Level::Study, &[(tags::PATIENT_ID, equal("P1"))]),
        asking(Level::Study, &[(tags::PATIENT_ID, Matching::Wildcard("P1*".to_owned()))]),
        asking(Level::Study, &[(tags::ACCESSION_NUMBER, equal("A1"))]),
        asking(Level::Study, &[(tags::STUDY_INSTANCE_UID, equal("1.2"))]),
        asking(Level::Study, &[(tags::STUDY_DATE, month)]),
        asking(Level::Study, &[(tags::PATIENT_NAME, name("smith^john"))]),
        asking(Level::Study, &[(tags::PATIENT_NAME, name("山田*"))]),
        asking(Level::Series, &[(tags::STUDY_INSTANCE_UID, equal("1.2"))]),
        asking(Level::Image, &[(tags::STUDY_INSTANCE_UID, equal("1.2")), (tags::SERIES_INSTANCE_UID, equal("1.2.3"))]),
        asking(Level::Image, &[(tags::STUDY_INSTANCE_UID, equal("1.2")), (tags::SOP_INSTANCE_UID, equal("1.2.3.4"))]),
    ];
    let scans = |steps: &[String]| steps.iter().any(|s| s.starts_with("SCAN ") && !s.starts_with("SCAN (subquery"));
    for query in cases {
        let steps = steps(&store, &query).await;
        assert!(!scans(&steps), "{query:?}: {steps:#?}");
    }
    let infix = asking(Level::Study, &[(tags::PATIENT_NAME, name("*ith*"))]);
    assert!(scans(&steps(&store, &infix).await), "a scan goes by another name");
}

#[tokio::test]
async fn the_text_of_a_statement_depends_on_the_shape_of_the_question_alone() {
    let one = Plan::new(&asking(Level::Study, &[(tags::PATIENT_ID, equal("P1"))]));
    let other = Plan::new(&asking(Level::Study, &[(tags::PATIENT_ID, equal("'; DROP TABLE study; --"))]));
    assert_eq!(one.first(PAGE), other.first(PAGE));
    assert_ne!(one.binds, other.binds);
}

#[tokio::test]
async fn lists_are_answered_however_long_they_are_and_by_one_statement() {
    let (_folder, store) = store().await;
    let list = |tag: Tag, length: usize, matching: &dyn Fn(usize) -> Matching| FindQuery {
        level: Level::Study,
        conditions: vec![Condition {
            attribute: Attribute::of(tag).unwrap(),
            any_of: (0..length).map(matching).collect(),
        }],
        returned: vec![Attribute::of(tags::PATIENT_ID).unwrap()],
    };
    let uid = |number: usize| Matching::Equal(format!("1.2.{number}"));
    for tag in [tags::STUDY_INSTANCE_UID, tags::SOP_CLASSES_IN_STUDY] {
        for length in [2, 1001, 20_000, 40_000] {
            let answered = store.find(&list(tag, length, &uid)).next_page().await;
            assert!(answered.is_ok(), "{tag} {length}: {answered:?}");
            let (two, many) = (Plan::new(&list(tag, 2, &uid)), Plan::new(&list(tag, length, &uid)));
            assert_eq!(two.first(PAGE), many.first(PAGE), "{tag} {length}");
        }
    }
    let numbers = FindQuery { level: Level::Image, ..list(tags::ROWS, 5000, &|n| Matching::Number(n as i64)) };
    assert!(store.find(&numbers).next_page().await.is_ok());
}

/// A question that the database would answer for ever.
const FOR_EVER: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";

async fn store_with_one_finder() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions { reserve_bytes: 0, finders: 1, ..StoreOptions::default() };
    let store = Store::open(folder.path(), options, Clock::manual(Timestamp(0))).await.unwrap();
    (folder, store)
}

/// Waits at most so long: what is to be stopped must not stop the tests.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(20), future).await.expect("it ends soon")
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_is_stopped() {
    let (_folder, store) = store_with_one_finder().await;
    let matches = store.find(&asking(Level::Study, &[]));
    let mut asked = Box::pin(matches.text(FOR_EVER.to_owned(), &[]));
    // The database is at it.
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), &mut asked).await.is_err());
    drop(asked);
    drop(matches);
    assert!(soon(store.find(&asking(Level::Study, &[])).next_page()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_store_that_closes_waits_for_no_question() {
    let (_folder, store) = store_with_one_finder().await;
    let matches = store.find(&asking(Level::Study, &[]));
    let (answer, closed) = soon(async {
        tokio::join!(matches.text(FOR_EVER.to_owned(), &[]), async {
            while store.finders().size() == 0 || store.finders().num_idle() > 0 {
                tokio::task::yield_now().await;
            }
            store.close().await
        })
    })
    .await;
    closed.unwrap();
    assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
}

#[tokio::test]
async fn a_question_that_takes_too_long_is_stopped_and_refused() {
    let (_folder, store) = store_with_one_finder().await;
    let mut matches = store.find(&asking(Level::Study, &[]));
    matches.longest = std::time::Duration::from_millis(100);
    let refused = soon(matches.text(FOR_EVER.to_owned(), &[])).await;
    assert!(matches!(refused, Err(StoreError::TooLong(_))), "{refused:?}");
    assert!(soon(store.find(&asking(Level::Study, &[])).next_page()).await.unwrap().is_none());
}
