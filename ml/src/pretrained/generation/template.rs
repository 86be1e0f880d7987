//! [`Template`]: a program in Jinja, of which the steps and the bytes of all texts that they make are counted.
//!
//! The library counts steps, but a step may join two copies of a text: forty of them make a text of a terabyte. So the steps that join,
//! repeat and compare become calls of functions of `library`, which count what comes of them in `made` before they make it. What a step
//! writes is counted too, and so are the filters and methods that make a text of another.

use std::sync::Arc;
use std::thread;

use minijinja::machinery::{
    CompiledTemplate, Instruction, TemplateConfig, Token, Vm, WhitespaceConfig, make_string_output,
    tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error};
use serde::Serialize;

use super::library;
use super::made::{BYTES_MAX, invalid};

/// The name of the template in errors.
const NAME: &str = "chat";
/// The most steps of a template for a prompt; real ones take some hundred.
const STEPS_MAX: u64 = 20_000;
/// The stack of a template's thread: values may be nested as deep as there are steps, and are dropped level by level.
const STACK_BYTES: usize = 64 << 20;

/// A template.
pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
}

impl Template {
    /// The template of this text; the environment has the functions, filters and methods that it may call.
    ///
    /// # Errors
    /// If it is no template, if it repeats what is neither a name nor a number, or if it compares three values at once.
    pub(super) fn new(
        source: String,
        mut environment: Environment<'static>,
    ) -> Result<Self, Error> {
        library::add(&mut environment);
        let (_, longest) = compiled(&source)?;
        // Plain text of the template is written without a call.
        let steps = 4 * BYTES_MAX / longest.max(1);
        environment.set_fuel(Some(STEPS_MAX.min(steps as u64)));
        Ok(Self {
            environment,
            source,
        })
    }

    /// The text that the template makes of what it sees.
    ///
    /// # Errors
    /// What the template says against it, or that it takes too many steps or bytes.
    pub(super) fn text(&self, seen: &(impl Serialize + Sync)) -> Result<String, Error> {
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || self.computed(Value::from_serialize(seen)));
            let thread = thread.map_err(|error| invalid(format!("no thread for it: {error}")))?;
            let panicked = |_| Err(invalid("its computation ended"));
            thread.join().unwrap_or_else(panicked)
        })
    }

    fn computed(&self, seen: Value) -> Result<String, Error> {
        let (template, _) = compiled(&self.source)?;
        let mut text = String::new();
        let vm = Vm::new(&self.environment);
        let mut output = make_string_output(&mut text);
        vm.eval(
            &template.instructions,
            seen,
            &template.blocks,
            &mut output,
            AutoEscape::None,
        )
        .map(drop)?;
        drop(output);
        Ok(text)
    }
}

/// The template with calls in the place of steps that make or compare texts, and the bytes of its longest plain text.
fn compiled(source: &str) -> Result<(CompiledTemplate<'_>, usize), Error> {
    let spaces = WhitespaceConfig {
        keep_trailing_newline: false,
        lstrip_blocks: true,
        trim_blocks: true,
    };
    check_products(source, spaces)?;
    let config = TemplateConfig {
        syntax_config: SyntaxConfig,
        ws_config: spaces,
        default_auto_escape: Arc::new(|_: &str| AutoEscape::None),
    };
    let mut template = CompiledTemplate::new(NAME, source, &config)?;
    let mut longest = 0;
    let blocks = template.blocks.values_mut();
    for steps in std::iter::once(&mut template.instructions).chain(blocks) {
        let mut at = 0;
        while let Some(step) = steps.get_mut(at) {
            match step {
                Instruction::EmitRaw(text) => longest = longest.max(text.len()),
                // It leaves two values behind, as no call does.
                Instruction::CompareAndPreserve(_) => {
                    let problem = "it compares three values at once; write a < b and b < c";
                    return Err(invalid(problem));
                }
                _ => {}
            }
            if let Some((function, arguments)) = library::function_of(step) {
                *step = Instruction::CallFunction(function, Some(arguments));
            }
            at += 1;
        }
    }
    Ok((template, longest))
}

/// Refuses products of texts and lists that the library would compute when it reads the template, before any step is counted.
fn check_products(source: &str, spaces: WhitespaceConfig) -> Result<(), Error> {
    let is_plain =
        |token: &Token| matches!(token, Token::Ident(_) | Token::Int(_) | Token::Float(_));
    let (mut is_factor, mut is_behind) = (false, false);
    for token in tokenize(source, false, SyntaxConfig, spaces) {
        let (token, _) = token?;
        let is_product = matches!(token, Token::Mul);
        if (is_behind && !is_plain(&token)) || (is_product && !is_factor) {
            return Err(invalid("* takes names and numbers"));
        }
        (is_factor, is_behind) = (is_plain(&token), is_product);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(source: &str) -> Result<String, String> {
        let template = Template::new(source.into(), Environment::new());
        let seen =
            json!({"x": "x".repeat(70_000), "t": "abc", "n": 2, "l": [3, 1, 2], "m": {"a": 1}});
        template
            .and_then(|template| template.text(&seen))
            .map_err(|error| error.to_string())
    }

    /// Each of these would end the process, or not end.
    #[test]
    fn values_that_do_not_end_or_are_too_long_are_neither_written_nor_compared() {
        let of_itself =
            "{% set a = namespace() %}{% set a.x = a %}{% set b = namespace() %}{% set b.x = b %}";
        let wide = "{% set a = namespace(x=[]) %}{% for n in range(60) %}{% set a.x = [a.x, a.x] %}{% endfor %}\
                    {% set a = a.x %}{% set b = [a, a] %}";
        for what in [
            "a | upper",
            "a | safe",
            "'x' | trim(a)",
            "'x' is startingwith(a)",
            "a in t",
            "a is in(t)",
            "a in [b]",
            "a == b",
            "a < b",
            "a is eq(b)",
            "[a, b] | sort",
            "[a, b] | unique | length",
        ] {
            for (values, expected) in [
                (of_itself, "nested in more than"),
                (wide, "64 MiB of texts"),
            ] {
                let error = text(&format!("{values}{{{{ {what} }}}}")).unwrap_err();
                assert!(error.contains(expected), "{what}: {error}");
            }
        }
        let copies = "{% for n in range(1000) %}{{ x[1:] | length }}{% endfor %}";
        assert!(text(copies).unwrap_err().contains("64 MiB of texts"));
        let error = text("{{ 1 < n < 3 }}").unwrap_err();
        assert!(error.contains("three values at once"), "{error}");
        let error = text("{{ debug() }}").unwrap_err();
        assert!(error.contains("debug"), "{error}");
    }

    #[test]
    fn comparisons_and_parts_are_those_of_the_library() {
        for (what, expected) in [
            ("n == 2", true),
            ("n != 2", false),
            ("n < 2", false),
            ("n <= 2", true),
            ("n > 1", true),
            ("n >= 3", false),
            ("l == [3, 1, n]", true),
            ("m == {'a': 1}", true),
            ("absent == none", false),
            ("n in l", true),
            ("t not in l", true),
            ("'a' in m", true),
            ("'b' in t", true),
            ("n in absent", false),
            ("n is eq(2)", true),
            ("n is in(l)", true),
            ("t is startingwith('ab')", true),
            ("t[1:] == 'bc'", true),
            ("t[::-1] == 'cba'", true),
            ("l[:2] == [3, 1]", true),
            ("(l | sort | first) == 1", true),
            ("(l | sort(reverse=true) | first) == 3", true),
            ("(l | max) == 3", true),
            ("(t | upper) == 'ABC'", true),
            ("(t | reverse) == 'cba'", true),
        ] {
            let expected = if expected { "yes" } else { "no" };
            let found = text(&format!("{{% if {what} %}}yes{{% else %}}no{{% endif %}}"));
            assert_eq!(found.as_deref(), Ok(expected), "{what}");
        }
    }

    #[test]
    fn a_filter_that_is_absent_may_stand_where_nothing_comes_by() {
        let template = "{% if absent %}{{ t | indent(4) }}{% endif %}{{ t }}";
        assert_eq!(text(template).as_deref(), Ok("abc"));
        let error = text("{{ t | indent(4) }}").unwrap_err();
        assert!(error.contains("indent is unknown"), "{error}");
    }
}
