//! `overread embeddings`: what models gave as vectors, out of the data folder.

mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Subcommand;

use super::{WithConfig, exit, load_config, print, say};
use crate::clock::Clock;
use crate::store::{EmbeddingFile, EmbeddingTensor, KeptEmbeddings, Store, StoreError};

pub(super) use folder::EmbeddingFolder;

/// Take the embeddings that models gave out of the data folder
#[derive(Debug, clap::Args)]
pub(super) struct Embeddings {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(Export),
}

/// Write all embeddings into a folder for training: a safetensors file a series, and an index.csv; a node may be running
#[derive(Debug, clap::Args)]
struct Export {
    #[command(flatten)]
    config: WithConfig,
    /// The folder; a second run adds to it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Of this model only, or of one version of it
    #[arg(long, value_name = "NAME[@VERSION]")]
    model: Option<WhichModel>,
    /// These tensors only; may be given several times
    #[arg(long, value_name = "NAME")]
    tensor: Vec<String>,
}

/// A model, or one version of it.
#[derive(Debug, Clone)]
pub(super) struct WhichModel {
    name: String,
    version: Option<String>,
}

impl FromStr for WhichModel {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('@') {
            Some((name, version)) => Self { name: name.to_owned(), version: Some(version.to_owned()) },
            None => Self { name: text.to_owned(), version: None },
        })
    }
}

impl WhichModel {
    /// Whether these embeddings are of it.
    pub(super) fn made(&self, kept: &KeptEmbeddings) -> bool {
        kept.model_name == self.name && self.version.as_ref().is_none_or(|version| kept.model_version == *version)
    }
}

/// How an export went.
#[derive(Debug, Default)]
struct Exported {
    series: u64,
    /// That have none of the tensors asked for.
    without: u64,
    unreadable: u64,
    /// By model and version, what the vectors depend on.
    models: BTreeMap<(String, String), BTreeSet<String>>,
}

/// Does it.
pub(super) async fn embeddings(arguments: Embeddings) -> u8 {
    let Command::Export(arguments) = arguments.command;
    let Some(config) = load_config(&arguments.config) else { return exit::FAILED };
    match export(&arguments, &config.node.data).await {
        Ok(exported) => exported.say(&arguments.out),
        Err(error) => {
            say(format_args!("{error}"));
            exit::FAILED
        }
    }
}

async fn export(arguments: &Export, data: &Path) -> Result<Exported, String> {
    let failed = |error: StoreError| error.to_string();
    let store = Store::open_to_look(data, Clock::System).await.map_err(failed)?;
    let mut exported = Exported::default();
    let mut folder = None;
    let mut page = store.embeddings_after(None).await.map_err(failed)?;
    while !page.is_empty() {
        for kept in page.iter().filter(|kept| arguments.model.as_ref().is_none_or(|model| model.made(kept))) {
            let folder = match &mut folder {
                Some(folder) => folder,
                None => folder.insert(EmbeddingFolder::open(&arguments.out)?),
            };
            match add(folder, kept, &arguments.tensor)? {
                Added::Yes { space } => {
                    exported.series += 1;
                    let version = (kept.model_name.clone(), kept.model_version.clone());
                    exported.models.entry(version).or_default().insert(space);
                }
                Added::NoTensor => exported.without += 1,
                Added::Unreadable => exported.unreadable += 1,
            }
        }
        page = store.embeddings_after(page.last()).await.map_err(failed)?;
    }
    Ok(exported)
}

enum Added {
    Yes { space: String },
    NoTensor,
    Unreadable,
}

/// One file at a time is in memory.
fn add(folder: &mut EmbeddingFolder, kept: &KeptEmbeddings, wanted: &[String]) -> Result<Added, String> {
    let (file, values) = match read(kept, wanted) {
        Ok(read) => read,
        Err(error) => {
            say(format_args!("{error}"));
            return Ok(Added::Unreadable);
        }
    };
    let outlines = file.tensors().iter().filter(|outline| wanted.is_empty() || wanted.contains(&outline.name));
    let tensors: Vec<EmbeddingTensor<'_>> = outlines
        .zip(&values)
        .map(|(outline, values)| EmbeddingTensor { name: &outline.name, shape: &outline.shape, values })
        .collect();
    if tensors.is_empty() {
        return Ok(Added::NoTensor);
    }
    folder.add(file.of(), &tensors)?;
    Ok(Added::Yes { space: file.of().space_sha256.clone() })
}

fn read(kept: &KeptEmbeddings, wanted: &[String]) -> Result<(EmbeddingFile, Vec<Vec<f32>>), StoreError> {
    let file = EmbeddingFile::open(&kept.path)?;
    let mut values = Vec::new();
    for outline in file.tensors().iter().filter(|outline| wanted.is_empty() || wanted.contains(&outline.name)) {
        values.extend(file.values(&outline.name)?);
    }
    Ok((file, values))
}

impl Exported {
    fn say(&self, out: &Path) -> u8 {
        if self.without > 0 {
            say(format_args!("{} series have none of the tensors asked for", self.without));
        }
        for ((name, version), spaces) in self.models.iter().filter(|(_, spaces)| spaces.len() > 1) {
            let spaces = spaces.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            say(format_args!(
                "{name} {version} was read by several inputs, steps or backbones ({spaces}); a head needs one \
                 (train_head.py --space)"
            ));
        }
        for name in self.models.keys().map(|(name, _)| name).collect::<BTreeSet<_>>() {
            let versions: Vec<&str> =
                self.models.keys().filter(|(of, _)| of == name).map(|(_, version)| version.as_str()).collect();
            if let [_, _, ..] = versions[..] {
                let versions = versions.join(", ");
                say(format_args!("{name} has several versions: {versions}; a head needs one (--model {name}@VERSION)"));
            }
        }
        if self.series > 0 {
            print(format_args!("embeddings of {} series are in {}", self.series, out.display()));
        }
        match (self.series, self.unreadable) {
            (0, 0) => {
                say(format_args!("there are no such embeddings"));
                exit::NOTHING
            }
            (_, 0) => exit::DONE,
            (_, unreadable) => {
                say(format_args!("{unreadable} files could not be read"));
                exit::PARTLY
            }
        }
    }
}
