//! What the settings of a search rule out or make less likely, in the order in which `transformers` applies it.

use crate::inference::manifest::Generate;

/// Changes the numbers for the token after `tokens`.
pub(super) fn apply(row: &mut [f32], tokens: &[i64], settings: &Generate) {
    if (settings.repetition_penalty - 1.0).abs() > f64::EPSILON {
        penalise_repetition(row, tokens, settings.repetition_penalty as f32);
    }
    if settings.no_repeat_ngram > 0 {
        ban_repeated(row, tokens, settings.no_repeat_ngram);
    }
    if tokens.len() < settings.shortest {
        rule_out(row, settings.end_token);
    }
    if tokens.len() == 1
        && let Some(token) = settings.forced_first_token
    {
        force(row, token);
    }
    if tokens.len() + 1 == settings.longest
        && let Some(token) = settings.forced_last_token
    {
        force(row, token);
    }
}

fn at(row: &mut [f32], token: i64) -> Option<&mut f32> {
    usize::try_from(token).ok().and_then(|token| row.get_mut(token))
}

fn rule_out(row: &mut [f32], token: i64) {
    if let Some(number) = at(row, token) {
        *number = f32::NEG_INFINITY;
    }
}

fn force(row: &mut [f32], token: i64) {
    row.fill(f32::NEG_INFINITY);
    if let Some(number) = at(row, token) {
        *number = 0.0;
    }
}

/// Each token that stands already gets less likely, however often it stands.
fn penalise_repetition(row: &mut [f32], tokens: &[i64], penalty: f32) {
    for (index, token) in tokens.iter().enumerate() {
        if !tokens[..index].contains(token)
            && let Some(number) = at(row, *token)
        {
            *number = if *number < 0.0 { *number * penalty } else { *number / penalty };
        }
    }
}

/// No run of `length` tokens may come twice.
fn ban_repeated(row: &mut [f32], tokens: &[i64], length: usize) {
    let Some(start) = (tokens.len() + 1).checked_sub(length) else { return };
    let last = &tokens[start..];
    for run in tokens.windows(length) {
        if let Some((token, before)) = run.split_last()
            && before == last
        {
            rule_out(row, *token);
        }
    }
}
