//! Token ids become words, as Hugging Face's `decode(ids, skip_special_tokens=True)` has it.

use tokenizers::Tokenizer;

/// A package's `tokenizer.json`.
pub struct Words(Tokenizer);

impl Words {
    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// What is wrong with it, for the author of the package.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        Tokenizer::from_bytes(text).map(Self).map_err(|error| format!("is no tokenizer.json: {error}"))
    }

    /// The text of a sequence without its special tokens.
    ///
    /// # Errors
    /// A token that the tokenizer does not know.
    pub fn of(&self, tokens: &[i64]) -> Result<String, String> {
        let known =
            |token: &i64| u32::try_from(*token).ok().filter(|id| self.0.id_to_token(*id).is_some()).ok_or(*token);
        let ids = tokens.iter().map(known).collect::<Result<Vec<u32>, i64>>();
        let ids = ids.map_err(|token| format!("token {token} is not in the tokenizer"))?;
        self.0.decode(&ids, true).map_err(|error| format!("cannot be decoded: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENIZER: &str = r#"{
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "vocab": {"<s>": 0, "No": 1, "Ġeffusion": 2, ".": 3, "Ã¶": 4}, "merges": []}
    }"#;

    #[test]
    fn bytes_become_text_without_special_tokens() {
        let words = Words::parse(TOKENIZER.as_bytes()).unwrap();
        assert_eq!(words.of(&[0, 1, 2, 3, 4, 0]).unwrap(), "No effusion.ö");
        assert_eq!(words.of(&[]).unwrap(), "");
    }

    #[test]
    fn unknown_tokens_and_other_files_are_refused() {
        let words = Words::parse(TOKENIZER.as_bytes()).unwrap();
        assert_eq!(words.of(&[1, 5]).unwrap_err(), "token 5 is not in the tokenizer");
        assert_eq!(words.of(&[-1]).unwrap_err(), "token -1 is not in the tokenizer");
        assert!(Words::parse(b"{}").is_err_and(|message| message.starts_with("is no tokenizer.json")));
    }
}
