//! Several sequences side by side, as the beam search of `transformers` keeps them: in single precision, in its order.

use crate::inference::manifest::Generate;

/// What `transformers` adds to a score that must not win.
const OUT_OF_QUESTION: f32 = -1.0e9;

/// The beams of a search.
#[derive(Debug, Clone)]
pub(super) struct Beams {
    /// What is gone on with, the likeliest first.
    running: Vec<Sequence>,
    /// The best whole sequences so far, the best first; at the start none is whole.
    finished: Vec<Finished>,
    /// Whether what runs may still become better than what is whole.
    improvable: bool,
    ended: bool,
}

#[derive(Debug, Clone)]
struct Sequence {
    tokens: Vec<i64>,
    /// Which of the running sequences it was before its last token.
    parent: usize,
    /// Sum of the logarithms of its tokens' probabilities.
    score: f32,
}

#[derive(Debug, Clone)]
struct Finished {
    sequence: Sequence,
    whole: bool,
}

/// A sequence with one more token.
struct Candidate {
    sequence: Sequence,
    /// Whether it ends here.
    ends: bool,
}

impl Beams {
    pub(super) fn new(start: i64, beams: usize) -> Self {
        let sequence = |parent, score| Sequence { tokens: vec![start], parent, score };
        // All begin the same: only the first counts in the first step.
        let running = (0..beams).map(|beam| sequence(beam, if beam == 0 { 0.0 } else { OUT_OF_QUESTION })).collect();
        let finished = vec![Finished { sequence: sequence(0, OUT_OF_QUESTION), whole: false }; beams];
        Self { running, finished, improvable: true, ended: false }
    }

    pub(super) fn sequences(&self) -> Vec<&[i64]> {
        self.running.iter().map(|beam| beam.tokens.as_slice()).collect()
    }

    pub(super) fn parents(&self) -> Vec<usize> {
        self.running.iter().map(|beam| beam.parent).collect()
    }

    pub(super) fn outcome(&self) -> Option<&[i64]> {
        self.ended.then(|| self.finished[0].sequence.tokens.as_slice())
    }

    /// `numbers`: logarithms of probabilities, row after row.
    pub(super) fn advance(&mut self, numbers: &[f32], settings: &Generate) {
        let beams = self.running.len();
        let candidates = self.candidates(numbers, settings);
        self.finish(&candidates, settings);
        let all_end = candidates.iter().all(|candidate| candidate.ends);
        let mut next = candidates;
        for candidate in next.iter_mut().filter(|candidate| candidate.ends) {
            candidate.sequence.score += OUT_OF_QUESTION;
        }
        // Stable: of equals the first.
        next.sort_by(|a, b| b.sequence.score.total_cmp(&a.sequence.score));
        self.running = next.into_iter().take(beams).map(|candidate| candidate.sequence).collect();
        self.improvable &= self.may_improve(settings);
        let full = self.finished.iter().all(|finished| finished.whole);
        self.ended = !self.improvable || (full && settings.early_stopping) || all_end;
    }

    /// The likeliest continuations, twice as many as beams: should half of them end, the others go on.
    fn candidates(&self, numbers: &[f32], settings: &Generate) -> Vec<Candidate> {
        let vocabulary = numbers.len() / self.running.len();
        let scores = numbers.iter().enumerate().map(|(i, number)| (number + self.running[i / vocabulary].score, i));
        let candidate = |(score, index): (f32, usize)| {
            let token = (index % vocabulary) as i64;
            let parent = index / vocabulary;
            let mut tokens = self.running[parent].tokens.clone();
            tokens.push(token);
            let ends = token == settings.end_token || tokens.len() >= settings.longest;
            Candidate { sequence: Sequence { tokens, parent, score }, ends }
        };
        largest(scores, 2 * self.running.len()).into_iter().map(candidate).collect()
    }

    /// Keeps the best of the whole sequences so far and of those that end now.
    fn finish(&mut self, candidates: &[Candidate], settings: &Generate) {
        let beams = self.running.len();
        let full = self.finished.iter().all(|finished| finished.whole);
        for (rank, candidate) in candidates.iter().enumerate() {
            let generated = candidate.sequence.tokens.len() - 1;
            let whole = candidate.ends && rank < beams;
            let mut score = candidate.sequence.score / penalty(generated, settings);
            for out_of_question in [full && settings.early_stopping, !self.improvable, !whole] {
                if out_of_question {
                    score += OUT_OF_QUESTION;
                }
            }
            let sequence = Sequence { score, ..candidate.sequence.clone() };
            self.finished.push(Finished { sequence, whole });
        }
        self.finished.sort_by(|a, b| b.sequence.score.total_cmp(&a.sequence.score));
        self.finished.truncate(beams);
    }

    /// Whether the likeliest running sequence, were it whole now, would beat the worst whole one.
    fn may_improve(&self, settings: &Generate) -> bool {
        let Some(best) = self.running.first() else { return false };
        let possible = best.score / penalty(best.tokens.len() - 1, settings);
        let worst = self.finished.iter().map(|finished| finished.sequence.score).fold(f32::INFINITY, f32::min);
        self.finished.iter().any(|finished| possible > if finished.whole { worst } else { OUT_OF_QUESTION })
    }
}

/// What a score is divided by for a sequence of so many tokens beside the start token.
fn penalty(generated: usize, settings: &Generate) -> f32 {
    (generated as f64).powf(settings.length_penalty) as f32
}

/// The `count` largest with their indices, the largest first; of equals the first.
fn largest(scores: impl Iterator<Item = (f32, usize)>, count: usize) -> Vec<(f32, usize)> {
    let mut kept: Vec<(f32, usize)> = Vec::with_capacity(count + 1);
    for (score, index) in scores {
        if kept.len() == count && kept.last().is_some_and(|(least, _)| score <= *least) {
            continue;
        }
        let place = kept.partition_point(|(other, _)| *other >= score);
        kept.insert(place, (score, index));
        kept.truncate(count);
    }
    kept
}
