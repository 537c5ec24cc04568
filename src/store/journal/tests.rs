use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;

struct Bench {
    folder: TempDir,
    journal: Arc<Journal>,
}

impl Bench {
    fn new() -> Self {
        Self::with_reserve(0)
    }

    fn with_reserve(bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Arc::new(Layout::create(folder.path()).unwrap());
        Self { journal: Arc::new(Journal::new(layout, bytes)), folder }
    }

    fn keep(&self, place: &str, content: &[u8]) -> bool {
        self.journal.keep(&[file(place, content)])
    }

    /// Where the words of the segment end that is being filled.
    fn filled(&self) -> u64 {
        let pages = self.journal.pages();
        pages.segments[pages.filling].end
    }

    fn replay(&self) -> usize {
        replay(&self.journal.layout).unwrap()
    }

    fn path(&self, place: &str) -> PathBuf {
        self.folder.path().join(place)
    }

    fn content(&self, place: &str) -> Option<Vec<u8>> {
        fs::read(self.path(place)).ok()
    }

    /// Changes one byte of the first segment.
    fn flip(&self, at: u64) {
        let file = File::options().read(true).write(true).open(self.journal.layout.journal(0)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }
}

const CAME: Timestamp = Timestamp(1_767_225_600_123);

fn file<'a>(place: &'a str, content: &'a [u8]) -> Word<'a> {
    Word::File(Entry { place, content, came: CAME })
}

const A: &str = "instances/1.2/1.3/1.4.1.dcm";
const B: &str = "instances/1.2/1.3/1.4.2.dcm";
const C: &str = "instances/1.2/1.9/1.4.3.dcm";

#[test]
fn what_was_kept_is_written_again_over_whatever_lies_there() {
    let bench = Bench::new();
    assert!(bench.journal.keep(&[file(A, b"one"), file(B, &[7; LONGEST])]));
    assert!(bench.keep(C, b""));
    fs::create_dir_all(bench.path(A).parent().unwrap()).unwrap();
    fs::write(bench.path(A), b"torn").unwrap();
    assert_eq!(bench.replay(), 3);
    assert_eq!(bench.content(A).unwrap(), b"one");
    assert_eq!(bench.content(B).unwrap(), [7; LONGEST]);
    assert_eq!(bench.content(C).unwrap(), b"");
    let modified = fs::metadata(bench.path(A)).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(), 1_767_225_600_123);
    assert!(!bench.path("journal.0").exists(), "it has done its work");
    assert_eq!(bench.replay(), 0);
}

#[test]
fn what_did_not_come_to_the_disk_whole_is_no_word() {
    // The second record, of three of one block each: its magic, its generation, its length, its checksum, its place, its content.
    for at in [0, 8, 24, 40, 48, 48 + A.len() as u64] {
        let bench = Bench::new();
        for place in [A, B, C] {
            assert!(bench.keep(place, b"content"));
        }
        bench.flip(4096 + at);
        assert_eq!(bench.replay(), 1, "{at}");
        assert!(bench.path(A).exists() && !bench.path(B).exists() && !bench.path(C).exists(), "{at}");
    }
}

#[test]
fn a_journal_that_is_cut_short_gives_what_is_before_the_cut() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"one") && bench.keep(B, &[1; 20_000]));
    File::options().write(true).open(bench.path("journal.0")).unwrap().set_len(4096 + 1000).unwrap();
    assert_eq!(bench.replay(), 1);
    assert_eq!(bench.content(A).unwrap(), b"one");
}

#[test]
fn the_last_word_about_a_place_counts() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"first") && bench.keep(B, b"first") && bench.keep(C, b"first"));
    bench.journal.forget(A).unwrap();
    bench.journal.forget(B).unwrap();
    assert!(bench.keep(B, b"second") && bench.keep(C, b"second"));
    assert_eq!(bench.replay(), 2);
    assert_eq!(bench.content(A), None);
    assert_eq!(bench.content(B).unwrap(), b"second");
    assert_eq!(bench.content(C).unwrap(), b"second");
}

/// Fills the segment that is being filled, but for a part.
fn fill(bench: &Bench, leave: u64) {
    let large = [9; LONGEST];
    let places: Vec<String> = (0..32).map(|n| format!("instances/1.2/1.3/1.5.{n}.dcm")).collect();
    let words: Vec<Word<'_>> = places.iter().map(|place| file(place, &large)).collect();
    let bytes: u64 = words.iter().map(Word::record_bytes).sum();
    while bench.filled() + bytes + leave <= SEGMENT_BYTES {
        assert!(bench.journal.keep(&words));
    }
}

#[test]
fn a_full_segment_is_settled_and_filled_again() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"first") && bench.keep(B, b"first"));
    fill(&bench, 0);
    // More than is left.
    let large = [5; LONGEST];
    let words: Vec<Word<'_>> = [file(A, b"second")].into_iter().chain((0..40).map(|_| file(C, &large))).collect();
    assert!(bench.journal.keep(&words));
    assert_eq!(bench.journal.pages().filling, 1);
    while bench.journal.pages().segments[0].end > 0 {
        thread::yield_now();
    }
    // What is settled is on the disk by itself: somebody else sees to it.
    let places = |bench: &Bench| [A, B, C].map(|place| bench.content(place).map(|content| content[0]));
    assert_eq!(bench.replay(), 2);
    assert_eq!(places(&bench), [Some(b's'), None, Some(5)]);
}

#[test]
fn the_later_fill_has_the_last_word_whichever_segment_it_is_in() {
    for turns in [1, 2] {
        let bench = Bench::new();
        let content = |n: usize| vec![b'a' + u8::try_from(n).unwrap(); LONGEST];
        assert!(bench.keep(A, &content(0)));
        for n in 1..=turns {
            // The one to be filled next is free; the last one that was filled keeps its words.
            while bench.journal.pages().segments[n % 2].end > 0 {
                thread::yield_now();
            }
            let before = fs::read(bench.path(&format!("journal.{}", (n - 1) % 2))).unwrap();
            fill(&bench, 0);
            let words: Vec<_> = content(n).chunks(LONGEST).map(<[u8]>::to_vec).collect();
            let words: Vec<Word<'_>> = std::iter::repeat_n(file(A, &words[0]), 40).collect();
            assert!(bench.journal.keep(&words));
            while bench.journal.pages().segments[(n - 1) % 2].end > 0 {
                thread::yield_now();
            }
            // As if the power had gone before it was free.
            fs::write(bench.path(&format!("journal.{}", (n - 1) % 2)), before).unwrap();
        }
        assert!(bench.replay() > 0);
        assert_eq!(bench.content(A).unwrap(), content(turns), "{turns}");
    }
}

#[test]
fn where_there_is_no_room_to_forget_all_is_settled() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"first"));
    fill(&bench, 0);
    let left = SEGMENT_BYTES - bench.filled();
    assert!(bench.keep(B, &[1]) && left > 0);
    while bench.filled() < SEGMENT_BYTES {
        assert!(bench.keep(B, &[1]));
    }
    bench.journal.forget(A).unwrap();
    assert!(bench.journal.pages().segments.iter().all(|segment| segment.end == 0));
    // What was there before is still behind what comes now, and no word any more.
    assert!(bench.keep(C, b"later"));
    assert_eq!(bench.replay(), 1);
    assert_eq!(bench.content(C).unwrap(), b"later");
}

#[test]
fn no_word_outlives_one_that_came_after_it() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"first"));
    fill(&bench, 0);
    let large = [5; LONGEST];
    let words: Vec<Word<'_>> = [Word::Forget(A)].into_iter().chain((0..40).map(|_| file(C, &large))).collect();
    let older = fs::read(bench.path("journal.0")).unwrap();
    assert!(bench.journal.keep(&words));
    while bench.journal.pages().segments[0].end > 0 {
        thread::yield_now();
    }
    fs::write(bench.path("journal.0"), older).unwrap();
    assert!(bench.replay() > 0);
    assert_eq!(bench.content(A), None);
}

#[test]
fn the_older_fill_goes_away_first() {
    for turns in [0, 1] {
        let bench = Bench::new();
        assert!(bench.keep(A, b"first"));
        if turns == 1 {
            fill(&bench, 0);
            let large = [5; LONGEST];
            assert!(bench.journal.keep(&std::iter::repeat_n(file(C, &large), 40).collect::<Vec<_>>()));
        }
        assert_eq!(bench.journal.pages().oldest_first(), [1 - turns, turns]);
        // The newer one cannot be removed, and the older is gone by then.
        let newer = bench.path(&format!("journal.{turns}"));
        fs::remove_file(&newer).unwrap();
        fs::create_dir(&newer).unwrap();
        bench.journal.close().unwrap_err();
        assert!(!bench.path(&format!("journal.{}", 1 - turns)).exists());
    }
}

#[test]
fn the_reserve_of_the_disk_is_left_alone() {
    let bench = Bench::with_reserve(u64::MAX);
    assert!(!bench.keep(A, b"one"));
    bench.journal.forget(A).unwrap();
    assert!(!bench.path("journal.0").exists());
}

impl Bench {
    /// The file system has told once that something could not be written, and will not tell again.
    fn break_disk(&self) {
        let State::Open(files) = &self.journal.pages().state else { panic!("not open") };
        *files.has_failed.lock().unwrap() = true;
    }
}

/// More than what is left in a full segment.
fn too_much<'a>(content: &'a [u8]) -> Vec<Word<'a>> {
    std::iter::repeat_n(file(C, content), 40).collect()
}

#[test]
fn a_journal_that_fails_is_left_where_files_may_not_be_on_the_disk() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"one"));
    fill(&bench, 0);
    // The second segment cannot be made.
    fs::create_dir(bench.path("journal.1")).unwrap();
    bench.break_disk();
    assert!(!bench.journal.keep(&too_much(&[5; LONGEST])));
    assert!(!bench.keep(B, b"two"));
    bench.journal.forget(A).unwrap_err();
    bench.journal.close().unwrap();
    fs::remove_dir(bench.path("journal.1")).unwrap();
    assert!(bench.replay() > 0);
    assert_eq!(bench.content(A).unwrap(), b"one");
    assert!(!bench.path(B).exists() && !bench.path(C).exists());
}

#[test]
fn a_journal_that_fails_goes_away_where_all_files_are_on_the_disk() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"one"));
    fs::remove_file(bench.path("journal.0")).unwrap();
    bench.journal.pages().segments[0] = Segment::default();
    fs::create_dir(bench.path("journal.0")).unwrap();
    assert!(!bench.keep(B, b"two"), "it cannot be made");
    fs::remove_dir(bench.path("journal.0")).unwrap();
    bench.journal.forget(B).unwrap();
    assert!(!bench.keep(B, b"two"), "until the next start");
}

#[test]
fn a_file_system_that_failed_once_is_not_believed_again() {
    // Whoever asks: the end, who forgets, who settles.
    for asks in 0..3 {
        let bench = Bench::new();
        assert!(bench.keep(A, b"one"));
        fill(&bench, 0);
        bench.break_disk();
        match asks {
            0 => {}
            1 => {
                while bench.filled() < SEGMENT_BYTES {
                    assert!(bench.keep(B, &[1]));
                }
                bench.journal.forget(A).unwrap_err();
            }
            _ => {
                assert!(bench.journal.keep(&too_much(&[5; LONGEST])));
                while matches!(bench.journal.pages().state, State::Open(_)) {
                    thread::yield_now();
                }
            }
        }
        assert_eq!(bench.journal.close().is_err(), asks == 0, "{asks}");
        bench.replay();
        assert_eq!(bench.content(A).unwrap(), b"one", "{asks}");
    }
}

#[test]
fn where_there_is_no_room_some_files_go_by_themselves_before_it_is_asked_again() {
    let bench = Bench::with_reserve(u64::MAX);
    assert!(bench.journal.takes_next());
    assert!(!bench.keep(A, b"one"));
    let taken = (0..2 * RESTS).filter(|_| bench.journal.takes_next()).count();
    assert_eq!(u32::try_from(taken).unwrap(), RESTS, "all after the rest");
}

#[test]
fn no_peer_can_say_what_the_journal_will_take_for_its_own() {
    let generations: Vec<u64> = (0..20).map(|_| Bench::new().journal.pages().generation).collect();
    assert!(generations.iter().all(|generation| generation.leading_zeros() < 32), "{generations:?}");
    // What is sent may look like a record of the second fill, were they counted from the first.
    let mut looks = Vec::new();
    file(A, b"planted").encode(2, &mut looks);
    let bench = Bench::new();
    let mut content = vec![0; BLOCK - record::HEAD - B.len()];
    content.extend_from_slice(&looks);
    assert!(bench.keep(B, &content) && bench.keep(C, b"longer than before"));
    bench.journal.pages().segments[0].end = 0;
    bench.journal.pages().generation += 1;
    assert!(bench.keep(C, b"first block"));
    assert_eq!(bench.replay(), 1);
    assert!(!bench.path(A).exists());
}

#[test]
fn one_that_made_none_leaves_that_of_another_process() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"one"));
    let tool = Arc::new(Journal::new(bench.journal.layout.clone(), 0));
    tool.forget(A).unwrap();
    tool.close().unwrap();
    assert_eq!(bench.replay(), 1);
}

#[test]
fn closed_in_order_it_leaves_nothing() {
    let bench = Bench::new();
    assert!(bench.keep(A, b"one"));
    bench.journal.close().unwrap();
    assert!(!bench.path("journal.0").exists());
    assert!(!bench.keep(B, b"two"));
    bench.journal.close().unwrap();
}

#[test]
fn a_place_that_is_none_of_an_instance_is_refused() {
    for place in ["instances/../index.sqlite", "/etc/passwd", "results/1/2/3.dcm", "index.sqlite"] {
        let bench = Bench::new();
        assert!(bench.keep(place, b"one"));
        let error = replay(&bench.journal.layout).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        assert!(bench.path("journal.0").exists(), "nothing is thrown away");
        assert!(!Path::new(place).is_absolute() || fs::read(place).unwrap() != b"one");
    }
}
