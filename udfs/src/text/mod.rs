//! Functions on texts: words, and the numbers that networks take for them.
//!
//! ```text
//! text ─ tokenize_words ─▶ words ─ hash_tokens ─▶ numbers ─▶ the layer `embedding`
//! ```
//! `tokenize_words` and `hash_tokens` are functions. `arguments` has lists of texts by row and the checks of arguments and
//! results, `murmur3` the hash.
//!
//! A NULL argument gives NULL. To add a function, write a file with `function()` and list it.

mod arguments;
mod hash_tokens;
mod murmur3;
mod tokenize_words;

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

/// The scalar functions of this group.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let all = [tokenize_words::function(), hash_tokens::function()];
    all.into_iter().map(Arc::new).collect()
}
