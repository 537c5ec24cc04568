//! Against token ids that `generate` of transformers found: `tests/python/make_generation.py`.

use super::*;
use crate::inference::npz::{self, Array, Values};

fn floats(array: &Array) -> &[f32] {
    let Values::F32(values) = &array.values else { panic!("{}", array.values.dtype()) };
    values
}

fn whole(array: &Array) -> &[i64] {
    let Values::I64(values) = &array.values else { panic!("{}", array.values.dtype()) };
    values
}

fn log_softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    row.iter_mut().for_each(|logit| *logit = *logit - largest - sum.ln() as f32);
}

/// Runs a search on a decoder that is a table.
fn found(settings: &Generate, table: &[f32], slope: &[f32]) -> Vec<i64> {
    let mut search = Search::new(settings);
    loop {
        if let Some(tokens) = search.outcome() {
            return tokens.to_vec();
        }
        let mut numbers = Vec::new();
        for tokens in search.sequences() {
            let last = usize::try_from(tokens[tokens.len() - 1]).unwrap();
            let row = &table[last * slope.len()..][..slope.len()];
            let place = (tokens.len() - 1) as f32;
            let mut row: Vec<f32> = row.iter().zip(slope).map(|(logit, slope)| logit + slope * place).collect();
            if search.takes_log_probabilities() {
                log_softmax(&mut row);
            }
            numbers.extend(row);
        }
        let before: Vec<Vec<i64>> = search.sequences().into_iter().map(<[i64]>::to_vec).collect();
        search.advance(numbers).unwrap();
        for (tokens, parent) in search.sequences().into_iter().zip(search.parents()) {
            assert_eq!(tokens[..tokens.len() - 1], before[parent]);
        }
    }
}

#[test]
fn tokens_equal_those_of_transformers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/generation.npz");
    let arrays = npz::read(std::fs::File::open(path).unwrap()).unwrap();
    let cases = arrays.keys().filter(|name| name.starts_with("ids")).count();
    assert_eq!(cases, 249);
    let mut lengths = std::collections::BTreeSet::new();
    for case in 0..cases {
        let [seed, longest, shortest, beams, ngram, early, first, last] = whole(&arrays[&format!("whole{case}")])[..]
        else {
            panic!("case {case}")
        };
        let Values::F64(real) = &arrays[&format!("real{case}")].values else { panic!("case {case}") };
        let settings = Generate {
            start_token: 2,
            end_token: 3,
            forced_first_token: (first >= 0).then_some(first),
            forced_last_token: (last >= 0).then_some(last),
            longest: usize::try_from(longest).unwrap(),
            shortest: usize::try_from(shortest).unwrap(),
            beams: usize::try_from(beams).unwrap(),
            length_penalty: real[0],
            no_repeat_ngram: usize::try_from(ngram).unwrap(),
            repetition_penalty: real[1],
            early_stopping: early == 1,
            cache: None,
        };
        let (table, slope) = (&arrays[&format!("table{seed}")], &arrays[&format!("slope{seed}")]);
        let expected = whole(&arrays[&format!("ids{case}")]);
        assert_eq!(found(&settings, floats(table), floats(slope)), expected, "case {case}, seed {seed}: {settings:?}");
        lengths.insert(expected.len());
    }
    assert!(lengths.len() > 5, "the cases are of many lengths: {lengths:?}");
}

fn settings(beams: usize) -> Generate {
    Generate {
        start_token: 0,
        end_token: 1,
        forced_first_token: None,
        forced_last_token: None,
        longest: 5,
        shortest: 0,
        beams,
        length_penalty: 1.0,
        no_repeat_ngram: 0,
        repetition_penalty: 1.0,
        early_stopping: false,
        cache: None,
    }
}

#[test]
fn what_is_no_number_or_of_another_vocabulary_is_refused() {
    for beams in [1, 3] {
        let refused = |numbers: Vec<f32>| Search::new(&settings(beams)).advance(numbers).unwrap_err().to_string();
        assert_eq!(refused(vec![f32::NAN; 4 * beams]), "the decoder gives NaN");
        assert_eq!(refused(vec![f32::INFINITY; 4 * beams]), "the decoder gives inf");
        assert_eq!(refused(vec![0.0; beams]), "the decoder knows 1 tokens, the manifest names 1");
        assert!(refused(Vec::new()).contains("0 numbers"));
        let mut search = Search::new(&settings(beams));
        search.advance(vec![f32::NEG_INFINITY; 4 * beams]).unwrap();
    }
}

#[test]
fn every_search_ends_at_the_longest_sequence() {
    for beams in [1, 2, 7] {
        // The end is ruled out by the decoder itself.
        let row = [0.0, f32::NEG_INFINITY, 0.5, 0.25];
        let mut search = Search::new(&settings(beams));
        let mut steps = 0;
        while search.outcome().is_none() {
            search.advance(row.repeat(beams)).unwrap();
            steps += 1;
        }
        assert_eq!((steps, search.outcome().unwrap().len()), (4, 5));
    }
}
