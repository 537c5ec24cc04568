//! The search over the tokens of a decoder, token by token as Hugging Face's `generate` does it, for one sequence. Pure: the
//! decoder stands outside.
//!
//! [`Search::sequences`] are what the decoder is shown, [`Search::advance`] takes what it says of the next token, until there
//! is an [`Search::outcome`].

mod beam;
mod constraints;
mod greedy;

use self::beam::Beams;
use self::greedy::Greedy;
use super::manifest::Generate;

/// A search under way.
#[derive(Debug, Clone)]
pub struct Search {
    settings: Generate,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Greedy(Greedy),
    Beams(Beams),
}

/// What a decoder says of the next token is not numbers, or of another vocabulary than the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLogits(String);

impl Search {
    /// Before the first token.
    #[must_use]
    pub fn new(settings: &Generate) -> Self {
        let state = match settings.beams {
            0 | 1 => State::Greedy(Greedy::new(settings.start_token)),
            beams => State::Beams(Beams::new(settings.start_token, beams)),
        };
        Self { settings: settings.clone(), state }
    }

    /// The sequences to go on with, all of one length: one, or as many as there are beams.
    #[must_use]
    pub fn sequences(&self) -> Vec<&[i64]> {
        match &self.state {
            State::Greedy(greedy) => vec![greedy.tokens()],
            State::Beams(beams) => beams.sequences(),
        }
    }

    /// For each of the sequences which one before the last [`Self::advance`] it goes on with; at the start itself.
    #[must_use]
    pub fn parents(&self) -> Vec<usize> {
        match &self.state {
            State::Greedy(_) => vec![0],
            State::Beams(beams) => beams.parents(),
        }
    }

    /// Whether [`Self::advance`] takes logarithms of probabilities (`log_softmax`) rather than logits.
    #[must_use]
    pub const fn takes_log_probabilities(&self) -> bool {
        matches!(self.state, State::Beams(_))
    }

    /// Takes the numbers for the token after each of the sequences: row after row, each as long as the vocabulary.
    ///
    /// # Errors
    /// A number is not one, or a token of the settings is not in the vocabulary.
    pub fn advance(&mut self, mut numbers: Vec<f32>) -> Result<(), BadLogits> {
        let sequences = self.sequences();
        let vocabulary = numbers.len() / sequences.len();
        check(&numbers, vocabulary, sequences.len(), &self.settings)?;
        for (row, tokens) in numbers.chunks_exact_mut(vocabulary).zip(sequences) {
            constraints::apply(row, tokens, &self.settings);
        }
        match &mut self.state {
            State::Greedy(greedy) => greedy.advance(&numbers, &self.settings),
            State::Beams(beams) => beams.advance(&numbers, &self.settings),
        }
        Ok(())
    }

    /// The tokens found, the start token first, once the search has ended.
    #[must_use]
    pub fn outcome(&self) -> Option<&[i64]> {
        match &self.state {
            State::Greedy(greedy) => greedy.outcome(),
            State::Beams(beams) => beams.outcome(),
        }
    }
}

fn check(numbers: &[f32], vocabulary: usize, rows: usize, settings: &Generate) -> Result<(), BadLogits> {
    if vocabulary == 0 || vocabulary * rows != numbers.len() {
        return Err(BadLogits(format!("{} numbers for {rows} sequences", numbers.len())));
    }
    // A decoder may rule tokens out by minus infinity; that it knows nothing else is no number.
    if let Some(bad) = numbers.iter().find(|number| number.is_nan() || **number == f32::INFINITY) {
        return Err(BadLogits(format!("the decoder gives {bad}")));
    }
    let forced = [settings.forced_first_token, settings.forced_last_token].into_iter().flatten();
    let tokens = [settings.start_token, settings.end_token].into_iter().chain(forced);
    match tokens.max().filter(|largest| usize::try_from(*largest).is_ok_and(|largest| largest >= vocabulary)) {
        Some(token) => Err(BadLogits(format!("the decoder knows {vocabulary} tokens, the manifest names {token}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
