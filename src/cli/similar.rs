//! `overread similar`: the studies whose embeddings lie nearest.

use std::num::NonZeroUsize;

use super::embeddings::WhichModel;
use super::{WithConfig, exit, load_config, print, say};
use crate::clock::Clock;
use crate::store::{EmbeddingFile, KeptEmbeddings, Store, StoreError};

/// Find the studies that a model sees as most like this one, by the cosine of their embeddings
///
/// A table of vectors counts by its mean vector, a study with several series by the pair that is most alike. Only
/// embeddings of the same model and version are compared, made by the same weights of the same input.
#[derive(Debug, clap::Args)]
pub(super) struct Similar {
    #[command(flatten)]
    config: WithConfig,
    /// A Study or Series Instance UID, or an accession number
    #[arg(value_name = "UID-OR-ACCESSION")]
    what: String,
    /// By this model; needed where several gave embeddings of the study. Without a version the newest counts
    #[arg(long, value_name = "NAME[@VERSION]")]
    model: Option<WhichModel>,
    /// By this tensor; without it the first one that the package names
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// So many studies
    #[arg(long, value_name = "N", default_value = "10")]
    count: NonZeroUsize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Why nothing is compared.
enum Stop {
    /// There is nothing: exit code 4.
    Nothing(String),
    /// Something is in the way: exit code 1.
    Failed(String),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What is looked for.
struct Question {
    /// The series asked about, all of one model, version and space.
    of: Vec<KeptEmbeddings>,
    tensor: String,
    /// Their vectors, each of length 1.
    vectors: Vec<Vec<f64>>,
}

/// What was found.
struct Answer {
    nearest: Vec<Near>,
    compared: u64,
    /// Files that could not be read, or hold no such tensor.
    left_out: u64,
}

/// A study and how alike it is.
#[derive(Debug, Clone, PartialEq)]
struct Near {
    score: f64,
    study_instance_uid: String,
    series_instance_uid: String,
    study_date: String,
}

/// Compares; a node may be running meanwhile.
pub(super) async fn similar(arguments: Similar) -> u8 {
    let Some(config) = load_config(&arguments.config) else { return exit::FAILED };
    let found = async {
        let store = Store::open_to_look(&config.node.data, Clock::System).await?;
        let question = question(&store, &arguments).await?;
        let answer = nearest(&store, &question, arguments.count.get()).await?;
        Ok((question, answer))
    };
    match found.await {
        Ok((question, answer)) => tell(&arguments, &question, &answer),
        Err(Stop::Nothing(why)) => {
            say(format_args!("{why}"));
            exit::NOTHING
        }
        Err(Stop::Failed(why)) => {
            say(format_args!("{why}"));
            exit::FAILED
        }
    }
}

async fn question(store: &Store, arguments: &Similar) -> Result<Question, Stop> {
    let what = &arguments.what;
    let all = store.embeddings_of(what).await?;
    if all.is_empty() {
        let known = !store.why(what).await?.is_empty();
        let why = if known { "no embeddings are kept of" } else { "nothing is known of" };
        return Err(Stop::Nothing(format!("{why} «{what}»")));
    }
    let of = of_one_model(all, arguments.model.as_ref()).map_err(Stop::Failed)?;
    let Some(newest) = of.first() else {
        return Err(Stop::Nothing(format!("no embeddings of this model are kept of «{what}»")));
    };
    let file = EmbeddingFile::open(&newest.path)?;
    let names: Vec<&str> = file.tensors().iter().map(|outline| outline.name.as_str()).collect();
    let Some(tensor) = arguments.tensor.as_deref().or(names.first().copied()) else {
        return Err(Stop::Failed(format!("{} holds no tensor", newest.path.display())));
    };
    if !names.contains(&tensor) {
        return Err(Stop::Failed(format!("{} gives no tensor «{tensor}» but {}", newest.model_name, names.join(", "))));
    }
    let mut vectors = Vec::new();
    for kept in &of {
        vectors.extend(EmbeddingFile::open(&kept.path)?.mean_vector(tensor)?.and_then(unit));
    }
    if vectors.is_empty() {
        return Err(Stop::Failed(format!("«{tensor}» of «{what}» has no direction: it is zero, or no number")));
    }
    Ok(Question { tensor: tensor.to_owned(), of, vectors })
}

/// Those of the newest version and space of the model that is meant, of rows that come the newest first.
fn of_one_model(all: Vec<KeptEmbeddings>, model: Option<&WhichModel>) -> Result<Vec<KeptEmbeddings>, String> {
    let meant: Vec<KeptEmbeddings> =
        all.into_iter().filter(|kept| model.is_none_or(|model| model.made(kept))).collect();
    let mut names: Vec<&str> = meant.iter().map(|kept| kept.model_name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if let [_, _, ..] = names[..] {
        return Err(format!("several models gave embeddings, name one with --model: {}", names.join(", ")));
    }
    let Some(newest) = meant.first().cloned() else { return Ok(meant) };
    Ok(meant.into_iter().filter(|kept| same_space(kept, &newest)).collect())
}

/// Whether the same modules gave both of the same input: only then do their vectors mean the same.
fn same_space(one: &KeptEmbeddings, other: &KeptEmbeddings) -> bool {
    one.model_name == other.model_name
        && one.model_version == other.model_version
        && one.space_sha256 == other.space_sha256
}

/// Goes through all files, one at a time; holds the nearest `count`.
async fn nearest(store: &Store, question: &Question, count: usize) -> Result<Answer, Stop> {
    let mut answer = Answer { nearest: Vec::new(), compared: 0, left_out: 0 };
    let Some(first) = question.of.first() else { return Ok(answer) };
    let mut page = store.embeddings_after(None).await?;
    while !page.is_empty() {
        for kept in page.iter().filter(|kept| same_space(kept, first)) {
            if question.of.iter().any(|of| of.study_instance_uid == kept.study_instance_uid) {
                continue;
            }
            let vector = EmbeddingFile::open(&kept.path).and_then(|file| file.mean_vector(&question.tensor));
            match vector.map(|vector| vector.and_then(unit).and_then(|vector| best(&question.vectors, &vector))) {
                Ok(Some(score)) => {
                    answer.compared += 1;
                    let near = Near {
                        score,
                        study_instance_uid: kept.study_instance_uid.clone(),
                        series_instance_uid: kept.series_instance_uid.clone(),
                        study_date: kept.study_date.clone(),
                    };
                    place(&mut answer.nearest, near, count);
                }
                Ok(None) => answer.left_out += 1,
                Err(error) => {
                    answer.left_out += 1;
                    say(format_args!("{error}"));
                }
            }
        }
        page = store.embeddings_after(page.last()).await?;
    }
    Ok(answer)
}

/// The vector with length 1; nothing where it has no direction.
fn unit(mut vector: Vec<f64>) -> Option<Vec<f64>> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return None;
    }
    vector.iter_mut().for_each(|value| *value /= length);
    Some(vector)
}

/// The largest cosine with one of them; nothing where the widths differ.
fn best(vectors: &[Vec<f64>], other: &[f64]) -> Option<f64> {
    let same_width = vectors.iter().filter(|vector| vector.len() == other.len());
    let cosine = |vector: &Vec<f64>| vector.iter().zip(other).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0);
    same_width.map(cosine).max_by(f64::total_cmp)
}

/// Takes a study among the nearest, each once with its best score, the nearest first. What falls out is no nearer than
/// all that stay, so that its other series lose nothing by it.
fn place(nearest: &mut Vec<Near>, near: Near, count: usize) {
    match nearest.iter().position(|known| known.study_instance_uid == near.study_instance_uid) {
        Some(at) if nearest[at].score >= near.score => return,
        Some(at) => drop(nearest.remove(at)),
        None => {}
    }
    let at = nearest.partition_point(|known| known.score >= near.score);
    nearest.insert(at, near);
    nearest.truncate(count);
}

fn tell(arguments: &Similar, question: &Question, answer: &Answer) -> u8 {
    if let Some(of) = question.of.first().filter(|_| !arguments.json && !answer.nearest.is_empty()) {
        print(format_args!(
            "nearest to «{}» by {} of {} {}, of {} series",
            arguments.what, question.tensor, of.model_name, of.model_version, answer.compared
        ));
        print(format_args!("{:>7}  {:<10}  study, series", "cosine", "date"));
    }
    for Near { score, study_instance_uid, series_instance_uid, study_date } in &answer.nearest {
        if arguments.json {
            let line = serde_json::json!({
                "score": score, "study_uid": study_instance_uid, "series_uid": series_instance_uid,
                "study_date": study_date,
            });
            print(format_args!("{line}"));
        } else {
            print(format_args!("{score:>7.4}  {study_date:<10}  {study_instance_uid}"));
            print(format_args!("{:>7}  {:<10}  {series_instance_uid}", "", ""));
        }
    }
    if answer.left_out > 0 {
        say(format_args!("{} series are left out: their vectors cannot be read or compared", answer.left_out));
    }
    match (answer.nearest.is_empty(), answer.left_out) {
        (true, 0) => {
            say(format_args!("no other study has embeddings of the same model, version and weights"));
            exit::NOTHING
        }
        (_, 0) => exit::DONE,
        _ => exit::PARTLY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(score: f64, study: &str, series: &str) -> Near {
        let (study, series) = (study.to_owned(), series.to_owned());
        Near { score, study_instance_uid: study, series_instance_uid: series, study_date: String::new() }
    }

    #[test]
    fn a_study_is_among_the_nearest_once_with_its_best_series() {
        let mut nearest = Vec::new();
        for (score, study, series) in
            [(0.1, "a", "a1"), (0.5, "b", "b1"), (0.3, "c", "c1"), (0.9, "a", "a2"), (0.2, "b", "b2"), (0.3, "d", "d1")]
        {
            place(&mut nearest, near(score, study, series), 3);
        }
        assert_eq!(nearest, [near(0.9, "a", "a2"), near(0.5, "b", "b1"), near(0.3, "c", "c1")]);
    }

    #[test]
    fn the_cosine_is_that_of_directions_and_what_has_none_is_not_compared() {
        let asked = [unit(vec![3.0, 0.0]).unwrap(), unit(vec![0.0, 2.0]).unwrap()];
        let score = |vector: Vec<f64>| unit(vector).and_then(|vector| best(&asked, &vector));
        assert_eq!(score(vec![7.0, 0.0]), Some(1.0));
        assert!((score(vec![1.0, 1.0]).unwrap() - 0.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(score(vec![-1.0, 0.0]), Some(0.0), "the better of both");
        for none in [vec![0.0, 0.0], vec![f64::NAN, 1.0], vec![f64::INFINITY, 1.0], vec![1.0, 1.0, 1.0]] {
            assert_eq!(score(none), None);
        }
    }
}
