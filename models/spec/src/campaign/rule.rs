//! Rules about users as text: `purchases_90d >= 2 and not (user.country in ["de", "at"] or last_visit is missing)`.
//!
//! Written in infix, kept in postfix: at the edge a rule runs on a stack of bits and nests no deeper than was checked here.

use miette::SourceSpan;

use super::Test;
use crate::error::{Problem, ProblemKind, Problems};
use crate::feature::FieldRef;
use crate::reader::printable;
use crate::vocabulary::{Comparison, FieldScope, Word};

/// Deepest nesting of a rule: each level may leave a value waiting on the stack, which holds 32.
const MAX_DEPTH: usize = 16;
/// Most operations, as a bundle has it.
const MAX_OPS: usize = 256;

/// Reads the rule in `text`, which begins at byte `start` of the file. Reports the first mistake.
pub(super) fn parse(text: &str, start: usize, problems: &Problems) -> Option<Vec<Test>> {
    let mut parser = Parser { text, start, at: 0, depth: 0, ops: Vec::new() };
    let parsed = parser.any().and_then(|()| match parser.peek() {
        None if parser.ops.len() > MAX_OPS => {
            let whole = SourceSpan::from((start, text.len()));
            Err(mistake(whole, format!("the rule has {} tests, of which a bundle holds {MAX_OPS}", parser.ops.len())))
        }
        None => Ok(()),
        Some(token) => Err(parser.unexpected(&token, "`and`, `or` or the end of the rule")),
    });
    match parsed {
        Ok(()) => Some(parser.ops),
        Err(problem) => {
            problems.report(problem);
            None
        }
    }
}

const HELP: &str = "a test is `feature >= 2`, `feature is missing`, `user.field == \"value\"` or `user.field in [\"a\", \"b\"]`; \
     tests are joined by `and`, `or`, `not` and parentheses";

fn mistake(span: SourceSpan, message: String) -> Problem {
    Problem::new(ProblemKind::BadRule, span, message, "in this rule").help(HELP)
}

/// A word, a number, a string with its quotes, or a sign.
#[derive(Clone, Copy)]
struct Token<'t> {
    text: &'t str,
    at: usize,
}

struct Parser<'t> {
    text: &'t str,
    start: usize,
    at: usize,
    depth: usize,
    ops: Vec<Test>,
}

impl<'t> Parser<'t> {
    /// The next token, which stays.
    fn peek(&self) -> Option<Token<'t>> {
        let rest = self.text[self.at..].trim_start();
        let at = self.text.len() - rest.len();
        let first = rest.chars().next()?;
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let length = if first == '"' {
            rest[1..].find('"').map_or(rest.len(), |end| end + 2)
        } else if word(first) || first == '-' {
            let body = rest[1..].find(|c: char| !word(c)).map_or(rest.len(), |end| end + 1);
            body.max(1)
        } else if ["<=", ">=", "==", "!="].iter().any(|sign| rest.starts_with(sign)) {
            2
        } else {
            first.len_utf8()
        };
        Some(Token { text: &rest[..length], at })
    }

    fn take(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.at = token.at + token.text.len();
        Some(token)
    }

    /// Takes the next token if it is `wanted`.
    fn takes(&mut self, wanted: &str) -> bool {
        let is = self.peek().is_some_and(|token| token.text == wanted);
        if is {
            self.take();
        }
        is
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Problem> {
        if self.takes(wanted) { Ok(()) } else { Err(self.missing(&format!("`{wanted}`"))) }
    }

    fn span(&self, token: &Token<'_>) -> SourceSpan {
        (self.start + token.at, token.text.len()).into()
    }

    fn unexpected(&self, token: &Token<'_>, wanted: &str) -> Problem {
        mistake(self.span(token), format!("`{}` stands where {wanted} should", printable(token.text)))
    }

    /// What is there, or the end, is not what is wanted.
    fn missing(&self, wanted: &str) -> Problem {
        match self.peek() {
            Some(token) => self.unexpected(&token, wanted),
            None => {
                let end = SourceSpan::from((self.start + self.text.len(), 0));
                mistake(end, format!("the rule ends where {wanted} should stand"))
            }
        }
    }

    fn any(&mut self) -> Result<(), Problem> {
        self.every()?;
        while self.takes("or") {
            self.every()?;
            self.ops.push(Test::Or);
        }
        Ok(())
    }

    fn every(&mut self) -> Result<(), Problem> {
        self.one()?;
        while self.takes("and") {
            self.one()?;
            self.ops.push(Test::And);
        }
        Ok(())
    }

    fn one(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let here = self.peek().map_or((self.start + self.at, 0).into(), |token| self.span(&token));
            return Err(mistake(here, format!("the rule nests more than {MAX_DEPTH} deep")));
        }
        if self.takes("not") {
            self.one()?;
            self.ops.push(Test::Not);
        } else if self.takes("(") {
            self.any()?;
            self.expect(")")?;
        } else {
            self.test()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn test(&mut self) -> Result<(), Problem> {
        let is_name = |token: &Token<'_>| token.text.starts_with(|c: char| c.is_ascii_lowercase());
        let keyword = |token: &Token<'_>| ["and", "or", "in", "is", "missing"].contains(&token.text);
        let name = self.peek().filter(|token| is_name(token) && !keyword(token));
        let Some(name) = name else { return Err(self.missing("a feature or a field")) };
        self.take();
        match name.text.split_once('.') {
            None => self.feature(name),
            Some((scope, field)) => {
                let scope = FieldScope::from_word(scope).filter(|scope| *scope != FieldScope::Item);
                let Some(scope) = scope else {
                    return Err(self.unexpected(&name, "a field of the `user` or the `context`"));
                };
                self.field(FieldRef { scope, name: field.to_owned() }, self.span(&name))
            }
        }
    }

    fn feature(&mut self, name: Token<'t>) -> Result<(), Problem> {
        let (feature, span) = (name.text.to_owned(), self.span(&name));
        if self.takes("is") {
            self.expect("missing")?;
            self.ops.push(Test::Missing { feature, span });
            return Ok(());
        }
        let sign = self.peek();
        let how = sign.and_then(|sign| Comparison::from_word(sign.text));
        let negated = sign.is_some_and(|sign| sign.text == "!=");
        let Some(how) = how.or(negated.then_some(Comparison::Equal)) else {
            return Err(self.missing("`<`, `<=`, `>`, `>=`, `==`, `!=` or `is missing`"));
        };
        self.take();
        let than = self.peek().and_then(|number| number.text.parse::<f32>().ok()).filter(|than| than.is_finite());
        let Some(than) = than else { return Err(self.missing("a number")) };
        self.take();
        self.ops.push(Test::Compare { feature, how, than, span });
        if negated {
            self.ops.push(Test::Not);
        }
        Ok(())
    }

    fn field(&mut self, field: FieldRef, span: SourceSpan) -> Result<(), Problem> {
        let negated = self.takes("!=");
        if negated || self.takes("==") {
            let value = self.string()?;
            self.ops.push(Test::Is { field, value, span });
            if negated {
                self.ops.push(Test::Not);
            }
            return Ok(());
        }
        if self.takes("is") {
            self.expect("missing")?;
            self.ops.push(Test::Is { field, value: String::new(), span });
            return Ok(());
        }
        self.expect("in")?;
        self.expect("[")?;
        let mut values = 0;
        while values == 0 || self.takes(",") {
            let value = self.string()?;
            self.ops.push(Test::Is { field: field.clone(), value, span });
            if values > 0 {
                self.ops.push(Test::Or);
            }
            values += 1;
        }
        self.expect("]")
    }

    fn string(&mut self) -> Result<String, Problem> {
        let string = self.peek().and_then(|token| token.text.strip_prefix('"')?.strip_suffix('"'));
        match string.filter(|string| !string.is_empty()) {
            Some(string) => {
                self.take();
                Ok(string.to_owned())
            }
            None => Err(self.missing("a value in double quotes, which is not empty")),
        }
    }
}
