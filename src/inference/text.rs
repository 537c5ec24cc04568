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
