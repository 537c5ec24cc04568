//! How the text of a decoder is searched: the words of Hugging Face's `generate`.

use super::sections::within;
use super::toml_table::Table;

/// How many numbers a decoder may keep of one token: ten times those of the largest decoders of the day.
const LARGEST_OF_A_TOKEN: i64 = 1 << 24;

/// The settings of a search over the tokens of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Generate {
    /// `decoder_start_token_id`: the first of every sequence.
    pub start_token: i64,
    /// `eos_token_id`: ends a sequence.
    pub end_token: i64,
    /// `forced_bos_token_id`: the one that follows the start token.
    pub forced_first_token: Option<i64>,
    /// `forced_eos_token_id`: the last one of a sequence that gets as long as it may.
    pub forced_last_token: Option<i64>,
    /// `max_length`: tokens in all, the start token counted.
    pub longest: usize,
    /// `min_length`: no end before so many tokens.
    pub shortest: usize,
    /// `num_beams`: 1 is greedy.
    pub beams: usize,
    /// `length_penalty`: above 0 prefers longer sequences.
    pub length_penalty: f64,
    /// `no_repeat_ngram_size`: no run of so many tokens comes twice; 0 is off.
    pub no_repeat_ngram: usize,
    /// `repetition_penalty`: above 1 makes tokens that stand already less likely; 1 is off.
    pub repetition_penalty: f64,
    /// `early_stopping`: whether the search ends as soon as there are as many whole sequences as beams.
    pub early_stopping: bool,
    /// What the step keeps of the tokens before, where it does: it is then shown one token at a time.
    pub cache: Option<Cache>,
}

/// The keys and values that a decoder's step keeps of each sequence, in one float32 tensor `[B, …]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Its dimensions after that of the sequences, before the first token: one of them is 0.
    pub empty: Vec<i64>,
    /// Which of them counts the tokens.
    pub tokens: usize,
}

/// The table `[modules.generate]`.
pub(super) fn generate(table: Table<'_>) -> Option<Generate> {
    let token = |id: &i64| within(*id, 0, i64::from(i32::MAX));
    let start_token = table.required_checked("start_token", token);
    let end_token = table.required_checked("end_token", token);
    // One sequence is never filled up: the key is read so that the settings of a model can be written down whole.
    let _: Option<i64> = table.optional_checked("pad_token", token);
    let forced_first_token = table.optional_checked("forced_first_token", token);
    let forced_last_token = table.optional_checked("forced_last_token", token);
    let longest = table.required_checked("longest", |count| within(*count, 2, 4096));
    let shortest = table.optional_checked("shortest", |count| within(*count, 0, longest.unwrap_or(4096)));
    let beams = table.optional_checked("beams", |count| within(*count, 1, 64));
    let length_penalty = table.optional_checked("length_penalty", |power| within(*power, -10.0, 10.0));
    let no_repeat_ngram = table.optional_checked("no_repeat_ngram", |count| within(*count, 0, 64));
    let repetition_penalty = table.optional_checked("repetition_penalty", |factor| within(*factor, 0.01, 100.0));
    let early_stopping = table.optional("early_stopping");
    let cache = table.optional_checked("cache", |shape: &Vec<i64>| cache(shape).map(|_| ()));
    table.finish();
    Some(Generate {
        start_token: start_token?,
        end_token: end_token?,
        forced_first_token,
        forced_last_token,
        longest: longest?,
        shortest: shortest.unwrap_or(0),
        beams: beams.unwrap_or(1),
        length_penalty: length_penalty.unwrap_or(1.0),
        no_repeat_ngram: no_repeat_ngram.unwrap_or(0),
        repetition_penalty: repetition_penalty.unwrap_or(1.0),
        early_stopping: early_stopping.unwrap_or(false),
        cache: cache.and_then(|shape| self::cache(&shape).ok()),
    })
}

/// The shape of the empty cache: sizes, and one 0 where the tokens are counted.
fn cache(shape: &[i64]) -> Result<Cache, String> {
    let mut zeros = (0..shape.len()).filter(|place| shape[*place] == 0);
    let (Some(tokens), None) = (zeros.next(), zeros.next()) else {
        return Err("one dimension counts the tokens and is 0".to_owned());
    };
    let sizes = shape.iter().filter(|size| **size != 0);
    let of_a_token = sizes.copied().try_fold(1_i64, |product, size| match size {
        1.. => product.checked_mul(size).filter(|product| *product <= LARGEST_OF_A_TOKEN),
        _ => None,
    });
    match of_a_token {
        Some(_) => Ok(Cache { empty: shape.to_vec(), tokens }),
        None => Err(format!("sizes from 1 are needed, at most {LARGEST_OF_A_TOKEN} numbers for each token")),
    }
}
