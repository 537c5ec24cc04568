#![allow(missing_docs, clippy::all, clippy::unwrap_used)]
use overread::{
    clock::*,
    dicom::{ae::AeTitle, data_set::DataSet, encode::Layout, status::Status, *},
    scp::find::*,
    store::*,
};
use sqlx::{ConnectOptions, sqlite::*};
use std::time::Instant;
fn main() {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(run())
}
struct Null(usize, usize);
impl PendingResponses for Null {
    type Error = ();
    async fn push(&mut self, _: Status, i: &[u8]) -> Result<(), ()> {
        self.0 += 1;
        self.1 += i.len();
        Ok(())
    }
    async fn flush(&mut self) -> Result<(), ()> {
        Ok(())
    }
    async fn is_cancelled(&mut self) -> Result<bool, ()> {
        Ok(false)
    }
}
async fn run() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let dir = format!("/tmp/scratch{n}");
    let _ = std::fs::remove_dir_all(&dir);
    let store = Store::open(dir.as_ref(), StoreOptions { reserve_bytes: 0, ..Default::default() }, Clock::System)
        .await
        .unwrap();
    let db = std::fs::read_dir(&dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "sqlite"))
        .unwrap();
    let mut c = SqliteConnectOptions::new().filename(&db).connect().await.unwrap();
    let sql=format!("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<{n}) INSERT INTO patient SELECT x,'P'||x,'P'||x,'','NAME'||(x%97)||'SMITH^JOHN'||x,lower('NAME'||(x%97)||'SMITH^JOHN'||x),'19700101','M' FROM n;
 INSERT INTO study SELECT patient_key,patient_key,'1.2.840.1234567.1234.12.'||patient_key,(2015+patient_key%10)||printf('%02d',1+patient_key/7%12)||printf('%02d',1+patient_key/3%28),'101010','ACC'||patient_key,'ID','CT CHEST','ct chest','REF^DOC','ref^doc','050Y',patient_id,'',patient_name,patient_name_folded,birth_date,sex,'CT','1.2.840.10008.5.1.4.1.1.2',1,10,0,0 FROM patient;");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut c).await.unwrap();
    let cols = "series_key,study_key,series_instance_uid,modality,series_number";
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("INSERT INTO series({cols},series_description,series_description_folded,series_date,series_time,body_part,protocol_name,laterality,patient_position,performed_date,performed_time,requested_procedure_id,scheduled_step_id,station_name,institution_name,manufacturer,manufacturer_model,performing_physician,operators_name,origin,state,first_received_at,last_received_at) SELECT study_key,study_key,study_instance_uid||'.1','CT',1,'d','d','','','','','','','','','','','','','','','','','received','read',0,0 FROM study;"))).execute(&mut c).await.unwrap();
    let t = tags::STUDY_INSTANCE_UID;
    let ret = [
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::STUDY_DESCRIPTION, VR::LO),
        (tags::PATIENT_NAME, VR::PN),
        (tags::PATIENT_ID, VR::LO),
        (tags::PATIENT_BIRTH_DATE, VR::DA),
        (tags::PATIENT_SEX, VR::CS),
        (t, VR::UI),
        (tags::STUDY_ID, VR::SH),
    ];
    let title = AeTitle::parse("OVERREAD").unwrap();
    for (what, tag, vr, v, reps) in [
        ("patient-id", tags::PATIENT_ID, VR::LO, "P77", 500),
        ("accession", tags::ACCESSION_NUMBER, VR::SH, "ACC77", 500),
        ("uid", t, VR::UI, "1.2.840.1234567.1234.12.77", 500),
        ("none", tags::PATIENT_ID, VR::LO, "XX", 500),
        ("name", tags::PATIENT_NAME, VR::PN, "NAME4*", 20),
        ("infix", tags::PATIENT_NAME, VR::PN, "*HN77*", 20),
        ("cyr", tags::PATIENT_NAME, VR::PN, "Иван*", 20),
        ("month", tags::STUDY_DATE, VR::DA, "20190301-20190331", 50),
        ("all", tags::STUDY_DATE, VR::DA, "", 5),
    ] {
        for _ in 0..2 {
            let start = Instant::now();
            let mut null = Null(0, 0);
            for _ in 0..reps {
                let mut id = DataSet::new();
                id.put_text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, "STUDY");
                for (t, v) in ret {
                    id.put_text(t, v, "");
                }
                if v.is_ascii() {
                } else {
                    id.put_text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
                }
                id.put_text(tag, vr, v);
                let e = find(
                    &store,
                    FindRequest {
                        model: Model::StudyRoot,
                        identifier: &id,
                        retrieve_ae_title: &title,
                        layout: Layout::ImplicitLe,
                    },
                    &mut null,
                )
                .await
                .unwrap();
                assert_eq!(e.status, Status::SUCCESS);
            }
            let el = start.elapsed();
            println!(
                "{what}: {:?}/query, {} matches/query, {:.0} matches/s, {} B",
                el / reps,
                null.0 / reps as usize,
                null.0 as f64 / el.as_secs_f64(),
                null.1 / null.0.max(1)
            );
        }
    }
}
