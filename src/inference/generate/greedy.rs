//! The likeliest token, every time.

use crate::inference::manifest::Generate;

/// One sequence.
#[derive(Debug, Clone)]
pub(super) struct Greedy {
    tokens: Vec<i64>,
    ended: bool,
}

impl Greedy {
    pub(super) fn new(start: i64) -> Self {
        Self { tokens: vec![start], ended: false }
    }

    pub(super) fn tokens(&self) -> &[i64] {
        &self.tokens
    }

    pub(super) fn advance(&mut self, logits: &[f32], settings: &Generate) {
        let mut best = 0;
        for (token, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = token;
            }
        }
        let token = best as i64;
        self.tokens.push(token);
        self.ended = token == settings.end_token || self.tokens.len() >= settings.longest;
    }

    pub(super) fn outcome(&self) -> Option<&[i64]> {
        self.ended.then_some(&self.tokens)
    }
}
