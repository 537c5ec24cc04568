//! The lanes of the outbox by a clock that stands: what rests, for how long, and what does not wait for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dicom_dictionary_std::uids;
use overread::association::Timers;
use overread::association::requestor::PeerAddress;
use overread::clock::{Clock, Timestamp};
use overread::dicom::VR;
use overread::dicom::ae::AeTitle;
use overread::dicom::encode::part10_header;
use overread::dicom::tags;
use overread::dicom::uid::{SopClassUid, SopInstanceUid, StudyInstanceUid, TransferSyntaxUid};
use overread::scu::Delivery;
use overread::scu::outcome::Patience;
use overread::store::{
    Completed, Completion, DeliveryState, DeliveryStory, NewInstance, NewJob, NewResult, Reception, Resend, Store,
    StoreOptions,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::testkit::instance::{ct, explicit};
use crate::testkit::receiver::{Answer, Receiver, eventually};
use crate::testkit::wire::{EXPLICIT_LE, IMPLICIT_LE};

const REPORT: &str = uids::COMPREHENSIVE3_DSR_STORAGE;
const SEGMENTATION: &str = uids::SEGMENTATION_STORAGE;
const RETRY_MS: i64 = 10_000;
const STUDY: &str = "1.2.3";

/// A store with a loop that delivers to one destination.
struct Outbox {
    _folder: TempDir,
    clock: Clock,
    store: Store,
    stop: CancellationToken,
    drained: CancellationToken,
    delivery: JoinHandle<()>,
}

impl Outbox {
    async fn to(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp(1_767_225_600_000));
        let options = StoreOptions { reserve_bytes: 0, ..StoreOptions::default() };
        let store = Store::open(folder.path(), options, clock.clone()).await.unwrap();
        let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
        let pacs = PeerAddress { ae_title: title("PACS"), host: address.ip().to_string(), port: address.port() };
        let delivery = Delivery {
            store: store.clone(),
            clock: clock.clone(),
            own: title("OVERREAD"),
            peers: vec![pacs],
            allow_untrained: false,
            timers: Timers::default(),
            patience: Patience {
                retry: Duration::from_millis(RETRY_MS.unsigned_abs()),
                longest_retry: Duration::from_secs(3600),
                give_up: Duration::from_secs(7 * 86_400),
            },
        };
        let delivery = tokio::spawn(delivery.run(stop.clone(), drained.clone()));
        Self { _folder: folder, clock, store, stop, drained, delivery }
    }

    /// A series comes, is read, and its result is in the outbox.
    async fn make(&self, number: u32, sop_class: &str) {
        let mut source = ct(&format!("1.2.3.{number}.1"));
        source.put_uid(tags::SERIES_INSTANCE_UID, &format!("1.2.3.{number}"));
        let announced = NewInstance {
            sop_class_uid: source.uid(tags::SOP_CLASS_UID, SopClassUid::parse).unwrap(),
            sop_instance_uid: source.uid(tags::SOP_INSTANCE_UID, SopInstanceUid::parse).unwrap(),
            transfer_syntax_uid: TransferSyntaxUid::explicit_le(),
            calling_ae_title: title("CT1"),
        };
        let mut file = self.store.begin_instance(announced).unwrap();
        file.write(&explicit(&source)).await.unwrap();
        let reception = Reception {
            header: &source,
            association_id: "a1",
            peer_address: SocketAddr::from(([192, 0, 2, 7], 40_000)),
            received_at: self.clock.now(),
        };
        self.store.record_instance(file, reception).await.unwrap();
        let series = self.store.series_receiving().await.unwrap().remove(0);
        let jobs = [NewJob {
            model_name: "m".to_owned(),
            model_version: "1".to_owned(),
            model_hash: "00".to_owned(),
            route: 0,
            reason: String::new(),
            destinations: vec![title("PACS")],
        }];
        let completion =
            Completion { series: series.key, revision: series.revision, signal: "quiet", decisions: &[], jobs: &jobs };
        let completed = self.store.complete_series(&completion, self.clock.now()).await.unwrap();
        assert!(matches!(completed, Completed::Complete(_)));
        let job = self.store.claim_job(self.clock.now(), 60_000).await.unwrap().unwrap();
        let made = result(number, sop_class);
        self.store.finish_job(job, "read", vec![made], None, self.clock.now()).await.unwrap();
    }

    /// All deliveries, in the order of their jobs.
    async fn deliveries(&self) -> Vec<DeliveryStory> {
        let studies = self.store.why(STUDY).await.unwrap();
        let jobs = studies.into_iter().flat_map(|study| study.series).flat_map(|series| series.jobs);
        jobs.flat_map(|job| job.results).flat_map(|result| result.deliveries).collect()
    }

    /// How often the deliveries that had no answer have been tried.
    async fn attempts(&self) -> u32 {
        let deliveries = self.deliveries().await;
        deliveries.iter().filter(|delivery| !delivery.no_answer.is_empty()).map(|delivery| delivery.attempts).sum()
    }

    /// The one delivery, once it is in this state.
    async fn in_state(&self, state: DeliveryState) -> DeliveryStory {
        eventually("the delivery is as it should be", async || {
            self.deliveries().await.pop().filter(|delivery| delivery.state == state)
        })
        .await
    }

    /// Moves the clock on until there have been so many attempts.
    async fn until_attempt(&self, wanted: u32) {
        eventually("the next attempt", async || {
            if self.attempts().await >= wanted {
                return Some(());
            }
            self.clock.advance_ms(RETRY_MS);
            None
        })
        .await;
    }
}

fn title(text: &str) -> AeTitle {
    AeTitle::parse(text).unwrap()
}

fn result(number: u32, sop_class: &str) -> NewResult {
    let uid = format!("1.2.3.{number}.900.1");
    let mut ds = ct(&uid);
    ds.put_uid(tags::SOP_CLASS_UID, sop_class);
    ds.put_uid(tags::SERIES_INSTANCE_UID, &format!("1.2.3.{number}.900"));
    ds.put_text(tags::MODALITY, VR::CS, "SR");
    let mut file = part10_header(
        &SopClassUid::parse(sop_class).unwrap(),
        &SopInstanceUid::parse(&uid).unwrap(),
        &TransferSyntaxUid::explicit_le(),
        None,
    );
    file.extend(explicit(&ds));
    NewResult { kind: "report", file: file.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_breaks_every_association_holds_up_no_other() {
    let receiver = Receiver::start();
    receiver.answer(|class| if class == SEGMENTATION { Answer::Abort } else { Answer::Status(0) });
    let outbox = Outbox::to(receiver.address).await;
    outbox.make(1, SEGMENTATION).await;
    outbox.until_attempt(6).await;
    let taken = receiver.taken().len();
    outbox.make(2, REPORT).await;
    outbox.clock.advance_ms(RETRY_MS);
    eventually("the report is taken", async || (receiver.taken().len() > taken).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_resends_does_not_wait_for_a_lane_that_rests() {
    let mut receiver = Receiver::closed();
    let outbox = Outbox::to(receiver.address).await;
    outbox.make(1, REPORT).await;
    outbox.make(2, REPORT).await;
    outbox.until_attempt(7).await;
    receiver.open();
    let study = StudyInstanceUid::parse(STUDY).unwrap();
    assert_eq!(outbox.store.resend(&Resend::Study(study), outbox.clock.now()).await.unwrap(), 2);
    eventually("both are taken", async || (receiver.taken().len() == 2).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_a_destination_that_was_down_goes_as_soon_as_it_answers() {
    let mut receiver = Receiver::closed();
    let outbox = Outbox::to(receiver.address).await;
    for number in 1..=3 {
        outbox.make(number, REPORT).await;
    }
    outbox.until_attempt(4).await;
    receiver.open();
    // One call is due within the backoff of the lane; what it finds out is for all.
    eventually("one is taken", async || {
        outbox.clock.advance_ms(RETRY_MS);
        (!receiver.taken().is_empty()).then_some(())
    })
    .await;
    eventually("all are taken", async || (receiver.taken().len() == 3).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_answers_no_release_delays_neither_the_next_result_nor_the_end() {
    let receiver = Receiver::start();
    receiver.answer_no_release();
    let outbox = Outbox::to(receiver.address).await;
    outbox.make(1, REPORT).await;
    eventually("the first is taken", async || (receiver.taken().len() == 1).then_some(())).await;
    outbox.make(2, REPORT).await;
    let begun = Instant::now();
    eventually("the second is taken", async || (receiver.taken().len() == 2).then_some(())).await;
    outbox.stop.cancel();
    outbox.drained.cancel();
    outbox.delivery.await.unwrap();
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_waited_too_long_for_a_destination_that_is_gone_is_given_up_with_one_call() {
    let down = Receiver::closed();
    let outbox = Outbox::to(down.address).await;
    for number in 1..=8 {
        outbox.make(number, REPORT).await;
    }
    outbox.until_attempt(1).await;
    outbox.clock.advance_ms(7 * 86_400_000);
    outbox.make(9, REPORT).await;
    let deliveries = eventually("the eight are given up", async || {
        let deliveries = outbox.deliveries().await;
        let dead = deliveries.iter().filter(|delivery| delivery.state == DeliveryState::Dead).count();
        (dead == 8).then_some(deliveries)
    })
    .await;
    let (dead, waiting): (Vec<_>, Vec<_>) = deliveries.iter().partition(|d| d.state == DeliveryState::Dead);
    assert!(dead.iter().all(|delivery| delivery.no_answer.contains("refused")), "{dead:?}");
    // Those before the week was over, and then one: a call for each of them would be eight.
    assert!(dead.iter().map(|delivery| delivery.attempts).sum::<u32>() < 6, "{dead:?}");
    assert_eq!(waiting.iter().map(|delivery| delivery.state).collect::<Vec<_>>(), [DeliveryState::Pending]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pacs_refuses_in_explicit_vr_is_offered_once_more_in_implicit_vr() {
    for status in [0xA900, 0xC001, 0x0122] {
        let receiver = Receiver::start();
        let mut first = true;
        receiver.answer(move |_| Answer::Status(if std::mem::take(&mut first) { status } else { 0 }));
        let outbox = Outbox::to(receiver.address).await;
        outbox.make(1, REPORT).await;
        let delivered = outbox.in_state(DeliveryState::Delivered).await;
        assert_eq!((delivered.attempts, delivered.last_status), (1, Some(0)));
        let syntaxes: Vec<String> = receiver.sent().into_iter().map(|sent| sent.transfer_syntax).collect();
        assert_eq!((syntaxes, receiver.associations()), (vec![EXPLICIT_LE.to_owned(), IMPLICIT_LE.to_owned()], 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_both_encodings_or_in_the_only_one_is_for_good() {
    for (takes_implicit, offers) in [(true, 2), (false, 1)] {
        let receiver = Receiver::start();
        receiver.take(move |_, syntax| syntax == EXPLICIT_LE || takes_implicit);
        receiver.answer(|_| Answer::Comment(0xA900, "no reports"));
        let outbox = Outbox::to(receiver.address).await;
        outbox.make(1, REPORT).await;
        let dead = outbox.in_state(DeliveryState::Dead).await;
        assert_eq!((dead.attempts, dead.last_status, &*dead.last_comment), (1, Some(0xA900), "no reports"));
        assert_eq!(receiver.sent().len(), offers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_room_is_no_matter_of_encodings() {
    let receiver = Receiver::start();
    let mut full = true;
    receiver.answer(move |_| Answer::Status(if std::mem::take(&mut full) { 0xA700 } else { 0 }));
    let outbox = Outbox::to(receiver.address).await;
    outbox.make(1, REPORT).await;
    eventually("it is offered", async || (!receiver.sent().is_empty()).then_some(())).await;
    eventually("it is taken later", async || {
        outbox.clock.advance_ms(RETRY_MS);
        (!receiver.taken().is_empty()).then_some(())
    })
    .await;
    assert!(receiver.sent().iter().all(|sent| sent.transfer_syntax == EXPLICIT_LE));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_of_a_pacs_is_kept_while_it_cannot_be_reached() {
    let receiver = Receiver::start();
    receiver.answer(|_| Answer::Comment(0xA700, "no room."));
    let outbox = Outbox::to(receiver.address).await;
    outbox.make(1, REPORT).await;
    eventually("it is offered", async || (!receiver.sent().is_empty()).then_some(())).await;
    drop(receiver);
    let waiting = eventually("it cannot be reached", async || {
        outbox.clock.advance_ms(RETRY_MS);
        outbox.deliveries().await.pop().filter(|delivery| !delivery.no_answer.is_empty())
    })
    .await;
    assert_eq!((waiting.last_status, &*waiting.last_comment), (Some(0xA700), "no room."));
    assert!(waiting.answered_at < waiting.last_attempt_at, "{waiting:?}");
}
